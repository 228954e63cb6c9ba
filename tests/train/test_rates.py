"""A spec at another learning rate: every rate is multiplied alike, and nothing else changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convspec.checker import check
from convspec.compiler import compile_spec
from convspec.diagnostics import DiagnosticError
from convspec.difference.compare import compare
from convspec.resources import spec_names, spec_path
from convspec.train.rates import at_rate, rate_of
from tests.train.racing import RELU

BARE = (
    "[@net]\ninput=data:4\noutputs=last\n[data]\ntype=data\ndataIdx=0\n[last]\ntype=neuron\nneuron=abs\ninputs=data\n"
)


@pytest.mark.parametrize("name", spec_names())
def test_all_rates_of_our_specs_are_multiplied_and_nothing_else(name: str) -> None:
    before = check(spec_path(name))
    rate = rate_of(before)
    overrides = at_rate(before, rate / 4)
    after = check(spec_path(name), overrides=overrides)
    assert after.ok
    assert rate_of(after) == pytest.approx(rate / 4)
    assert {difference.key for difference in compare(before, after).differences} <= {"epsW", "epsB"}
    if name.startswith(("cifar", "lenet", "alexnet-small")):
        old, new = (compile_spec(spec_path(name), overrides=each).program.parameters for each in ((), overrides))
        for one, other in zip(old, new, strict=True):
            assert other.update.rate == one.update.rate._replace(base=pytest.approx(one.update.rate.base / 4))


@given(
    rates=st.lists(st.floats(1e-7, 10).map(lambda rate: float(f"{rate:.4g}")), min_size=2, max_size=2),
    wanted=st.floats(1e-6, 1).map(lambda rate: float(f"{rate:.3g}")),
)
def test_ratios_between_rates_stay(rates: list[float], wanted: float) -> None:
    text = RELU.replace("epsW=0.0002\nepsB=0.0004", f"epsW={rates[0]}\nepsB={rates[1]}").replace(
        "filters=8", f"filters=8\nepsW=linear[base={rates[1]};tgtFactor=7]"
    )
    checked = check(text)
    after = check(text, overrides=at_rate(checked, wanted))
    factor = wanted / max(rates)
    conv, fc = after.graph.layers["conv1"], after.graph.layers["fc2"]
    found = [dict(layer.eps_w[0].arguments)["base"] for layer in (conv, fc)]  # type: ignore[attr-defined]
    assert found == pytest.approx([rates[1] * factor, rates[0] * factor], rel=1e-6)
    assert dict(conv.eps_w[0].arguments)["tgtfactor"] == 7  # type: ignore[attr-defined]
    assert not re.search(
        "[eE][+-]?[0-9]", "".join(text.partition("=")[2] for text in at_rate(checked, wanted)).replace("base", "")
    )


def test_frozen_layers_stay_frozen_and_templates_are_followed() -> None:
    text = RELU.replace(
        "[conv1]",
        "[@template block]\nrate=0\n[@block.conv]\ntype=conv\ninputs=$inputs\nfilters=4\nfilterSize=3\ninitW=0.1\nepsW=$rate\nepsB=$rate\n[conv1]",
    )
    text = (
        text.replace("inputs=conv1\n", "inputs=two\n")
        + "[one]\ntype=block\ninputs=conv1\n[two]\ntype=block\ninputs=one\nrate=0.001\n"
    )
    checked = check(text)
    assert checked.ok, checked.diagnostics
    assert rate_of(checked) == 0.001
    after = check(text, overrides=at_rate(checked, 0.01))
    assert after.ok
    bases = {
        name: [dict(call.arguments)["base"] for call in (*layer.eps_w, layer.eps_b)]
        for name, layer in after.graph.layers.items()
        if hasattr(layer, "eps_w")
    }
    assert bases["one.conv"] == [0, 0]
    assert bases["two.conv"] == [0.01, 0.01]
    assert bases["conv1"] == [0.002, 0.004]


def test_rates_in_a_parameter_file(tmp_path: Path) -> None:
    layers = RELU[RELU.index("[data]") :].replace("coeff=1\n", "")
    (tmp_path / "layers-x.cfg").write_text(layers)
    rest = "momW=0.9\nmomB=0.9\nwc=0\n"
    params = f"[conv1]\nepsW=0.001\nepsB=0.002\n{rest}[fc2]\nepsW=0.004\nepsB=0.002\n{rest}[logprob]\ncoeff=1\n"
    (tmp_path / "layer-params-x.cfg").write_text(params)
    known = {"inputs": {"data": (1, 8, 8)}, "dialect": "convspec"}
    checked = check(tmp_path / "layers-x.cfg", **known)  # type: ignore[arg-type]
    assert rate_of(checked) == 0.004
    overrides = at_rate(checked, 0.00004)
    assert [text.partition("=")[2] for text in overrides] == ["0.00001", "0.00002", "0.00004", "0.00002"]
    after = check(tmp_path / "layers-x.cfg", overrides=overrides, **known)  # type: ignore[arg-type]
    assert after.ok, after.diagnostics
    assert rate_of(after) == 0.00004


@pytest.mark.parametrize("text", [RELU.replace("epsW=0.0002", "epsW=0"), BARE], ids=["frozen", "no weights"])
def test_a_spec_that_learns_nothing_has_no_rate(text: str) -> None:
    with pytest.raises(DiagnosticError, match="every learning rate") as raised:
        rate_of(check(text))
    assert "epsW=0.01" in (raised.value.diagnostics[0].help or "")

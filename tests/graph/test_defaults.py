"""`[@params]` and `[@params TYPE]`: which value a layer takes; `expect=`: what is said of a claim."""

from __future__ import annotations

from pathlib import Path

import pytest

import convspec
from convspec.checker import Checked

HEAD = "[@net]\ninput=data:3x9x9\noutputs=a,b\n[data]\ntype=data\ndataIdx=0\n"
ALL = "[@params]\nepsW=1\nepsB=1\nmomW=0\nmomB=0\ninitW=0.1\nwc=0.5\n"
CONV = "[@params conv]\nfilters=4\nfilterSize=3\nwc=0.25\nneuron=relu\n"
LAYERS = "[a]\ntype=conv\ninputs=data\nfilters=5\n[b]\ntype=fc\ninputs=data\noutputs=2\n"


def told(checked: Checked) -> list[tuple[str, str]]:
    return [(d.code, d.span.text if d.span else "") for d in checked.diagnostics]


def test_section_before_type_before_all() -> None:
    checked = convspec.check(HEAD + ALL + CONV + LAYERS)
    assert told(checked) == []
    a, b = checked.graph.layers["a"], checked.graph.layers["b"]
    assert (a.filters, a.wc, a.init_w, a.neuron.name) == ((5,), (0.25,), (0.1,), "relu")
    assert (b.wc, b.neuron) == ((0.5,), None)


def test_the_order_of_sections_does_not_matter() -> None:
    assert told(convspec.check(LAYERS + CONV + ALL + HEAD)) == []


def test_the_resolved_spec_keeps_them() -> None:
    checked = convspec.check(HEAD + ALL + CONV.replace("@params conv", "@params \t conv") + LAYERS)
    assert "[@params conv]\n" in checked.resolved_text
    assert convspec.check(checked.resolved_text).resolved_text == checked.resolved_text
    assert convspec.compile(checked.resolved_text) == convspec.compile(HEAD + ALL + CONV + LAYERS)


@pytest.mark.parametrize("name", ["@params conv", "@params.conv"])
def test_overrides(name: str) -> None:
    checked = convspec.check(HEAD + ALL + CONV + LAYERS, overrides=[f"{name}.filterSize=5", "@params fc.initB=0.5"])
    assert told(checked) == []
    assert checked.layers[1].shape == (5, 5, 5)
    assert "[@params fc]\ninitB=0.5" in checked.resolved_text


def test_in_two_files_both_have_them() -> None:
    params = ALL + "[@params conv]\nepsW=0.125\n"
    checked = convspec.check(HEAD + CONV.replace("wc=0.25\n", "") + LAYERS, params)
    assert told(checked) == []
    assert checked.graph.layers["a"].eps_w[0].arguments == (("base", 0.125),)


def test_a_bad_value_is_reported_once() -> None:
    layers = LAYERS + "[c]\ntype=conv\ninputs=data\n"
    checked = convspec.check(HEAD.replace("a,b", "a,b,c") + ALL + CONV.replace("Size=3", "Size=three") + layers)
    assert told(checked) == [("CS204", "three")]
    assert "@params conv" in checked.diagnostics[0].message


def test_a_type_without_layers_is_no_mistake() -> None:
    assert told(convspec.check(HEAD + ALL + CONV + LAYERS + "[@params pool]\nsizeX=2\n")) == []


def test_the_chain_of_extension_keeps_the_priority(tmp_path: Path) -> None:
    base = HEAD + ALL + CONV + LAYERS
    path = tmp_path / "base.cfg"
    path.write_text(base)
    checked = convspec.check(f"[@net]\nextends={path}\n[@params]\nwc=0.75\n[@params conv]\nfilterSize=5\n")
    assert checked.graph.layers["a"].wc == (0.25,)
    assert checked.graph.layers["b"].wc == (0.75,)
    assert checked.layers[1].shape == (5, 5, 5)


POOL = "[@net]\ninput=data:3x224x224\noutputs=pool2\nrounding=floor\n[data]\ntype=data\ndataIdx=0\n" + "".join(
    f"[pool{i}]\ntype=pool\npool=max\ninputs={source}\nsizeX={size}\nstride={stride}\nexpect={claim}\n"
    for i, source, size, stride, claim in ((1, "data", 11, 4, "55x55x3"), (2, "pool1", 3, 2, "27x27x3"))
)


def test_a_wrong_claim_has_the_formula_and_is_said_where_it_begins() -> None:
    [diagnostic] = [d for d in convspec.check(POOL).diagnostics if d.code != "CS409"]
    assert diagnostic.message == "pool1 gives 54x54x3, not 55x55x3: (224 - 11) / 4 + 1 = 54.25, rounded down to 54"
    assert diagnostic.span is not None
    assert diagnostic.span.text == "55x55x3"
    assert not convspec.check(POOL).ok
    assert convspec.check(POOL.replace("224", "227")).ok


def test_claims_are_about_the_files_as_they_are_written() -> None:
    assert convspec.check(POOL, inputs={"data": (3, 224, 224)}).ok
    assert convspec.check(POOL, overrides=["pool1.sizeX=10"]).ok
    assert not convspec.check(POOL, overrides=["@train.epochs=5", "@data.size=256"]).ok
    assert not convspec.check(POOL, overrides=["pool2.expect=5"]).ok
    assert "expect" not in convspec.check(POOL).resolved_text


def test_a_claim_that_holds_ends_the_doubt() -> None:
    """A wrong claim above one that holds: what is below is judged anew."""
    text = POOL.replace("27x27x3", "26x26x3") + "[n]\ntype=neuron\nneuron=abs\ninputs=pool2\nexpect=1\n"
    found = [d for d in convspec.check(text.replace("=pool2\nr", "=n\nr")).diagnostics if d.code == "CS416"]
    assert [d.span.text for d in found if d.span] == ["55x55x3", "1"]


def test_channels_first_is_explained() -> None:
    head = HEAD.replace("outputs=a,b", "outputs=a")
    [diagnostic] = convspec.check(head + "[a]\ntype=neuron\nneuron=abs\ninputs=data\nexpect=3x9x9\n").diagnostics
    assert "channels first" in diagnostic.message
    assert diagnostic.help == "write expect=9x9x3"


def test_claims_are_not_inherited(tmp_path: Path) -> None:
    path = tmp_path / "base.cfg"
    path.write_text(POOL.replace("floor", "ceil").replace("27x27x3", "3"))
    assert not convspec.check(path).ok
    assert convspec.check(f"[@net]\nextends={path}\n").ok
    assert not convspec.check(f"[@net]\nextends={path}\n[pool2]\nexpect=1\n").ok


def test_keys_that_no_layer_takes() -> None:
    [_, diagnostic] = convspec.check(HEAD.replace("a,b", "data") + "[@params]\nepsW=1\nepzB=1\n").diagnostics
    assert (diagnostic.code, diagnostic.help) == ("CS207", "delete it; @params takes nothing here")

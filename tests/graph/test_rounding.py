"""How windows are counted: by the network, by a layer itself, and what is said of it where a claim has the size."""

from __future__ import annotations

import pytest

import convspec
from tests.emit.small_specs import classifier, layer


@pytest.mark.parametrize(
    ("claim", "codes"),
    [({}, ["CS409"]), ({"expect": "5x5x2"}, []), ({"expect": 50}, []), ({"expect": "4x4x2"}, ["CS409", "CS416"])],
    ids=str,
)
def test_a_right_claim_needs_no_note(claim: dict[str, object], codes: list[str]) -> None:
    text = classifier(
        layer("x", type="conv", inputs="data", filters=2, filterSize=2, stride=2, **claim), leaves="x", image="3x9x9"
    )
    assert [d.code for d in convspec.check(text).diagnostics if d.code != "CS207"] == codes


def test_a_claim_about_another_input_says_nothing() -> None:
    text = classifier(
        layer("x", type="conv", inputs="data", filters=2, filterSize=2, stride=2, expect="5x5x2"), leaves="x"
    )
    given = convspec.check(text, inputs={"data": (3, 11, 11)})
    assert [d.code for d in given.diagnostics if d.code != "CS207"] == ["CS409"]


@pytest.mark.parametrize("kind", ["conv", "local", "pool"])
@pytest.mark.parametrize(
    ("net", "said", "side", "help"),
    [
        ("ceil", {}, 5, "rounding=floor in [x] or [@net] would give 4"),
        ("ceil", {"rounding": "floor"}, 4, "rounding=ceil in [x] or [@net] would give 5"),
        ("floor", {}, 4, "rounding=ceil in [x] or [@net] would give 5"),
        ("floor", {"rounding": "ceil"}, 5, "rounding=floor in [x] or [@net] would give 4"),
    ],
)
def test_a_layer_may_round_otherwise(kind: str, net: str, said: dict[str, str], side: int, help: str) -> None:
    own = {"pool": "max", "sizeX": 2} if kind == "pool" else {"filters": 2, "filterSize": 2}
    x = layer("x", type=kind, inputs="data", stride=2, **own, **said)
    checked = convspec.check(classifier(x, leaves="x", image="3x9x9", net=f"rounding={net}"))
    [note] = [d for d in checked.diagnostics if d.code == "CS409"]
    assert note.help == help
    assert {row.name: row.shape for row in checked.layers}["x"][1] == side


def test_pools_round_otherwise_by_their_defaults() -> None:
    """Caffe's way: convolutions down, pools up."""
    layers = layer("x", type="conv", inputs="data", filters=2, filterSize=2, stride=2, expect="4x4x2")
    layers += layer("y", type="pool", pool="max", inputs="x", sizeX=3, stride=2, expect="2x2x2")
    defaults = "rounding=floor\n[@params pool]\nrounding=ceil"
    assert convspec.check(classifier(layers, leaves="y", image="3x9x9", net=defaults)).ok


def test_programs_that_count_up_could_not_run_a_layer_that_counts_down() -> None:
    text = classifier(layer("x", type="conv", inputs="data", filters=16, filterSize=2, rounding="floor"), leaves="x")
    found = [d for d in convspec.check(text, portable=True).diagnostics if "counts windows up" in d.message]
    assert [d.span is not None and d.span.text for d in found] == ["floor"]

"""A note where the numbers of a layer are not those that its program had: once for all layers, and only there."""

from __future__ import annotations

import pytest

from convspec.checker import check
from convspec.diagnostics import Severity
from convspec.graph.quirks import QUIRKS

DATA = "[data]\ntype=data\ndataIdx=0\n[targets]\ntype=data\ndataIdx=2\n[label]\ntype=data\ndataIdx=1\n"
RATES = "epsW=0.01\nepsB=0.01\nmomW=0\nmomB=0\nwc=0\ninitW=0.1\n"
MAPS = {"channels": 16}
ORIGINALS = ("ccn1", "ccn1_dnouri", "alexnet2012", "ccn2")


def layer(name: str, kind: str, inputs: str, **keys: object) -> str:
    lines = "".join(f"{key}={value}\n" for key, value in keys.items())
    return f"[{name}]\ntype={kind}\ninputs={inputs}\ngpu=0\n{lines}"


def fc(name: str, inputs: str, **keys: object) -> str:
    return layer(name, "fc", inputs, outputs=10, **keys) + RATES


def quirks(text: str, dialect: str, *, outputs: str = "", net: str = "") -> list[str] | None:
    """The layers that CS511 names first; None where the program refuses the text."""
    given = f"outputs={outputs}\n" if outputs else ""
    head = f"[@net]\ndialect={dialect}\ninput=data:16x8x8,targets:10\n{given}{net}"
    used = layer("used", "cost.sum2", "targets", coeff=0) + layer("used2", "cost.sum2", "label", coeff=0)
    result = check(head + DATA + used + text)
    if not result.ok:
        return None
    found = [d for d in result.diagnostics if d.code == "CS511"]
    assert all(d.severity is Severity.NOTE and d.notes for d in found)
    return [d.message.split(" will ")[0] for d in found]


NORM = layer("a", "cnorm", "data", size=3, scale=1, pow=1, **MAPS)
SOFTMAX = fc("f", "data") + layer("a", "softmax", "f")
SPARSE = layer(
    "a", "conv", "data", filters=16, filterSize=3, groups=2, randSparse=1, filterChannels=16, partialSum=0, **MAPS
) + RATES  # fmt: skip
DEALT_OUT = SPARSE.replace("filterChannels=16", "filterChannels=8")


@pytest.mark.parametrize(
    ("text", "outputs", "programs"),
    [
        (NORM, "a", set(ORIGINALS)),
        (layer("a", "rnorm", "data", size=3, scale=1, pow=1, **MAPS), "a", set()),
        (SOFTMAX + layer("c", "cost.crossent", "targets,a", coeff=1), "", {"alexnet2012", "ccn2"}),
        (SOFTMAX + layer("c", "cost.crossent", "targets,a", coeff=1) + fc("b", "a"), "b", set()),
        (fc("a", "data") + layer("c", "cost.crossent2", "targets,a", coeff=1), "", {"alexnet2012"}),
        (fc("a", "data", neuron="logistic") + layer("c", "cost.crossent2", "targets,a", coeff=1), "", set()),
        (
            fc("a", "data", neuron="logistic") + layer("c", "cost.crossent2", "targets,a", coeff=1) + fc("b", "a"),
            "b",
            {"alexnet2012"},
        ),
        (layer("a", "neuron", "data", neuron="softrelu"), "a", {"ccn1", "ccn1_dnouri", "ccn2"}),
        (layer("a", "neuron", "data", neuron="nrelu"), "a", {"ccn2"}),
        (layer("a", "sum", "data", stride=4), "a", {"ccn2"}),
        (layer("c", "cost.tica", "data", sizeX=3, coeff=1, **MAPS), "", {"alexnet2012"}),
        (fc("a", "data") + layer("c", "cost.msm", "label,a", coeff=1, setSize=2, threads=1), "", {"alexnet2012"}),
        (
            layer("a", "rscale", "data", maxScale=1.2, tgtSize=7, channels=16),
            "a",
            {"ccn1", "ccn1_dnouri", "alexnet2012"},
        ),
        (SPARSE, "a", {"alexnet2012"}),
        (SPARSE.replace("filterChannels=16", "filterChannels=8"), "a", set()),
        (DEALT_OUT.replace("randSparse=1", "randSparse=yes"), "a", {"ccn1", "ccn1_dnouri", "alexnet2012"}),
        (DEALT_OUT.replace("randSparse=1", "randSparse=True"), "a", set()),
        (DEALT_OUT.replace("randSparse=1", "randSparse=no"), "a", set()),
    ],
)
def test_a_quirk_is_noted_in_the_programs_that_had_it(text: str, outputs: str, programs: set[str]) -> None:
    for dialect in (*ORIGINALS, "convspec"):
        found = quirks(text, dialect, outputs=outputs)
        assert found is not None or dialect not in programs
        assert bool(found) == (dialect in programs), (dialect, found)


def test_a_quirk_that_is_asked_for_is_none() -> None:
    assert quirks(NORM, "ccn2", outputs="a") == ["a"]
    assert quirks(NORM, "ccn2", outputs="a", net="cnormGradient=published\n") == []


def test_several_layers_are_one_note() -> None:
    assert quirks(NORM + NORM.replace("[a]", "[b]"), "ccn2", outputs="a,b") == ["a, and 1 more layer"]


def test_every_quirk_has_a_program_that_knows_what_it_is_about() -> None:
    assert all(quirk.programs and quirk.theirs and quirk.ours for quirk in QUIRKS)

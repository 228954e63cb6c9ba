"""What costs ask of their inputs and keys, and what is said where they do not get it."""

from __future__ import annotations

import pytest

from convspec import Checked, check

HEAD = """
[@net]
input=data:3x4x4,wide:6
classes=5
outputs={outputs}
[@params]
initW=0.1
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[tags]
type=data
dataIdx=2
[scores]
type=fc
inputs=data
outputs=5
[probs]
type=softmax
inputs=scores
[guesses]
type=fc
inputs=data
outputs=5
neuron=logistic
[six]
type=fc
inputs=data
outputs=6
neuron=logistic
[wide]
type=data
dataIdx=3
[one]
type=fc
inputs=data
outputs=1
"""
LAYERS = ("labels", "tags", "wide", "scores", "probs", "guesses", "six", "one")


def network(*costs: str) -> Checked:
    """The layers above under costs, each `type inputs key=value ...` and named after its place."""
    sections = []
    for i, cost in enumerate(costs):
        kind, inputs, *keys = cost.split()
        sections.append("\n".join([f"[c{i}]", f"type=cost.{kind}", f"inputs={inputs}", "coeff=1", *keys]))
    return check(HEAD.format(outputs=",".join(LAYERS)) + "\n".join(sections) + "\n")


def codes(*costs: str) -> list[str]:
    return [d.code for d in network(*costs).diagnostics if d.code != "CS214"]


@pytest.mark.parametrize(
    "cost",
    [
        "logreg labels,probs topk=5",
        "logreg one,probs",
        "crossent tags,probs",
        "crossent guesses,probs",
        "bce tags,guesses posWeight=0",
        "bce labels,one",
        "bce wide,six",
        "dce tags,probs",
        "crossent2 tags,guesses",
        "rflickr tags,guesses",
        "msm labels,scores setSize=4",
        "msm labels,scores setSize=1 threads=32",
        "sum2 data",
        "sum2 labels",
        "gsum2 one,data",
        "gsum2 labels,probs",
        "tica data sizeX=99",
        "tica data sizeX=1 channels=3",
        "tica one sizeX=2 channels=1",
    ],
)
def test_accepted(cost: str) -> None:
    checked = network(cost)
    expected = ["CS316"] if cost == "bce labels,one" else []
    assert [d.code for d in checked.diagnostics if d.code != "CS214"] == expected
    assert checked.layers[-1].shape == (1,)
    assert (checked.layers[-1].weights, checked.layers[-1].macs) == (0, 0)


@pytest.mark.parametrize(
    ("cost", "code", "message", "help"),
    [
        (
            "logreg probs,labels",
            "CS305",
            "c0 reads labels, then probabilities from a softmax",
            "write inputs=labels,probs",
        ),
        ("logreg labels,scores", "CS305", "scores is of type fc", "put a softmax layer between scores and c0"),
        ("logreg tags,probs", "CS305", "tags gives 5 numbers a case; c0 needs the label first", "dataIdx=1"),
        (
            "logreg labels,probs topk=6",
            "CS410",
            "topk of c0 is 6, but probs gives 5 classes",
            "topk=5 or less under [c0]",
        ),
        ("crossent tags,scores", "CS305", "c0 reads targets, then probabilities", "put a softmax layer"),
        ("crossent probs,tags", "CS305", "tags is of type data", "write inputs=tags,probs"),
        ("crossent labels,probs", "CS402", "c0 compares probs with labels, and they give 5 and 1", "dataIdx=2"),
        ("bce tags,six", "CS402", "c0 compares six with tags, and they give 6 and 5", "give six 5 outputs"),
        ("bce tags,guesses posWeight=-1", "CS205", "posWeight of c0 is -1; it must be at least 0", "beside a negative"),
        ("crossent2 wide,six", "CS402", "c0 expects 5 classes but six gives 6", "outputs=5"),
        ("rflickr wide,six", "CS402", "c0 expects 5 classes but six gives 6", "outputs=5"),
        ("msm tags,scores setSize=2", "CS305", "tags gives 5 numbers a case", "dataIdx=1"),
        ("msm scores,labels setSize=2", "CS305", "scores gives 5 numbers a case", "write inputs=labels,scores"),
        (
            "msm labels,scores setSize=5",
            "CS410",
            "setSize of c0 is 5, and scores gives 5 classes",
            "setSize=4 or less under [c0]",
        ),
        ("msm labels,scores setSize=0", "CS205", "setSize of c0 is 0; it must be at least 1", "not all"),
        ("msm labels,scores setSize=2 threads=33", "CS205", "threads of c0 is 33; it must be at most 32", "original"),
        ("msm labels,one setSize=1", "CS410", "a set must leave one out", ""),
        ("msm labels,six setSize=2", "CS402", "c0 expects 5 classes but six gives 6", "outputs=5"),
        (
            "gsum2 data,one",
            "CS305",
            "data gives 3x4x4 numbers a case; c0 needs the gate first",
            "write inputs=one,data",
        ),
        ("tica guesses sizeX=2", "CS404", "c0 needs maps, and guesses gives a vector of 5", "add channels="),
        ("tica data sizeX=2 channels=4", "CS402", "c0 expects 4 channels but data gives 3x4x4", "channels=3"),
        ("tica data sizeX=0", "CS205", "sizeX of c0 is 0; it must be at least 1", "rows and columns"),
        ("sum2 data,one", "CS303", "c0 reads 2 layers; a cost.sum2 layer reads 1", ""),
        ("gsum2 one", "CS303", "c0 reads 1 layer; a cost.gsum2 layer reads 2", ""),
        ("bce tags", "CS303", "c0 reads 1 layer; a cost.bce layer reads 2", ""),
    ],
)
def test_refused(cost: str, code: str, message: str, help: str) -> None:
    (found,) = (d for d in network(cost).diagnostics if d.code != "CS214")
    assert found.code == code
    assert message in found.message
    assert help in (found.help or "")
    assert found.span is not None
    assert found.span.line > HEAD.count("\n") - 1


@pytest.mark.parametrize(
    ("cost", "help"),
    [
        ("bce tags,scores", "write neuron=logistic in scores"),
        ("dce tags,scores", "write neuron=logistic in scores"),
        ("crossent2 tags,scores", "write neuron=logistic in scores"),
        ("rflickr tags,scores", "write neuron=logistic in scores"),
    ],
)
def test_outputs_that_are_no_probabilities(cost: str, help: str) -> None:
    (found,) = network(cost).diagnostics
    assert (found.code, found.severity.value, found.help) == ("CS316", "warning", help)
    assert network(cost).ok


@pytest.mark.parametrize(
    ("cost", "key"),
    [
        ("crossent tags,probs topk=5", "topk"),
        ("bce tags,guesses topk=5", "topk"),
        ("crossent2 tags,guesses topk=5", "topk"),
        ("rflickr tags,guesses topk=5", "topk"),
        ("msm labels,scores setSize=2 threads=8", "threads"),
        ("sum2 data dropout=0.5", "dropout"),
    ],
)
def test_keys_without_effect(cost: str, key: str) -> None:
    (found,) = network(cost).diagnostics
    assert (found.code, found.message) == ("CS214", f"{key} has no effect")


@pytest.mark.parametrize(
    ("children", "problem"),
    [
        ("nowhere", "does not exist"),
        ("c0", "is of type cost.logreg"),
        ("scores", "is of type fc"),
        ("c2", "is itself"),
        ("c3", "does not stand before it"),
    ],
)
def test_children_that_cannot_be(children: str, problem: str) -> None:
    checked = network("logreg labels,probs", "sum2 data", f"sum2 data children=c1,{children}", "sum2 data")
    (found,) = checked.diagnostics
    assert (found.code, found.severity.value) == ("CS315", "error")
    assert found.message == f"c2 cannot report a sum with {children}, which {problem}"
    assert found.span is not None
    assert found.span.file.text[found.span.start : found.span.end] == children
    assert found.help


def test_children_of_children() -> None:
    assert codes("sum2 data", "sum2 one children=c0", "sum2 scores children=c1,c0,c1") == []


def test_nothing_reads_a_cost() -> None:
    checked = check(
        HEAD.format(outputs=",".join(LAYERS))
        + "[a]\ntype=cost.sum2\ninputs=data\ncoeff=1\n[b]\ntype=cost.sum2\ninputs=a\ncoeff=1\n"
    )
    assert [d.code for d in checked.diagnostics] == ["CS305"]

"""Which layers are meant by a name, and which are the last hidden ones."""

from __future__ import annotations

import pytest

from convspec.checker import check
from convspec.diagnostics import DiagnosticError
from convspec.graph.hidden import last_hidden_layers, layers_named
from convspec.resources import spec_path


def named(spec: str, name: str) -> tuple[str, ...]:
    checked = check(spec_path(spec))
    assert checked.ok
    return layers_named(name, checked.graph, checked.shapes, checked.placement)


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        ("alexnet.cfg", ("fc7a", "fc7b")),
        ("alexnet-1gpu.cfg", ("fc7",)),
        ("alexnet-2012.cfg", ("fc7a", "fc7b")),
        ("alexnet-without-dropout.cfg", ("fc7a", "fc7b")),
        ("lenet-digits.cfg", ("fc4",)),
        ("vgg11.cfg", ("fc7",)),
        ("resnet20.cfg", ("pool",)),
    ],
)
def test_last_hidden(spec: str, layers: tuple[str, ...]) -> None:
    assert last_hidden_layers(check(spec_path(spec)).graph) == layers


def test_towers_by_the_name_that_they_share() -> None:
    assert named("alexnet.cfg", "fc7") == ("fc7a", "fc7b")
    assert named("alexnet.cfg", "fc7b") == ("fc7b",)
    assert named("alexnet.cfg", "drop7") == ("drop7a", "drop7b")
    assert named("alexnet.cfg", " fc7b, fc7 ,") == ("fc7b", "fc7a")
    assert named("alexnet.cfg", "probs") == ("probs",)
    assert named("alexnet-1gpu.cfg", "conv5") == ("conv5",)


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("fc9", "CS601", "did you mean 'fc8'?"),
        ("fc", "CS601", "there is no layer fc"),
        ("conv", "CS601", "there is no layer conv"),
        ("drop", "CS601", "there is no layer drop"),
        ("", "CS601", "there is no layer"),
        ("data", "CS601", "data is what the network is given"),
        ("labels", "CS601", "labels is what the network is given"),
        ("logprob", "CS601", "logprob is a cost"),
        ("conv1,pool5", "CS406", "conv1a gives 48x55x55 and pool5a gives 128x6x6"),
        ("pool5,fc7", "CS406", "they cannot be joined"),
    ],
)
def test_names_that_mean_nothing(name: str, code: str, said: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        named("alexnet.cfg", name)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.code == code
    assert said in f"{diagnostic.message} {diagnostic.help}"


@pytest.mark.parametrize(
    "between",
    ["", "[gap]\ntype=pool\npool=avg\ninputs=data\nsizeX=8\nstride=8\n"],
    ids=["a linear classifier", "no fully connected layer"],
)
def test_a_network_without_a_hidden_layer(between: str) -> None:
    last = (
        "[probs]\ntype=softmax\ninputs=gap\n"
        if between
        else (
            "[fc]\ntype=fc\ninputs=data\noutputs=3\nepsW=0.1\nepsB=0.1\nmomW=0\nmomB=0\ninitW=0.1\n"
            "[probs]\ntype=softmax\ninputs=fc\n"
        )
    )
    text = (
        "[@net]\ninput=data:3x8x8\nclasses=3\n[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"
        f"{between}{last}[cost]\ntype=cost.logreg\ninputs=labels,probs\ncoeff=1\n"
    )
    checked = check(text)
    assert checked.ok, checked.diagnostics
    with pytest.raises(DiagnosticError) as caught:
        last_hidden_layers(checked.graph)
    assert "--layer" in str(caught.value.diagnostics[0].help)

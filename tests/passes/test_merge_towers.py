"""Merging towers changes how a network runs, and nothing of what it computes or of how its parameters are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from torch import nn

import convspec
from convspec.checker import Checked
from convspec.passes.merge_towers import merge_towers
from convspec.passes.pipeline import FOLDED
from convspec.passes.twins import common_name
from convspec.program.features import Dropout, Slice
from convspec.program.program import Program
from convspec.program.weighted import Conv2d, Linear
from convspec.program.windows import LocalResponseNorm
from convspec.resources import spec_path
from convspec.testing import specs
from tests.emit.comparison import (
    UNFUSED,
    Run,
    all_layers,
    assert_close,
    emitted,
    lowered,
    random_batch,
    random_state,
    run,
)
from tests.emit.small_specs import TWO_TOWERS, classifier, layer
from tests.interpreter import Array

UNMERGED = tuple(rewrite for rewrite in FOLDED if rewrite is not merge_towers)


def assert_merging_changes_nothing(checked: Checked, outputs: list[str]) -> None:
    apart, merged = (emitted(lowered(checked, outputs, passes)) for passes in (UNMERGED, FOLDED))
    state, batch = random_state(apart, 0), random_batch(checked, 2, 1)
    assert {name: tuple(value.shape) for name, value in merged.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }
    for training in (True, False):
        expected, actual = (_run(net, batch, state, training=training) for net in (apart, merged))
        assert actual.values.keys() == expected.values.keys()
        for name, value in expected.values.items():
            assert_close(name, actual.values[name], value)
        for name, gradient in expected.gradients.items():
            assert_close(f"gradient of {name}", actual.gradients[name], gradient)
    for name, value in merged.state_dict().items():
        assert np.array_equal(value.numpy(), state[name]), name


def _run(
    net: nn.Module, batch: Mapping[str, NDArray[np.generic]], state: Mapping[str, Array], *, training: bool
) -> Run:
    """On the random numbers of one seed: what is merged drops what it drops apart."""
    torch.manual_seed(0)
    return run(net.train(training), batch, state)


@given(text=specs(towers=2, max_side=10, max_layers=8))
@settings(max_examples=40)
def test_generated_towers(text: str) -> None:
    assert_merging_changes_nothing(convspec.check(text), [])


@given(text=specs(towers=3, max_side=8, max_layers=4))
@settings(max_examples=25)
def test_every_layer_of_three_towers(text: str) -> None:
    checked = convspec.check(text)
    assert_merging_changes_nothing(checked, all_layers(checked))


def weighted(program: Program) -> dict[str, Conv2d | Linear]:
    return {"+".join(op.layers): op for op in program.operators if isinstance(op, Conv2d | Linear)}


def test_alexnet_becomes_one_tower() -> None:
    """Eight weight layers, grouped where the paper has a GPU each, dense where it has a crossing; nothing is cut."""
    program = lowered(convspec.check(spec_path("alexnet.cfg")), passes=UNFUSED)
    operators = weighted(program)
    assert list(operators) == [
        *(f"conv{i}a+conv{i}b" for i in range(1, 6)),
        "fc6a+fc6b",
        "fc7a+fc7b",
        "fc8",
    ]
    groups = [op.groups for op in operators.values() if isinstance(op, Conv2d)]
    assert groups == [1, 2, 1, 2, 2]
    assert [op.shape.channels for op in operators.values()] == [96, 256, 384, 384, 256, 4096, 4096, 1000]
    assert [op.groups for op in program.operators if isinstance(op, LocalResponseNorm)] == [2, 2]
    assert not [op for op in program.operators if isinstance(op, Slice)]
    assert all(len(op.inputs) == 1 for op in operators.values())


@pytest.mark.parametrize(
    ("twin", "different"),
    [
        ("conv1b", "epsW=0.02"),
        ("conv1b", "epsB=0.03"),
        ("conv1b", "momW=0.8"),
        ("conv1b", "wc=0"),
        ("conv1b", "initW=0.2"),
        ("conv1b", "initB=1"),
    ],
)
def test_twins_that_learn_otherwise_stay_apart(twin: str, different: str) -> None:
    """One parameter has one rate, one momentum, one decay and one start."""
    program = lowered(convspec.check(TWO_TOWERS, overrides=[f"{twin}.{different}"]))
    assert "conv1a+conv1b" not in weighted(program)
    assert "conv3a+conv3b" in weighted(program)
    assert_merging_changes_nothing(convspec.check(TWO_TOWERS, overrides=[f"{twin}.{different}"]), [])


def notes(text: str, *overrides: str) -> list[str]:
    """What `merge_towers` says of twins that stay apart."""
    program = lowered(convspec.check(text, overrides=overrides), passes=UNFUSED)
    return [note for note in program.notes if " apart" in note]


@pytest.mark.parametrize(
    ("override", "note"),
    [
        (
            "conv1b.epsW=0.02",
            "conv1a and conv1b stay apart: the learning rate of the weight is 0.01 in conv1a and 0.02",
        ),
        ("conv1b.epsB=0.03", "conv1a and conv1b stay apart: the learning rate of the bias is 0.02 in conv1a and 0.03"),
        ("conv1b.momW=0.8", "conv1a and conv1b stay apart: the momentum of the weight is 0.9 in conv1a and 0.8 in"),
        ("conv1b.wc=0", "conv1a and conv1b stay apart: the weight decay of the weight is 0.0005 in conv1a and 0 in"),
        (
            "conv1b.initW=0.2",
            "conv1a and conv1b stay apart: the deviation of the initial weight is 0.1 in conv1a and 0.2",
        ),
        ("conv1b.initB=1", "conv1a and conv1b stay apart: the initial bias is 0 in conv1a and 1 in conv1b"),
        ("conv2b.neuron=abs", "conv2a and conv2b stay apart: the neuron is relu in conv2a and abs in conv2b"),
        ("conv2b.wball=2", "conv2a and conv2b stay apart: the bound on the norm of the weight is 0 in conv2a and 2 in"),
        ("conv3b.groups=2", "conv3a and conv3b stay apart: the number of groups is 1 in conv3a and 2 in conv3b"),
        ("fc4b.outputs=7", "fc4a and fc4b stay apart: the size of what it gives is 5 in fc4a and 7 in fc4b"),
        ("rnorm1b.pow=0.5", "rnorm1a and rnorm1b stay apart: the beta is 0.75 in rnorm1a and 0.5 in rnorm1b"),
        ("drop4b.keep=0.3", "drop4a and drop4b stay apart: the keep is 0.5 in drop4a and 0.3 in drop4b"),
        ("conv2b.weightSource=conv2a", "conv2a and conv2b stay apart: conv2a has weights in common with other layers"),
    ],
)
def test_twins_that_stay_apart_say_why(override: str, note: str) -> None:
    """In one note, the first; what follows from it comes after."""
    first, *others = notes(TWO_TOWERS, override)
    assert first.startswith(note)
    assert all("which are apart as well" in other or "size of what it gives" in other for other in others), others


def test_what_stands_above_twins_that_are_apart_says_so() -> None:
    assert notes(TWO_TOWERS, "conv1b.initB=1")[1:] == [
        "rnorm1a and rnorm1b stay apart: they read conv1a and conv1b, which are apart as well",
        "pool1a and pool1b stay apart: they read rnorm1a and rnorm1b, which are apart as well",
        "conv2a and conv2b stay apart: they read pool1a and pool1b, which are apart as well",
    ]


def test_twins_with_sparse_connections_say_so() -> None:
    """Not by the name of the buffer that holds them."""
    keys = {"filters": 2, "filterSize": 1, "groups": 2, "randSparse": 1, "filterChannels": 2}
    layers = "".join(
        layer(f"conv1{t}", type="conv", inputs="data", filters=4, filterSize=1, gpu=i)
        + layer(f"conv2{t}", type="conv", inputs=f"conv1{t}", **keys, gpu=i)
        for i, t in enumerate("ab")
    )
    first, *others = notes(classifier(layers, leaves="conv2a,conv2b"))
    assert first == "conv2a and conv2b stay apart: each has connections of its own"
    assert all("connections" not in other or other == first for other in others)


def test_a_value_that_several_read_is_named_once() -> None:
    layers = layer("fc1a", type="fc", inputs="data", outputs=4, gpu=0)
    layers += layer("fc1c", type="fc", inputs="data", outputs=4, epsW=0.3, gpu=2)
    for gpu, (tower, source) in enumerate([("a", "fc1a"), ("b", "fc1a"), ("c", "fc1c")]):
        layers += layer(f"fc2{tower}", type="fc", inputs=source, outputs=3, gpu=gpu)
    found = notes(classifier(layers, leaves="fc2a,fc2b,fc2c"))
    assert "fc2c stays apart from fc2a and fc2b: they read fc1a and fc1c, which are apart as well" in found


def test_twins_that_read_a_value_of_both_say_so() -> None:
    """Once what each reads of its own is merged, the value in common stands in the way."""
    layers = "".join(
        layer(f"conv1{t}", type="conv", inputs="data", filters=3, filterSize=1, gpu=i)
        + layer(f"sum2{t}", type="eltsum", inputs=f"conv1{t},data", gpu=i)
        for i, t in enumerate("ab")
    )
    assert notes(classifier(layers, leaves="sum2a,sum2b")) == [
        "sum2a and sum2b stay apart: they read data, which is no tower of either"
    ]


def test_twins_that_merge_say_nothing() -> None:
    assert notes(TWO_TOWERS) == []
    assert notes(four_towers()) == []


def four_towers(**different: object) -> str:
    """Four towers that cross twice, each with its inputs in an order of its own. different: keys of conv1d."""
    orders = {"a": "abcd", "b": "badc", "c": "cdab", "d": "dcba"}
    return classifier(
        "".join(
            layer(
                f"conv1{t}", type="conv", inputs="data", filters=2, filterSize=3, gpu=i, **(different if i == 3 else {})
            )
            + layer(f"pool1{t}", type="pool", pool="max", inputs=f"conv1{t}", sizeX=3, stride=2)
            + layer(
                f"conv2{t}",
                type="conv",
                inputs=",".join(f"pool1{o}" for o in order),
                filters=3,
                filterSize=3,
                neuron="relu",
                gpu=i,
            )
            + layer(f"fc3{t}", type="fc", inputs=",".join(f"conv2{o}" for o in order), outputs=2, gpu=i)
            for i, (t, order) in enumerate(orders.items())
        ),
        leaves="fc3d,fc3b,fc3a,fc3c",
    )


def test_four_towers_with_inputs_in_four_orders() -> None:
    """Each layer once, over the joined maps; the columns of each tower's weights are where the joined maps have them."""
    checked = convspec.check(four_towers())
    program = lowered(checked, passes=UNFUSED)
    assert list(weighted(program)) == [f"{n}a+{n}b+{n}c+{n}d" for n in ("conv1", "conv2", "fc3")] + ["scores"]
    assert not [op for op in program.operators if isinstance(op, Slice)]
    columns = {block.name: block.columns for block in program.parameter["conv2.weight"].blocks}
    assert [columns[f"conv2d.weights.{i}"] for i in range(4)] == [(6, 8), (4, 6), (2, 4), (0, 2)]
    assert_merging_changes_nothing(checked, all_layers(checked))


def test_one_tower_of_four_that_differs_keeps_all_apart() -> None:
    """The three others give no whole of four that the layers above could read."""
    checked = convspec.check(four_towers(epsW=0.3))
    first = notes(four_towers(epsW=0.3))[0]
    assert first == (
        "conv1d stays apart from conv1a, conv1b and conv1c: the learning rate of the weight is 0.01 in conv1a and 0.3 in "
        "conv1d"
    )
    assert_merging_changes_nothing(checked, all_layers(checked))


def test_a_twin_with_another_neuron() -> None:
    checked = convspec.check(TWO_TOWERS, overrides=["conv2b.neuron=abs"])
    assert "conv2a+conv2b" in weighted(lowered(checked))
    assert_merging_changes_nothing(checked, all_layers(checked))


def test_layers_of_one_gpu_are_no_twins() -> None:
    text = classifier(
        "\n".join(f"[conv{i}]\ntype=conv\ninputs=data\nfilters=4\nfilterSize=3\ngpu=0\n" for i in (1, 2)),
        leaves="conv1,conv2",
    )
    assert set(weighted(lowered(convspec.check(text)))) == {"conv1", "conv2", "scores"}


def test_an_output_in_the_middle_of_a_tower_is_a_slice() -> None:
    checked = convspec.check(TWO_TOWERS)
    program = lowered(checked, ["conv2b"])
    assert [(op.name, op.start, op.stop) for op in program.operators if isinstance(op, Slice)] == [("conv2b", 4, 8)]
    assert_merging_changes_nothing(checked, ["conv2b", "fc4a"])


def test_state_moves_between_placements() -> None:
    """A state_dict of the merged module loads into the one of towers, and back, bit for bit."""
    checked = convspec.check(TWO_TOWERS)
    apart, merged = (emitted(lowered(checked, (), passes)) for passes in (UNMERGED, FOLDED))
    apart.load_state_dict(merged.state_dict())
    state = {name: value.clone() for name, value in merged.state_dict().items()}
    with torch.no_grad():
        for parameter in merged.parameters():
            parameter.zero_()
    merged.load_state_dict(apart.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in merged.state_dict().items())


def test_a_state_that_lacks_a_layer_is_refused() -> None:
    net = emitted(lowered(convspec.check(TWO_TOWERS)))
    state = net.state_dict()
    del state["conv2b.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*conv2"):
        net.load_state_dict(state)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_merged_towers_drop_and_blur_as_they_do_apart(count: int) -> None:
    """Dropout of both kinds, noise of nrelu: of maps and of vectors, read by their own tower and by all."""
    names = "abcd"[:count]
    towers = "".join(
        layer(f"conv{n}", type="conv", inputs="data", filters=4, filterSize=3, gpu=i, dropout=0.3, neuron="nrelu")
        + layer(f"pool{n}", type="pool", inputs=f"conv{n}", sizeX=3, stride=2, pool="max")
        + layer(f"drop{n}", type="dropout2", inputs=f"pool{n}", keep=0.6)
        + layer(f"fc{n}", type="fc", inputs=",".join(f"drop{m}" for m in names), outputs=6, gpu=i, neuron="relu")
        + layer(f"last{n}", type="dropout", inputs=f"fc{n}", keep=0.7)
        for i, n in enumerate(names)
    )
    checked = convspec.check(classifier(towers, leaves=",".join(f"last{n}" for n in names)))
    program = lowered(checked)
    assert [op.layers for op in program.operators if isinstance(op, Dropout)] == [
        tuple(f"{layer}{n}" for n in names) for layer in ("conv", "drop", "last")
    ]
    assert_merging_changes_nothing(checked, [])
    swapped = [replace(op, layers=op.layers[::-1]) if isinstance(op, Dropout) else op for op in program.operators]
    state, batch = random_state(emitted(program), 0), random_batch(checked, 2, 1)
    other = emitted(replace(program, operators=tuple(swapped)))
    right, wrong = (_run(net, batch, state, training=True) for net in (emitted(program), other))
    with pytest.raises(AssertionError, match="differs by"):
        assert_close("probs", wrong.values["probs"], right.values["probs"])


def test_a_network_without_towers_is_left_alone() -> None:
    program = lowered(convspec.check(spec_path("lenet-digits.cfg")), (), ())
    assert merge_towers(program) is program


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["conv1a", "conv1b"], "conv1"),
        (["full6a.drop", "full6b.drop"], "full6.drop"),
        (["tower-1-fc", "tower-2-fc"], "tower-fc"),
        (["conv11", "conv21"], "conv"),
        (["left", "right"], ""),
    ],
)
def test_twins_are_called_by_what_their_names_have_in_common(names: list[str], name: str) -> None:
    """Not by digits behind the letter of a tower, which would be another layer's number."""
    assert common_name(names) == name

"""Each part of the language by itself: neurons, windows, dropout in training, costs at their edges."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import convspec
from convspec.layers.base import NEURON_ARGUMENTS
from convspec_kernels import Noise, normal_like
from tests.emit.comparison import (
    all_layers,
    assert_close,
    assert_program_is_spec,
    assert_same,
    assert_spec_is_right,
    emitted,
    lowered,
    random_batch,
    random_state,
    run,
)
from tests.emit.small_specs import TWO_TOWERS, UNSHARED, classifier, layer
from tests.interpreter import NEURONS, interpret

_WITH_ARGUMENTS = {
    "tanh": "tanh[1.7,0.66]",
    "abstanh": "abstanh[1.5,0.7]",
    "brelu": "brelu[0.8]",
    "linear": "linear[-0.5,0.25]",
    "log": "log[1.5]",
    "drelu": "drelu[0.7]",
}


def neurons() -> list[str]:
    return [_WITH_ARGUMENTS.get(name, name) for name in NEURON_ARGUMENTS]


def test_the_interpreter_has_every_neuron() -> None:
    assert {*NEURONS, "nrelu"} == set(NEURON_ARGUMENTS)


@pytest.mark.parametrize("neuron", [neuron for neuron in neurons() if neuron not in ("sqrt", "log[1.5]", "nrelu")])
@pytest.mark.parametrize(
    "reader",
    [
        layer("x", type="neuron", inputs="conv"),
        layer("x", type="conv", inputs="conv", filters=2, filterSize=2),
        layer("x", type="conv", inputs="conv,other", filters="4,2", filterSize=2, groups="1,2"),
        layer("x", type="fc", inputs="conv,other", outputs=3, epsW="0.01,0.02"),
        layer("x", type="pool", pool="avg", inputs="conv", sizeX=2, stride=1),
        layer("x", type="cmrnorm", inputs="conv", size=2),
        layer("x", type="rnorm", inputs="conv", size=2),
        layer("x", type="dropout2", inputs="conv", keep=0.8),
        layer("x", type="dropout2", inputs="conv", keep=0.8, enable=0),
        layer("x", type="dropout", inputs="conv", keep=0.8),
        layer("x", type="concat", inputs="conv,other"),
        layer("x", type="softmax", inputs="conv"),
    ],
    ids=lambda text: text.replace("\n", " "),
)
def test_neurons_on_every_layer(neuron: str, reader: str) -> None:
    """`neuron=` changes the output of any layer that is neither data nor a cost."""
    convolutions = layer("conv", type="conv", inputs="data", filters=4, filterSize=2, neuron="logistic") + layer(
        "other", type="conv", inputs="data", filters=4, filterSize=2, neuron=neuron
    )
    assert_spec_is_right(classifier(convolutions + reader + f"neuron={neuron}\n", leaves="x,other", image="2x4x4"))


@pytest.mark.parametrize("edge", [0.0, 4.0, 0.8])
@pytest.mark.parametrize(
    "neuron", ["abs", "relu", "softrelu", "brelu[0.8]", "abstanh[1.5,0.7]", "drelu[0.8]", "square"]
)
def test_slopes_at_the_edges(neuron: str, edge: float) -> None:
    """The slope of abs at 0 is -1, that of relu 0; softrelu goes by x > 4, and brelu has slope 0 at both corners."""
    checked = convspec.check(classifier(layer("x", type="neuron", inputs="data", neuron=neuron), leaves="x"))
    net = emitted(lowered(checked))
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    batch["data"][:, 1] = edge
    assert_same(run(net, batch, state), interpret(checked.graph, batch, state))


@pytest.mark.parametrize("neuron", ["logistic", "tanh[1.7,0.66]", "softrelu", "drelu[0.5]", "abstanh[1,1]", "brelu[6]"])
def test_neurons_far_from_zero(neuron: str) -> None:
    """Where exponentials are very large or very small, values and slopes are finite and right."""
    checked = convspec.check(classifier(layer("x", type="neuron", inputs="data", neuron=neuron), leaves="x"))
    net = emitted(lowered(checked, ["x"]))
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    state["scores.weight"] /= 100
    batch["data"] *= 30
    assert np.abs(batch["data"]).max() > 60
    assert_same(run(net, batch, state), interpret(checked.graph, batch, state))


def test_what_is_not_a_number_stays_none() -> None:
    """Relu lets it pass, as the original does, and does not hide it."""
    checked = convspec.check(classifier(layer("x", type="neuron", inputs="data", neuron="relu"), leaves="x"))
    net = emitted(lowered(checked, ["x"]))
    images = torch.full((1, 3, 9, 9), torch.nan, dtype=torch.float64)
    assert net({"data": images})["x"].isnan().all()


@pytest.mark.parametrize("neuron", ["sqrt", "log[0.1]"])
def test_neurons_of_positive_numbers(neuron: str) -> None:
    layers = layer("s", type="neuron", inputs="data", neuron="logistic") + layer(
        "x", type="neuron", inputs="s", neuron=neuron
    )
    assert_spec_is_right(classifier(layers, leaves="x"))


def test_nrelu_adds_noise_as_large_as_its_input() -> None:
    """It gives relu(r + r z), at test too, and the gradient takes r z for a constant."""
    checked = convspec.check(classifier(layer("x", type="neuron", inputs="data", neuron="nrelu"), leaves="x"))
    net = emitted(lowered(checked, ["x"]))
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    torch.manual_seed(2)
    noise = normal_like(torch.from_numpy(batch["data"]), Noise.draw(), "x").numpy()
    torch.manual_seed(2)
    assert_same(run(net, batch, state), interpret(checked.graph, batch, state, noise={"x": noise}))


def test_nrelu_draws_anew_each_time() -> None:
    checked = convspec.check(classifier(layer("x", type="neuron", inputs="data", neuron="nrelu"), leaves="x"))
    net = emitted(lowered(checked, ["x"]))
    images = {"data": torch.ones(1, 3, 9, 9, dtype=torch.float64)}
    assert not torch.equal(net(images)["x"], net(images)["x"])


@pytest.mark.parametrize("rounding", ["ceil", "floor"])
@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize(
    "windows",
    [
        {"sizeX": 3, "stride": 2},
        {"sizeX": 4, "stride": 3},
        {"sizeX": 4, "stride": 3, "start": -1},
        {"sizeX": 3, "stride": 3, "start": -2},
        {"sizeX": 3, "stride": 2, "start": 1},
        {"sizeX": 3, "stride": 2, "outputsX": 5},
        {"sizeX": 3, "stride": 2, "outputsX": 2, "start": -2},
        {"sizeX": 5, "stride": 1, "outputsX": 9},
    ],
    ids=str,
)
def test_pooling_windows(windows: dict[str, int], pool: str, rounding: str) -> None:
    text = classifier(
        layer("x", type="pool", pool=pool, inputs="data", **windows), leaves="x", net=f"rounding={rounding}"
    )
    assert_spec_is_right(text)


@pytest.mark.parametrize("rounding", ["ceil", "floor"])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7])
def test_convolution_windows(stride: int, padding: int, rounding: str) -> None:
    conv = layer("x", type="conv", inputs="data", filters=2, filterSize=4, stride=stride, padding=padding)
    assert_spec_is_right(classifier(conv, leaves="x", net=f"rounding={rounding}"))


@pytest.mark.parametrize("rounding", ["ceil", "floor"])
@pytest.mark.parametrize("kind", ["conv", "local"])
@pytest.mark.parametrize(
    "keys",
    [
        {"filterSize": 4, "stride": 2},
        {"filterSize": 4, "stride": 3, "padding": 2},
        {"filterSize": 3, "stride": 7, "padding": 1},
        {"filterSize": "2x5"},
        {"filterSize": "2x5", "stride": "3x1", "padding": "1x2"},
        {"filterSize": 3, "stride": "2x3", "groups": 2},
        {"filterSize": 3, "stride": 2, "modulesX": 4},
        {"filterSize": 3, "stride": 2, "modulesX": 9, "padding": 1},
        {"filterSize": 3, "modulesX": "8x0"},
        {"filterSize": 3, "padding": 2, "modulesX": "8x6"},
        {"filterSize": "5x3", "padding": "3x1", "stride": "1x2", "modulesX": "7x3", "groups": 2},
        {"filterSize": "1x4", "padding": "0x3", "stride": "1x4", "modulesX": "11x4", "groups": 2},
    ],
    ids=str,
)
def test_filters_of_every_kind(keys: dict[str, object], kind: str, rounding: str) -> None:
    """Windows that hang over, that differ by axis, that are more than needed or leave out zeros; on maps that are not
    square."""
    biases = {"sharedBiases": 0} if kind == "conv" else {}
    filters = layer("x", type=kind, inputs="data", filters=2, neuron="tanh[1,1]", **biases, **keys)
    assert_spec_is_right(classifier(filters, leaves="x", image="4x8x6", net=f"rounding={rounding}"))


@pytest.mark.parametrize("kind", ["conv", "local"])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"epsW": "0.01,0.02"},
        {"padding": "1,2", "filterSize": "3,5"},
        {"groups": "2,1", "filters": "2,4"},
        {"stride": "2x1", "filterSize": "3x2,5x2", "padding": "1x0,2x0"},
        {"modulesX": "9x8"},
    ],
    ids=str,
)
def test_filters_over_several_inputs(keys: dict[str, object], kind: str) -> None:
    layers = layer("a", type="neuron", inputs="data", neuron="tanh[1,1]") + layer(
        "x", **{"type": kind, "inputs": "data,a", "filters": 4, "filterSize": 3, "padding": 1, **keys}
    )
    assert_spec_is_right(classifier(layers, leaves="x", image="2x7x6"))


@pytest.mark.parametrize("kind", ["conv", "local"])
@pytest.mark.parametrize("keys", [{"stride": 3}, {"modulesX": 7}], ids=str)
def test_inputs_of_different_sizes_that_give_one(keys: dict[str, object], kind: str) -> None:
    """Rounded up, 8 and 9 pixels both have three windows of 3, 3 apart; modulesX asks for as many of both."""
    layers = layer("a", type="pool", pool="max", inputs="data", sizeX=2, stride=1) + layer(
        "x", type=kind, inputs="data,a", filters=2, filterSize=3, **keys
    )
    assert_spec_is_right(classifier(layers, leaves="x", image="2x9x9"))


SHARING = {
    "two layers": (
        layer("a", type="conv", inputs="data", filters=4, filterSize=3, padding=1, neuron="relu")
        + layer(
            "b", type="conv", inputs="data", filters=4, filterSize=3, stride=2, weightSource="a", neuron="tanh[1,1]"
        )
    ),
    "the owner comes last": (
        layer("b", type="conv", inputs="data", filters=2, filterSize=3, weightSource="a[0]")
        + layer("s", type="neuron", inputs="data", neuron="tanh[1,1]")
        + layer("a", type="conv", inputs="s", filters=2, filterSize=3)
    ),
    "a chain": (
        layer("a", type="local", inputs="data", filters=2, filterSize=3)
        + layer("b", type="local", inputs="data", filters=2, filterSize=3, weightSource="a", neuron="abs")
        + layer("c", type="local", inputs="data", filters=2, filterSize=3, weightSource="b", neuron="tanh[1,1]")
    ),
    "a later matrix of its own": (
        layer("s", type="neuron", inputs="data", neuron="tanh[1,1]")
        + layer("a", type="conv", inputs="data,s", filters=2, filterSize=3, weightSource=",a[0]")
        + layer("b", type="conv", inputs="s,data,s", filters=2, filterSize=3, weightSource="a[1],,b[1]")
    ),
    "of an input of several": (
        layer("s", type="neuron", inputs="data", neuron="tanh[1,1]")
        + layer("a", type="fc", inputs="data,s", outputs=5)
        + layer("b", type="fc", inputs="s", outputs=5, weightSource="a[1]", neuron="abs")
    ),
    "parts": (
        layer("a", type="sfc", inputs="data", outputs=2, parts=4)
        + layer("b", type="sfc", inputs="data,data", outputs=2, parts=4, weightSource="a,", neuron="abs")
    ),
    "a bias an output": (
        layer("a", type="conv", inputs="data", filters=2, filterSize=3, sharedBiases=0)
        + layer("b", type="conv", inputs="data,data", filters=2, filterSize=3, weightSource="a,a", sharedBiases=0)
        + layer("c", type="conv", inputs="data", filters=2, filterSize=3, weightSource="a", stride=2)
    ),
    "connections": (
        layer("a", type="conv", inputs="data", filters=2, filterSize=3, randSparse=1, groups=2, filterChannels=4)
        + layer(
            "b",
            type="conv",
            inputs="data,data",
            filters=2,
            filterSize=3,
            randSparse=1,
            groups=2,
            filterChannels=4,
            weightSource=",a",
        )
    ),
    "pools that take in the biases": (
        "".join(
            layer(name, type="conv", inputs="data", filters=2, filterSize=3, neuron="relu", **keys)
            + layer(f"p{name}", type="pool", pool="max", inputs=name, sizeX=3, stride=2)
            for name, keys in (("b", {"weightSource": "a"}), ("a", {}))
        )
    ),
}


@pytest.mark.parametrize(
    "layers",
    [
        layer("x", type="conv", inputs="data", filters=4, filterSize=3, groups=2, biases=0, neuron="relu")
        + layer("p", type="pool", pool="max", inputs="x", sizeX=3, stride=2),
        layer("x", type="conv", inputs="data,data", filters=4, filterSize="3,5", padding="1,2", biases=0),
        layer("x", type="conv", inputs="data,data", filters=4, filterSize=3, stride=2, biases=0)
        + layer("y", type="conv", inputs="data", filters=4, filterSize=3, weightSource="x[1]"),
        layer("x", type="local", inputs="data,data", filters=2, filterSize=3, biases=0, neuron="abs"),
        layer("x", type="fc", inputs="data,data", outputs=3, biases=0),
        layer("x", type="fc", inputs="data,data", outputs=3, epsW="0.1,0.2", biases=0, dropout=0.5),
        layer("x", type="sfc", inputs="data", outputs=2, parts=4, biases=0, neuron="tanh[1,1]"),
    ],
    ids=lambda text: text.replace("\n", " "),
)
def test_layers_without_biases(layers: str) -> None:
    names = re.findall(r"^\[(\w+)\]", layers, re.M)
    leaves = [name for name in names if not re.search(rf"inputs=(.*,)?{name}\b", layers)]
    text = classifier(layers, leaves=",".join(leaves), image="4x7x6")
    assert_spec_is_right(text)
    checked = convspec.check(text)
    assert {row.name: row.biases for row in checked.layers}["x"] == 0
    state = convspec.load(text).state_dict()
    assert "x.bias" not in state
    assert sum(tensor.numel() for tensor in state.values()) == sum(row.weights + row.biases for row in checked.layers)


def test_layers_without_biases_need_no_rate_of_them() -> None:
    text = classifier(
        layer("a", type="conv", inputs="data", filters=4, filterSize=3, biases=0)
        + layer("b", type="fc", inputs="a", outputs=4, biases=0),
        leaves="b",
    )
    text = text.replace("epsB=0.02\n", "").replace("momB=0.9\n", "")
    [error] = convspec.check(text).errors
    assert error.message == "scores needs epsB and momB"
    assert convspec.check(text.replace("[scores]", "[scores]\nbiases=0")).ok


TREES = {
    "two levels": '{"children": [[], [], [], [], [0, 1], [2, 3], [4, 5]], "root": 6}',
    "a chain": '{"children": [[], [], [], [], [3, 7], [4], [0, 5], [1, 2]], "root": 6}',
    "flat": '{"children": [[], [], [], [], [3, 1, 0, 2]], "root": 4}',
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_trees_of_classes(tree: str) -> None:
    """Of a vector and of maps; the weights of a class are those of its leaf and of all nodes above it."""
    layers = layer("x", type="treefc", inputs="data", tree=tree, neuron="tanh[1,1]") + layer(
        "y", type="treefc", inputs="x", tree=tree
    )
    assert_spec_is_right(classifier(layers, leaves="x,y", image="2x3x2"))


def test_a_tree_starts_with_its_leaves() -> None:
    text = classifier(
        layer("x", type="treefc", inputs="data", tree=TREES["a chain"], initW=0.5, initB=0.25),
        leaves="x",
        image="2x3x2",
    )
    program = lowered(convspec.check(text))
    net = emitted(program)
    weight = net.get_parameter("x.weight")
    assert weight.shape == (8, 12)
    assert weight[:4].std().item() == pytest.approx(0.5, rel=0.5)
    assert not weight[4:].any()
    assert net.get_parameter("x.bias").tolist() == [0.25] * 4
    assert list(net.state_dict()) == ["x.weight", "x.bias", "scores.weight", "scores.bias"]


@pytest.mark.parametrize("layers", SHARING.values(), ids=SHARING)
def test_weights_that_layers_share(layers: str) -> None:
    """One tensor for all that read through it; its gradient is the sum of theirs."""
    names = re.findall(r"^\[(\w+)\]", layers, re.M)
    leaves = [name for name in names if not re.search(rf"inputs=(.*,)?{name}\b", layers)]
    assert_spec_is_right(classifier(layers, leaves=",".join(leaves), image="4x7x6"))


def test_shared_weights_are_one_tensor() -> None:
    layers = layer("a", type="fc", inputs="data", outputs=6) + layer(
        "b", type="fc", inputs="data", outputs=6, weightSource="a", epsW="0.003"
    )
    program = lowered(convspec.check(classifier(layers, leaves="a,b")))
    net = emitted(program)
    assert [name for name, _ in net.named_parameters() if name.startswith(("a", "b"))] == [
        "a.weight",
        "a.bias",
        "b.bias",
    ]
    assert {name for name in net.state_dict() if name.startswith("b")} == {"b.bias"}
    parameter = program.parameter["a.weight"]
    assert [(sharer.layer, sharer.input, sharer.rate.base) for sharer in parameter.sharers] == [("b", 0, 0.003)]
    assert parameter.update.rate.base == 0.01


@pytest.mark.parametrize("source", ["conv1a", "conv1b"])
def test_towers_that_share_weights_stay_apart(source: str) -> None:
    """A pair of towers with the same filters: neither is merged, and what stands above them is."""
    sharer = {"conv1a": "conv1b", "conv1b": "conv1a"}[source]
    checked = convspec.check(TWO_TOWERS, overrides=[f"{sharer}.weightSource={source}"])
    assert checked.ok, checked.diagnostics
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    assert_program_is_spec(lowered(checked, all_layers(checked)), checked)
    assert f"{source}.weight" in program.parameter
    assert f"{sharer}.weight" not in program.parameter


@pytest.mark.parametrize("kind", ["conv", "local"])
@pytest.mark.parametrize(
    "keys",
    [
        {"groups": 2},
        {"groups": 3, "filterChannels": 2},
        {"groups": 3, "filterChannels": 6},
        {"groups": 4, "filterChannels": 3},
        {"groups": 6, "filterChannels": 1, "stride": 2, "padding": 1},
        {"inputs": "data,a", "groups": "2,1", "filters": "2,4", "randSparse": "1,0"},
        {"inputs": "data,a", "groups": 2, "randSparse": "true,1", "filterChannels": "6,3"},
        {"inputs": "a,a", "groups": 2},
    ],
    ids=str,
)
def test_channels_drawn_at_random(keys: dict[str, object], kind: str) -> None:
    """Once over and several times over, in one order for each input."""
    layers = layer("a", type="neuron", inputs="data", neuron="tanh[1,1]") + layer(
        "x", **{"type": kind, "inputs": "data", "filters": 2, "filterSize": 3, "randSparse": 1, **keys}
    )
    assert_spec_is_right(classifier(layers, leaves="a,x", image="6x5x4"))


def test_each_group_sees_a_part_of_a_random_order() -> None:
    """Drawn anew with each seed, each channel as often as any other, and kept in the state."""
    text = classifier(
        layer("x", type="conv", inputs="data", filters=2, filterSize=1, randSparse=1, groups=4, filterChannels=4),
        leaves="x",
        image="8x3x3",
    )
    net = emitted(lowered(convspec.check(text)))
    first = net.state_dict()["x.connections"].clone()
    assert first.shape == (16,)
    for run_of_channels in first.split(8):
        assert sorted(run_of_channels.tolist()) == list(range(8))
    torch.manual_seed(1)
    net.reset_parameters()
    second = net.state_dict()["x.connections"].clone()
    torch.manual_seed(1)
    net.reset_parameters()
    assert torch.equal(second, net.state_dict()["x.connections"])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rates", ["0.01", "0.01,0.02"])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_split_layers(parts: int, rates: str) -> None:
    """Of a vector and of maps, alone and together."""
    layers = (
        layer("f", type="fc", inputs="data", outputs=12)
        + layer("a", type="sfc", inputs="f", outputs=3, parts=parts, neuron="tanh[1,1]")
        + layer("b", type="sfc", inputs="data", outputs=2, parts=parts)
        + layer("x", type="sfc", inputs="f,data", outputs=2, parts=parts, epsW=rates)
    )
    assert_spec_is_right(classifier(layers, leaves="a,b,x", image="4x3x5"))


def test_towers_of_unshared_filters() -> None:
    assert_spec_is_right(UNSHARED)


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize(
    "windows",
    [
        {"sizeX": "3x2", "stride": "2x1"},
        {"sizeX": "1x4", "stride": "1x3", "start": "0x-2"},
        {"sizeX": "5x1", "stride": 1, "start": "-1x0"},
        {"sizeX": 3, "stride": "3x2", "start": "-2x1"},
        {"sizeX": "2x3", "stride": "1x2", "outputsX": "4x0"},
        {"sizeX": "2x3", "stride": "2x3", "outputsX": "5x1", "start": "-1x1"},
    ],
    ids=str,
)
def test_pooling_windows_that_differ_by_axis(windows: dict[str, object], pool: str) -> None:
    assert_spec_is_right(
        classifier(layer("x", type="pool", pool=pool, inputs="data", **windows), leaves="x", image="2x9x7")
    )


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_response_norm_windows(size: int) -> None:
    assert_spec_is_right(classifier(layer("x", type="cmrnorm", inputs="data", size=size), leaves="x", image="6x3x3"))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_response_norm_windows_within_a_map(size: int) -> None:
    assert_spec_is_right(classifier(layer("x", type="rnorm", inputs="data", size=size), leaves="x", image="2x5x4"))


def test_lists_of_windows_with_an_overhang() -> None:
    """Several inputs with windows of their own, one of which hangs over."""
    layers = (
        layer("a", type="conv", inputs="data", filters=4, filterSize=1)
        + layer("b", type="pool", pool="max", inputs="a", sizeX=2, stride=2)
        + layer("x", type="conv", inputs="a,b", filters="2,4", groups="2,1", filterSize="4,2", stride="4,2")
    )
    assert_spec_is_right(classifier(layers, leaves="x"))


def test_a_vector_is_read_as_square_maps() -> None:
    layers = (
        layer("f", type="fc", inputs="data", outputs=36)
        + layer("c", type="conv", inputs="f", channels=4, filters=2, filterSize=2)
        + layer("p", type="pool", inputs="f", channels=4, pool="max", sizeX=2, stride=1)
        + layer("n", type="cmrnorm", inputs="f", channels=9, size=3)
    )
    assert_spec_is_right(classifier(layers, leaves="c,p,n"))


@pytest.mark.parametrize("kind", ["dropout", "dropout2", "hs"])
@pytest.mark.parametrize("enable", [0, 1])
def test_dropout_in_training(kind: str, enable: int) -> None:
    """The module's own masks, read from its outputs, explain all of its values and gradients."""
    layers = layer("f", type="fc", inputs="data", outputs=40) + layer(
        "x", type=kind, inputs="f", keep=0.6, enable=enable
    )
    checked = convspec.check(classifier(layers, leaves="x"))
    net = emitted(lowered(checked, ["x"])).train()
    state, batch = random_state(net, 0), random_batch(checked, 3, 1)
    torch.manual_seed(0)
    trained = run(net, batch, state)
    mask = (trained.values["x"] != 0).astype(np.float64)
    assert mask.mean() == pytest.approx(0.6 if enable else 1, abs=0.15)
    assert_same(trained, interpret(checked.graph, batch, state, masks={"x": mask}))


@pytest.mark.parametrize("keep", [7, 1.25, -0.5])
@pytest.mark.parametrize(
    ("kind", "dialect"), [("dropout", "ccn2"), ("dropout2", "ccn2"), ("hs", "alexnet2012"), ("dropout=", "ccn1_dnouri")]
)
def test_a_probability_that_is_none(kind: str, dialect: str, keep: float) -> None:
    """The originals compare a number below 1 with it: above 1 it keeps all units, below 0 none, and its factor is as ever."""
    layers = layer("f", type="fc", inputs="data", outputs=5, gpu=0)
    if kind == "dropout=":
        layers = layer("x", type="fc", inputs="data", outputs=5, dropout=1 - keep)
    else:
        layers += layer("x", type=kind, inputs="f", keep=keep, enable=1)
    checked = convspec.check(classifier(layers, leaves="x", net=f"dialect={dialect}"))
    assert checked.ok
    assert [d.code for d in checked.diagnostics].count("CS221") == 1
    net = emitted(lowered(checked, ["x"]))
    state, batch = random_state(net, 0), random_batch(checked, 3, 1)
    kept, none = np.ones((3, 5)), np.zeros((3, 5))
    mask, other = (kept, none) if keep > 1 else (none, kept)
    trained = run(net.train(), batch, state)
    assert_same(trained, interpret(checked.graph, batch, state, masks={"x": mask}))
    with pytest.raises(AssertionError):
        assert_same(trained, interpret(checked.graph, batch, state, masks={"x": other}))
    with pytest.raises(AssertionError):
        assert_same(trained, interpret(checked.graph, batch, state))
    net.zero_grad()
    assert_same(run(net.eval(), batch, state), interpret(checked.graph, batch, state))


@pytest.mark.parametrize(
    "overrides",
    [
        ["conv2a.inputs=pool1b", "conv2b.inputs=pool1a"],
        ["conv2a.gpu=1", "conv2b.gpu=0"],
        ["conv3a.inputs=conv2a,conv2a", "conv3b.inputs=conv2b,conv2b"],
        ["conv3b.inputs=conv2b"],
        ["conv3a.groups=2", "conv3b.groups=2"],
        ["conv3a.epsW=0.1,0.2", "conv3b.epsW=0.1,0.2"],
        ["conv3a.epsW=0.1,0.2", "conv3b.epsW=0.2,0.1"],
        ["conv1a.gpu=0,1", "conv1b.gpu=0,1"],
        [f"{name}{tower}.gpu=1" for name in ("conv1", "conv3", "fc4") for tower in "ab"],
        ["@net.outputs=cost,fc4a,labels,data"],
        ["data.neuron=relu", "cost.neuron=relu"],
    ],
    ids=" ".join,
)
def test_towers_that_are_not_as_usual(overrides: list[str]) -> None:
    """Exchanged, halved, read twice, with rates of their own: whether they merge or not, they compute what they say."""
    checked = convspec.check(TWO_TOWERS, overrides=overrides)
    assert checked.ok, checked.diagnostics
    assert_program_is_spec(lowered(checked), checked)
    assert_program_is_spec(lowered(checked, all_layers(checked)), checked)


@pytest.mark.parametrize(
    "reader",
    [
        layer("x", type="fc", inputs="data,data", outputs=3),
        layer("x", type="conv", inputs="data,data", filters=3, filterSize=2),
        layer("x", type="conv", inputs="data,data", filters=3, filterSize="2,4", padding="0,1"),
        layer("x", type="concat", inputs="data,data"),
    ],
    ids=lambda text: text.replace("\n", " "),
)
def test_an_input_that_is_read_twice(reader: str) -> None:
    assert_spec_is_right(classifier(reader, leaves="x", image="2x5x5"))


def test_merged_towers_in_training() -> None:
    """Dropout of merged towers draws a mask for each unit of each tower."""
    checked = convspec.check(TWO_TOWERS)
    net = emitted(lowered(checked, ["drop4a", "drop4b"])).train()
    state, batch = random_state(net, 0), random_batch(checked, 4, 1)
    torch.manual_seed(0)
    trained = run(net, batch, state)
    masks = {name: (trained.values[name] != 0).astype(np.float64) for name in ("drop4a", "drop4b")}
    assert not np.array_equal(masks["drop4a"], masks["drop4b"])
    assert_same(trained, interpret(checked.graph, batch, state, masks=masks))


def test_gradients_are_finite_where_a_probability_is_zero() -> None:
    """The gradient of the fused pair is p - t, where the softmax alone would divide by zero."""
    checked = convspec.check(classifier("", leaves="data", image="4x1x1"))
    net = emitted(lowered(checked))
    state = {"scores.weight": np.eye(4) * 1000, "scores.bias": np.zeros(4)}
    images = np.eye(4)[:2].reshape(2, 4, 1, 1)
    result = run(net, {"data": images, "labels": np.array([1, 1])}, state)
    assert result.values["probs"][0, 1] == 0
    assert_close("cost", result.values["cost"], np.array(500.0))
    assert_close("gradient", result.gradients["scores.bias"], 0.7 / 2 * np.array([1.0, -1, 0, 0]))


def test_predicting_needs_no_labels() -> None:
    checked = convspec.check(TWO_TOWERS)
    net = emitted(lowered(checked))
    batch = random_batch(checked, 2, 1)
    outputs = net({"data": torch.from_numpy(batch["data"])})
    assert list(outputs) == ["probs"]


def test_a_cost_without_weight_is_reported_only() -> None:
    silent = (
        layer("more", type="fc", inputs="data", outputs=4)
        + layer("guess", type="softmax", inputs="more")
        + layer("silent", type="cost.logreg", inputs="labels,guess", coeff=0)
    )
    text = classifier(silent, leaves="data")
    checked = convspec.check(text)
    state = random_state(emitted(lowered(checked)), 0)
    result = run(emitted(lowered(checked)), random_batch(checked, 2, 1), state)
    assert "silent" in result.values
    assert not result.gradients["more.weight"].any()
    assert_spec_is_right(text)


@pytest.mark.parametrize(
    "names",
    [
        ("class", "forward", "self"),
        ("F", "torch", "nn"),
        ("inputs", "outputs", "Tensor"),
        ("max_pool2d", "local_response_norm", "avg_pool2d"),
        ("BLOCKS", "split_blocks", "join_blocks"),
        ("conv-1", "conv_1", "conv 1"),
        ("1", "2x", "-"),
        ("weight", "bias", "training"),
        ("dict", "super", "None"),
        ('a"b', "a\\b", "a'b"),
        ("ä", "é", "ß"),
    ],
    ids=str,
)
def test_layers_may_have_any_name(names: tuple[str, str, str]) -> None:
    """Names that are no identifiers, that Python or torch have taken, or that look alike once mangled."""
    first, second, third = names
    layers = (
        layer(first, type="conv", inputs="data", filters=2, filterSize=2, neuron="abs")
        + layer(second, type="conv", inputs=first, filters=2, filterSize=2, neuron="relu")
        + layer(third, type="conv", inputs=second, filters=2, filterSize=2)
        + layer("rnorm", type="cmrnorm", inputs=third, size=2)
        + layer("pooled", type="pool", pool="max", inputs="rnorm", sizeX=2, stride=1)
    )
    assert_spec_is_right(classifier(layers, leaves=f"pooled,{second}"))

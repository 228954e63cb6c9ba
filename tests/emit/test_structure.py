"""Layers that join values and take them apart: sums, maxima, slices of data, and `dropout=` of a layer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

import convspec
from convspec.program.features import Add, Maximum, Slice
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.program.windows import ChannelPool, Reduction
from tests.emit.comparison import (
    all_layers,
    assert_program_is_spec,
    assert_same,
    assert_spec_is_right,
    emitted,
    lowered,
    random_batch,
    random_state,
    run,
)
from tests.emit.small_specs import classifier, layer
from tests.interpreter import interpret

CONVOLUTIONS = layer("a", type="conv", inputs="data", filters=4, filterSize=2, neuron="abs") + layer(
    "b", type="conv", inputs="data", filters=4, filterSize=2
)


@pytest.mark.parametrize(
    "reader",
    [
        layer("x", type="eltsum", inputs="a,b"),
        layer("x", type="eltsum", inputs="a,b", coeffs="1,-1"),
        layer("x", type="eltsum", inputs="b,a", coeffs="-1,0.25"),
        layer("x", type="eltsum", inputs="a,b", coeffs=0.5, neuron="relu"),
        layer("x", type="eltsum", inputs="a", coeffs=3),
        layer("x", type="eltsum", inputs="a,a"),
        layer("x", type="eltsum", inputs="a,b,f", coeffs="1,0,2"),
        layer("x", type="eltmax", inputs="a,b"),
        layer("x", type="eltmax", inputs="a,b,f", neuron="tanh[1,0.5]"),
        layer("x", type="pass", inputs="a,b", neuron="square"),
        layer("x", type="pass", inputs="a,f"),
        layer("x", type="sum", inputs="a", stride=16),
        layer("x", type="sum", inputs="a", stride=8, neuron="square"),
        layer("x", type="sum", inputs="f", stride=32),
        layer("x", type="sum", inputs="f"),
    ],
    ids=lambda text: text.replace("\n", " "),
)
def test_joins(reader: str) -> None:
    """Vectors beside maps of as many numbers too."""
    text = classifier(
        CONVOLUTIONS + layer("f", type="fc", inputs="data", outputs=64) + reader, leaves="x,f,a,b", image="2x5x5"
    )
    assert_spec_is_right(text)


BLOCK = (
    layer("a", type="conv", inputs="data", filters=4, filterSize=3, padding=1, neuron="relu")
    + layer("norm", type="batchnorm", inputs="a")
    + layer("short", type="conv", inputs="data", filters=4, filterSize=1)
)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"inputs": "norm,short"}, "x = self.norm(a) + self.short(data)"),
        ({"inputs": "norm,a,short", "coeffs": "-1,1,0.5", "neuron": "relu"}, "F.relu(-self.norm(a) + a + 0.5 * self.short(data))"),
        ({"inputs": "norm,norm,short"}, "x = norm + norm + self.short(data)"),
        ({"inputs": "norm,a,short", "neuron": "drelu[2]"}, "x = self.norm(a) + a + self.short(data)"),
    ],
    ids=["two", "coefficients", "one twice", "neuron"],
)  # fmt: skip
def test_a_sum_calls_the_modules_that_it_alone_reads(keys: dict[str, object], line: str) -> None:
    text = classifier(BLOCK + layer("x", type="eltsum", **keys), leaves="x", image="2x5x5")
    assert line in convspec.compile(text)
    assert_spec_is_right(text)
    # another reader needs the variable
    assert "norm = self.norm(a)" in convspec.compile(text.replace("inputs=x\n", "inputs=x,norm\n"))


def test_the_terms_of_a_long_sum_have_lines_of_their_own() -> None:
    text = classifier(BLOCK + layer("x", type="eltsum", inputs="norm,short"), leaves="x", image="2x5x5")
    long = re.sub(r"\b(norm|short)\b", r"\1_of_a_block_that_has_a_long_name_itself", text)
    assert " + ".join(
        f"{name}_of_a_block_that_has_a_long_name_itself" for name in ("norm", "short")
    ) in convspec.compile(long)


def test_equal_values_of_a_maximum_all_learn() -> None:
    """A and b are one convolution, and c is larger in places: where two are largest, both get the whole gradient."""
    layers = CONVOLUTIONS.replace("neuron=abs\n", "") + layer("x", type="eltmax", inputs="a,b,a")
    checked = convspec.check(classifier(layers, leaves="x", image="2x5x5"))
    net = emitted(lowered(checked))
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    state |= {"b.weight": state["a.weight"], "b.bias": state["a.bias"]}
    expected = interpret(checked.graph, batch, state)
    assert np.allclose(expected.gradients["a.weight"], 2 * expected.gradients["b.weight"])
    assert_same(run(net, batch, state), expected)


@pytest.mark.parametrize("rows", [(0, 32), (16, 48), (16, None), (0, 5), (7, 40), (0, 48)])
def test_rows_of_data(rows: tuple[int, int | None]) -> None:
    """Whole maps, or numbers that are none; the caller gives the whole matrix."""
    start, end = rows
    ends = {} if end is None else {"end": end}
    data = layer("more", type="data", dataIdx=0, start=start, **ends) + layer("x", type="fc", inputs="more", outputs=3)
    text = classifier(data, leaves="x,data", image="3x4x4").replace("data:3x4x4", "data:3x4x4,more:3x4x4")
    checked = convspec.check(text)
    whole_maps = start % 16 == 0 and (end or 48) % 16 == 0
    shapes = {row.name: row.shape for row in checked.layers}
    assert shapes["more"] == ((((end or 48) - start) // 16, 4, 4) if whole_maps else ((end or 48) - start,))
    assert_spec_is_right(text)


def test_rows_of_one_hot_labels() -> None:
    data = layer("more", type="data", dataIdx=2, start=1, end=3) + layer("x", type="fc", inputs="more", outputs=3)
    text = classifier(data, leaves="x,data", image="3x4x4")
    program = lowered(convspec.check(text))
    assert [(op.key, op.shape.dims) for op in program.inputs] == [("data", (3, 4, 4)), ("labels", (1,)), ("more", (4,))]
    net = emitted(program)
    outputs = net({"data": torch.ones(1, 3, 4, 4).double(), "more": torch.eye(4).double()[:1]})
    assert list(outputs) == ["probs"]


@pytest.mark.parametrize(
    "reader",
    [
        layer("x", type="conv", inputs="a,b", filters=6, filterSize=2, dropout=0.4, neuron="tanh[1,2]"),
        layer("x", type="fc", inputs="a,b", outputs=20, dropout=0.4, neuron="linear[2,1]"),
        layer("x", type="cmrnorm", inputs="a", size=2, dropout=0.4),
        layer("x", type="rnorm", inputs="a", size=2, dropout=0.4, neuron="linear[2,1]"),
        layer("x", type="cnorm", inputs="a", size=2, dropout=0.4),
        layer("x", type="batchnorm", inputs="a", dropout=0.4),
    ],
    ids=lambda text: text.replace("\n", " "),
)
def test_dropout_of_a_layer(reader: str) -> None:
    """Before its neuron: at test times 1 - dropout, in training by a mask that nothing makes up for."""
    checked = convspec.check(classifier(CONVOLUTIONS + reader, leaves="x,a,b", image="2x5x5"))
    program = lowered(checked, ["x"])
    assert_program_is_spec(program, checked)
    net = emitted(program).train()
    state, batch = random_state(net, 0), random_batch(checked, 3, 1)
    torch.manual_seed(0)
    trained = run(net, batch, state)
    at_zero = {"linear": 1.0}.get(reader.partition("neuron=")[2].partition("[")[0], 0.0)
    mask = (trained.values["x"] != at_zero).astype(np.float64)
    assert mask.mean() == pytest.approx(0.6, abs=0.1)
    assert_same(trained, interpret(checked.graph, batch, state, masks={"x": mask}, in_training=True))
    with pytest.raises(AssertionError, match="differs by"):
        assert_same(trained, interpret(checked.graph, batch, state, masks={"x": mask / 0.6}, in_training=True))


def test_all_may_be_dropped() -> None:
    reader = layer("x", type="fc", inputs="a", outputs=20, dropout=1)
    checked = convspec.check(classifier(CONVOLUTIONS + reader, leaves="x,a,b", image="2x5x5"))
    program = lowered(checked, ["x"])
    assert_program_is_spec(program, checked)
    net = emitted(program).train()
    assert not net({"data": torch.ones(1, 2, 5, 5).double()})["x"].any()


TOWERS = classifier(
    "\n".join(
        layer(f"conv{tower}", type="conv", inputs="data", filters=4, filterSize=3, gpu=gpu, dropout=0.25)
        + layer(f"more{tower}", type="conv", inputs=f"conv{tower}", filters=4, filterSize=1)
        + layer(f"sum{tower}", type="eltsum", inputs=f"conv{tower},more{tower}", coeffs="1,-0.5", neuron="relu")
        + layer(f"max{tower}", type="eltmax", inputs=f"sum{tower},conv{tower}")
        + layer(f"cnorm{tower}", type="cnorm", inputs=f"max{tower}", size=3)
        + layer(f"block{tower}", type="cmrnorm", inputs=f"cnorm{tower}", size=3, blocked=1)
        + layer(f"nails{tower}", type="nailbed", inputs=f"block{tower}", stride=2)
        + layer(f"blur{tower}", type="blur", inputs=f"nails{tower}", filterSize=3, stdev=1)
        for gpu, tower in enumerate("ab")
    )
    + layer("both", type="eltsum", inputs="blura,blurb", coeffs="1,2", gpu=0),
    leaves="both",
)


def test_towers_merge_through_them() -> None:
    """One operator for both towers each, and the sum across them reads slices."""
    checked = convspec.check(TOWERS)
    program = lowered(checked)
    merged = [op for op in program.operators if len(op.layers) > 1]
    prefixes = ("conv", "more", "sum", "max", "cnorm", "block", "nails", "blur")
    assert {op.layers[0].removesuffix("a") for op in merged} == set(prefixes)
    assert sum(isinstance(op, Slice) for op in program.operators) == 2
    assert_program_is_spec(program, checked)
    assert_program_is_spec(lowered(checked, all_layers(checked)), checked)


def changed(program: Program, kind: type[Op], change: Callable[[Op], Op]) -> Program:
    return replace(program, operators=tuple(change(op) if isinstance(op, kind) else op for op in program.operators))


@pytest.mark.parametrize(
    ("reader", "kind", "change"),
    [
        (layer("x", type="eltsum", inputs="a,b", coeffs="1,2"), Add, lambda op: replace(op, coefficients=())),
        (layer("x", type="eltmax", inputs="a,b"), Maximum, lambda op: Add(**shared(op))),
        (layer("x", type="sum", inputs="a", stride=4), ChannelPool, lambda op: replace(op, reduction=Reduction.MAX)),
        (layer("x", type="sum", inputs="r", stride=4), Slice, lambda op: replace(op, start=17, stop=33)),
    ],
    ids=["coefficients", "sum for maximum", "maximum for sum", "rows one on"],
)
def test_wrong_operators_are_rejected(reader: str, kind: type[Op], change: Callable[[Op], Op]) -> None:
    data = layer("r", type="data", dataIdx=0, start=16, end=32)
    text = classifier(CONVOLUTIONS + data + reader, leaves="x,a,b,r", image="2x5x5")
    checked = convspec.check(text.replace("data:2x5x5", "data:2x5x5,r:50"))
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(changed(program, kind, change), checked)


def shared(op: Op) -> dict[str, object]:
    return {name: getattr(op, name) for name in ("name", "inputs", "shape", "layers", "gpu")}

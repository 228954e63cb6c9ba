"""A broken twin for each operator and neuron that no other module of tests has one of: the same comparison rejects it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import convspec
from convspec.layers.base import NEURON_ARGUMENTS
from convspec.program.features import Activation, Add, Concat, Dropout, Neuron, Softmax
from convspec.program.operator import Operator
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.program.weighted import Conv2d
from convspec.program.windows import AvgPool2d, LocalResponseNorm, ResponseNorm
from tests.emit.comparison import assert_program_is_spec, lowered
from tests.emit.small_specs import classifier, layer

Change = Callable[[Op], Op]


def with_change(program: Program, kind: type[Op], change: Change) -> Program:
    """The program with the operator of this kind that layer `x` became changed."""
    found = [op for op in program.operators if isinstance(op, kind) and "x" in op.layers]
    assert len(found) == 1
    return replace(program, operators=tuple(change(op) if op is found[0] else op for op in program.operators))


def assert_rejected(text: str, kind: type[Op], change: Change) -> None:
    checked = convspec.check(text)
    assert checked.ok, checked.diagnostics
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(with_change(program, kind, change), checked)


# What a neuron is most easily taken for: another one, or itself with another number.
NEURON_TWINS = {
    "logistic": (Neuron.TANH, (1.0, 1.0)),
    "abs": (Neuron.RELU, ()),
    "relu": (Neuron.ABS, ()),
    "softrelu": (Neuron.RELU, ()),
    "square": (Neuron.ABS, ()),
    "sqrt": (Neuron.LOGISTIC, ()),
    "tanh[1.7,0.66]": (Neuron.TANH, (0.66, 1.7)),
    "abstanh[1.7,0.66]": (Neuron.TANH, (1.7, 0.66)),
    "brelu[0.8]": (Neuron.BRELU, (0.81,)),
    "linear[2,0.5]": (Neuron.LINEAR, (0.5, 2.0)),
    "log[1.5]": (Neuron.LOG, (1.51,)),
    "drelu[0.8]": (Neuron.DRELU, (0.81,)),
}


@pytest.mark.parametrize("neuron", NEURON_TWINS)
def test_wrong_neurons_are_rejected(neuron: str) -> None:
    kind, arguments = NEURON_TWINS[neuron]
    layers = layer("p", type="neuron", inputs="data", neuron="square")
    source = "p" if neuron in ("sqrt", "log[1.5]") else "data"
    text = classifier(layers + layer("x", type="neuron", inputs=source, neuron=neuron), leaves="x,p", image="2x4x4")
    assert_rejected(text, Activation, lambda op: replace(op, neuron=kind, arguments=arguments))


def test_each_neuron_has_a_twin() -> None:
    """But `ident`, which is nothing, and `nrelu`, which is drawn: `test_layers` compares its draws."""
    assert {name.partition("[")[0] for name in NEURON_TWINS} == NEURON_ARGUMENTS.keys() - {"ident", "nrelu"}


def shared(op: Operator) -> dict[str, object]:
    return {name: getattr(op, name) for name in ("name", "inputs", "shape", "layers", "gpu")}


def as_logistic(op: Op) -> Op:
    return Activation(**shared(op), neuron=Neuron.LOGISTIC)


CONV = {"type": "conv", "inputs": "data", "filters": 2, "filterSize": 3}
AVERAGE = {"type": "pool", "pool": "avg", "inputs": "data"}

TWINS: dict[str, tuple[dict[str, object], type[Op], Change]] = {
    "padding of rows for that of columns": ({**CONV, "padding": "1x0"}, Conv2d, lambda op: replace(op, padding=(0, 1))),
    "rnorm, window one larger": (
        {"type": "rnorm", "inputs": "data", "size": 3},
        ResponseNorm,
        lambda op: replace(op, size=4),
    ),
    "rnorm, an odd window for an even one": (
        {"type": "rnorm", "inputs": "data", "size": 4},
        ResponseNorm,
        lambda op: replace(op, size=5, alpha=op.alpha * 25 / 16),
    ),
    "rnorm, scale not divided by size^2": (
        {"type": "rnorm", "inputs": "data", "size": 3},
        ResponseNorm,
        lambda op: replace(op, alpha=op.alpha * 9),
    ),
    "rnorm, minDiv": ({"type": "rnorm", "inputs": "data", "size": 3}, ResponseNorm, lambda op: replace(op, k=1.0)),
    "rnorm, pow": ({"type": "rnorm", "inputs": "data", "size": 3}, ResponseNorm, lambda op: replace(op, beta=0.74)),
    "blocks for windows": (
        {"type": "cmrnorm", "inputs": "data", "size": 2},
        LocalResponseNorm,
        lambda op: replace(op, blocked=True),
    ),
    "windows for blocks": (
        {"type": "cmrnorm", "inputs": "data", "size": 2, "blocked": 1},
        LocalResponseNorm,
        lambda op: replace(op, blocked=False),
    ),
    "an average of windows one pixel on": (
        {**AVERAGE, "sizeX": 3, "stride": 2, "start": -1},
        AvgPool2d,
        lambda op: replace(op, start=(-2, -1)),
    ),
    "the joined values in another order": (
        {"type": "concat", "inputs": "data,a"},
        Concat,
        lambda op: replace(op, inputs=op.inputs[::-1]),
    ),
    "a logistic for a softmax": ({"type": "softmax", "inputs": "a"}, Softmax, as_logistic),
    "dropout2 with enable=0 that does nothing": (
        {"type": "dropout2", "inputs": "a", "keep": 0.6, "enable": 0},
        Dropout,
        lambda op: replace(op, rescale_at_test=False),
    ),
    "hs with enable=0 that does nothing": (
        {"type": "hs", "inputs": "a", "keep": 0.6, "enable": 0},
        Dropout,
        lambda op: replace(op, rescale_at_test=False),
    ),
    "the difference the other way round": (
        {"type": "eltsum", "inputs": "data,a", "coeffs": "1,-1"},
        Add,
        lambda op: replace(op, coefficients=(-1.0, 1.0)),
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_wrong_operators_are_rejected(name: str) -> None:
    keys, kind, change = TWINS[name]
    layers = layer("a", type="neuron", inputs="data", neuron="tanh[1,1]") + layer("x", **keys)
    assert_rejected(classifier(layers, leaves="x,a", image="4x6x6"), kind, change)

"""Runs of bias, ReLU, LRN and max pool that become one operator, and those that must not."""

from __future__ import annotations

import pytest

import convspec
from convspec.program.features import Activation, Neuron
from convspec.program.program import Program
from convspec.program.weighted import Conv2d
from convspec.program.windows import FusedLRNPool, LocalResponseNorm, LRNWindow, MaxPool2d, PoolWindow
from convspec.resources import spec_path
from tests.emit.comparison import assert_program_is_spec, lowered
from tests.emit.small_specs import classifier

CONV = "[conv]\ntype=conv\ninputs=data\nfilters=4\nfilterSize=3\n{keys}\n"
NORM = "[norm]\ntype=cmrnorm\ninputs={source}\nsize=3\n{keys}\n"
POOL = "[pool]\ntype=pool\npool={pool}\ninputs={source}\nsizeX=3\nstride=2\n{keys}\n"


def network(conv: str = "", norm: str | None = "", pool: str | None = "", kind: str = "max", more: str = "") -> Program:
    """The fused program of conv, norm and pool with these further keys; None leaves one out."""
    text, last = CONV.format(keys=conv), "conv"
    if norm is not None:
        text, last = text + NORM.format(source=last, keys=norm), "norm"
    if pool is not None:
        text, last = text + POOL.format(source=last, keys=pool, pool=kind), "pool"
    checked = convspec.check(classifier(text + more, leaves=last if not more else f"{last},more"))
    assert checked.ok, checked.diagnostics
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    return program


def fused(program: Program) -> FusedLRNPool:
    (only,) = [op for op in program.operators if isinstance(op, FusedLRNPool)]
    return only


def test_alexnet() -> None:
    """Three pools, two of them with LRN, each with the bias and the ReLU of the convolution before it."""
    program = lowered(convspec.check(spec_path("alexnet.cfg")))
    operators = [op for op in program.operators if isinstance(op, FusedLRNPool)]
    assert [op.name for op in operators] == ["pool1", "pool2", "pool5"]
    assert [op.bias for op in operators] == ["conv1.bias", "conv2.bias", "conv5.bias"]
    norm = LRNWindow(5, 0.0005, 0.75, 2.0, 2)
    assert [op.norm for op in operators] == [norm, norm, None]
    assert [op.pool for op in operators] == [PoolWindow((3, 3), (2, 2), (0, 0))] * 3
    assert [op.bias for op in program.operators if isinstance(op, Conv2d)] == [
        None,
        None,
        "conv3.bias",
        "conv4.bias",
        None,
    ]
    assert program.notes == (
        "the bias of conv1 + rnorm1 + pool1 with ReLU in one pass over the maps",
        "the bias of conv2 + rnorm2 + pool2 with ReLU in one pass over the maps",
        "the bias of conv5 + pool5 with ReLU in one pass over the maps",
    )


@pytest.mark.parametrize(
    ("keys", "relu_before", "relu_after"),
    [
        ({"conv": "neuron=relu"}, True, False),
        ({"norm": "neuron=relu"}, False, True),
        ({"pool": "neuron=relu"}, False, True),
        ({}, False, False),
    ],
    ids=["before", "between", "behind", "none"],
)
def test_where_relu_stands(keys: dict[str, str], relu_before: bool, relu_after: bool) -> None:
    op = fused(network(**keys))
    assert (op.relu_before, op.relu_after) == (relu_before, relu_after)
    assert (op.bias, op.norm is not None, op.pool is not None) == ("conv.bias", True, True)


@pytest.mark.parametrize("place", ["conv", "norm", "pool"])
def test_no_other_function_is_taken_for_relu(place: str) -> None:
    program = network(**{place: "neuron=abs"})
    assert [op.neuron for op in program.operators if isinstance(op, Activation)] == [Neuron.ABS]


def test_a_second_relu_stays() -> None:
    program = network(conv="neuron=relu", pool="neuron=relu")
    assert fused(program).relu_before
    assert [type(op) for op in program.operators if op.layers == ("pool",)] == [Activation]


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"conv": "neuron=relu", "pool": None}, {LocalResponseNorm}),
        ({"conv": "neuron=relu", "norm": None}, {MaxPool2d}),
        ({"conv": "neuron=relu", "kind": "avg"}, {LocalResponseNorm}),
    ],
    ids=["norm", "pool", "norm before a mean"],
)
def test_parts_of_a_run(keys: dict[str, str | None], parts: set[type]) -> None:
    op = fused(network(**keys))  # type: ignore[arg-type]
    assert op.relu_before
    assert {LocalResponseNorm: op.norm, MaxPool2d: op.pool}[next(iter(parts))] is not None
    assert (op.norm is None) != (op.pool is None)


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ({"pool": None}, "norm stays by itself: between conv and scores there is nothing to fuse it with"),
        ({"norm": None, "conv": "neuron=tanh[1,1]"}, "pool stays by itself: between conv and scores"),
        (
            {"pool": None, "conv": "neuron=relu", "more": "[more]\ntype=neuron\ninputs=conv\nneuron=abs\n"},
            "norm stays by itself: others read conv as well",
        ),
        (
            {"pool": None, "more": "[more]\ntype=neuron\ninputs=norm\nneuron=abs\n"},
            "norm stays by itself: more, scores read it",
        ),
    ],
    ids=["conv alone", "tanh", "branch above", "branch below"],
)
def test_what_stays_and_why(keys: dict[str, str | None], note: str) -> None:
    program = network(**keys)  # type: ignore[arg-type]
    assert not [op for op in program.operators if isinstance(op, FusedLRNPool)]
    assert any(line.startswith(note) for line in program.notes), program.notes


def test_a_bias_an_output_stays_with_the_convolution() -> None:
    op = fused(network(conv="sharedBiases=0\nneuron=relu"))
    assert (op.bias, op.relu_before, op.norm is not None, op.pool is not None) == (None, True, True, True)


def test_windows_that_differ_by_axis_stay_by_themselves() -> None:
    program = network(conv="neuron=relu", pool="sizeX=3x2\nstride=2x1")
    assert fused(program).pool is None
    assert [op.kernel_size for op in program.operators if isinstance(op, MaxPool2d)] == [(3, 2)]


def test_an_output_is_not_swallowed() -> None:
    text = classifier(
        CONV.format(keys="neuron=relu")
        + NORM.format(source="conv", keys="")
        + POOL.format(source="norm", keys="", pool="max"),
        leaves="pool",
    )
    program = lowered(convspec.check(text), ("norm",))
    op = fused(program)
    assert (op.name, op.norm is not None, op.pool) == ("norm", True, None)
    assert "pool stays by itself: others read norm as well, or it is an output or on another GPU" in program.notes


def test_a_relu_between_a_pool_and_a_norm_goes_with_one_of_them() -> None:
    """pool, ReLU, LRN: the pool takes it first, and the norm stays alone (cuda-convnet's layers-18pct is so)."""
    pool = "[pool]\ntype=pool\npool=max\ninputs=data\nsizeX=3\nstride=2\nneuron=relu\n"
    checked = convspec.check(classifier(pool + NORM.format(source="pool", keys=""), leaves="norm"))
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    (taken,) = (op for op in program.operators if isinstance(op, FusedLRNPool))
    assert (taken.name, taken.relu_after, taken.norm) == ("pool", True, None)
    assert any(isinstance(op, LocalResponseNorm) for op in program.operators)

"""Poolings of every kind: windows over every edge, ties under both rules, windows of maps, and twins that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import convspec
from convspec.checker import Checked
from convspec.compiler import compile_checked
from convspec.diagnostics import DiagnosticError
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.program.windows import AvgPool2d, ChannelPool, FusedLRNPool, MaxAbsPool2d, MaxPool2d
from tests.emit.comparison import (
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

WINDOWS = [
    {"sizeX": 3, "stride": 2},
    {"sizeX": 4, "stride": 3, "start": -1},
    {"sizeX": 3, "stride": 3, "start": -2},
    {"sizeX": 3, "stride": 2, "start": 1},
    {"sizeX": 3, "stride": 2, "outputsX": 5},
    {"sizeX": "3x2", "stride": "2x1"},
    {"sizeX": 3, "stride": 1, "padding": 1},
    {"sizeX": "3x2", "stride": 2, "padding": "2x1"},
]


def assert_right_on_ties(checked: Checked, program: Program, seed: int = 0) -> None:
    """On small whole numbers of both signs, most of which stand several times in a window."""
    net = emitted(program)
    state, batch = random_state(net, seed), random_batch(checked, 3, seed)
    batch["data"] = np.random.default_rng(seed).integers(-2, 3, size=batch["data"].shape).astype(np.float64)
    assert_same(run(net, batch, state), interpret(checked.graph, batch, state))


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.parametrize("keys", [{"pool": "maxabs"}, {"pool": "avg", "sum": 1}, {"pool": "rand", "doMax": 1}], ids=str)
def test_windows(windows: dict[str, int], keys: dict[str, object]) -> None:
    for rounding in ("ceil", "floor"):
        text = classifier(
            layer("x", type="pool", inputs="data", **keys, **windows), leaves="x", net=f"rounding={rounding}"
        )
        assert_spec_is_right(text)


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.data(),
    st.booleans(),
)
@settings(max_examples=40)
def test_padding_is_torch_s(sides: tuple[int, int], sizes: tuple[int, int], data: st.DataObject, is_ceil: bool) -> None:
    """Sizes and values are those of `nn.MaxPool2d` and `nn.AvgPool2d`, also where a window is larger than the map."""
    strides = [data.draw(st.integers(1, size)) for size in sizes]
    least = [max(0, -(-(size - side) // 2)) for side, size in zip(sides, sizes, strict=True)]
    assume(all(lowest <= size // 2 for lowest, size in zip(least, sizes, strict=True)))
    paddings = [data.draw(st.integers(lowest, size // 2)) for lowest, size in zip(least, sizes, strict=True)]
    rows = {"sizeX": sizes, "stride": strides, "padding": paddings}
    keys = {key: f"{height}x{width}" for key, (height, width) in rows.items()}
    pools = layer("x", type="pool", pool="max", inputs="data", **keys)
    pools += layer("y", type="pool", pool="avg", inputs="data", **keys)
    rounding = f"rounding={'ceil' if is_ceil else 'floor'}"
    text = classifier(pools, leaves="x,y", image=f"2x{sides[0]}x{sides[1]}", net=rounding)
    maps = torch.randn(2, 2, *sides)
    ours = convspec.load(text, outputs=("x", "y"))({"data": maps})
    options = {"stride": strides, "padding": paddings, "ceil_mode": is_ceil}
    assert torch.equal(ours["x"], nn.MaxPool2d(sizes, **options)(maps))
    mean = nn.AvgPool2d(sizes, count_include_pad=False, **options)(maps)
    torch.testing.assert_close(ours["y"], mean)


@pytest.mark.parametrize("ties", ["first", "all"])
@pytest.mark.parametrize(
    "pool",
    [
        *(layer("x", type="pool", pool=p, inputs="data", **w) for p in ("max", "maxabs") for w in WINDOWS),
        layer("x", type="pool", pool="rand", doMax=1, inputs="data", sizeX=3, stride=2),
        layer("x", type="globalpool", pool="max", inputs="data"),
        layer("x", type="cmpool", inputs="data", size=2, stride=1),
        layer("x", type="pool", pool="max", inputs="data", sizeX=3, stride=2, neuron="relu")
        + layer("y", type="cmrnorm", inputs="x", size=2)
        + layer("z", type="pool", pool="max", inputs="y", sizeX=2, stride=1),
    ],
    ids=lambda text: text.replace("\n", " "),
)
def test_ties(pool: str, ties: str) -> None:
    leaf = pool.rpartition("[")[2][0]
    checked = convspec.check(classifier(pool, leaves=leaf, image="3x9x9", net=f"ties={ties}"))
    assert checked.ok, checked.diagnostics
    assert_right_on_ties(checked, lowered(checked))
    other = convspec.check(
        classifier(pool, leaves=leaf, image="3x9x9", net=f"ties={'all' if ties == 'first' else 'first'}")
    )
    with pytest.raises(AssertionError, match="gradient of data differs by"):
        assert_right_on_ties(checked, lowered(other))


def test_ties_of_a_fused_pool() -> None:
    """bias, ReLU and pool in one pass: the kernel is told."""
    layers = layer("c", type="conv", inputs="data", filters=4, filterSize=2, neuron="relu") + layer(
        "x", type="pool", pool="max", inputs="c", sizeX=3, stride=2
    )
    for ties in ("first", "all"):
        checked = convspec.check(classifier(layers, leaves="x", image="1x6x6", net=f"ties={ties}"))
        program = lowered(checked)
        (fused,) = (op for op in program.operators if isinstance(op, FusedLRNPool))
        assert fused.pool is not None
        assert fused.pool.ties_share is (ties == "all")
        net = emitted(program)
        state, batch = random_state(net, 0), random_batch(checked, 2, 1)
        state["c.weight"], state["c.bias"] = np.round(2 * state["c.weight"]), np.round(state["c.bias"])
        batch["data"] = np.round(batch["data"])
        assert_same(run(net, batch, state), interpret(checked.graph, batch, state))


@pytest.mark.parametrize("image", ["1x3x3", "4x5x2", "7x1x1", "12"])
@pytest.mark.parametrize(
    "keys",
    [
        {"size": 1, "stride": 1},
        {"size": 2, "stride": 2},
        {"size": 3, "stride": 2, "start": -1},
        {"size": 4, "stride": 1, "start": -3},
        {"size": 3, "stride": 3, "outputs": 1, "start": 0},
    ],
    ids=str,
)
def test_windows_of_maps(keys: dict[str, int], image: str) -> None:
    channels = {} if "x" in image else {"channels": 3}
    text = classifier(layer("x", type="cmpool", inputs="data", **channels, **keys), leaves="x", image=image)
    checked = convspec.check(text)
    maps = 3 if channels else int(image.split("x", maxsplit=1)[0])
    found = [d.code for d in checked.diagnostics if d.code != "CS207"]
    if keys["size"] > maps:
        assert found == ["CS408"]
    elif "outputs" in keys and maps > 3:
        assert found == ["CS412"]
    else:
        assert_spec_is_right(text)


def test_what_nobody_published_is_refused() -> None:
    """Check understands pool=rand; compile says what is missing, unless doMax=1 makes it max."""
    text = classifier(layer("x", type="pool", pool="rand", inputs="data", sizeX=3, stride=2), leaves="x")
    checked = convspec.check(text)
    assert checked.ok
    with pytest.raises(DiagnosticError, match=r"CS604.*no public source") as caught:
        compile_checked(checked)
    (diagnostic,) = (d for d in caught.value.diagnostics if d.code == "CS604")
    assert diagnostic.span is not None
    assert diagnostic.span.text == "rand"
    assert "doMax=1" in (diagnostic.help or "")
    program = lowered(convspec.check(text, overrides=["x.doMax=1"]))
    assert any(isinstance(op, MaxPool2d) for op in program.operators)
    assert "max_pool2d(" in compile_checked(convspec.check(text, overrides=["x.doMax=1"])).source


def with_change(program: Program, change: Callable[[Op], Op]) -> Program:
    kinds = (AvgPool2d, ChannelPool, MaxAbsPool2d, MaxPool2d)
    return replace(program, operators=tuple(change(op) if isinstance(op, kinds) else op for op in program.operators))


SHARED = ("name", "inputs", "shape", "layers", "gpu")


def as_max(op: Op) -> Op:
    return MaxPool2d(**{name: getattr(op, name) for name in (*SHARED, "kernel_size", "stride", "start")})


@pytest.mark.parametrize(
    ("keys", "change"),
    [
        ({"type": "pool", "pool": "maxabs", "sizeX": 3, "stride": 2}, as_max),
        ({"type": "pool", "pool": "avg", "sum": 1, "sizeX": 3, "stride": 2}, lambda op: replace(op, is_sum=False)),
        ({"type": "pool", "pool": "avg", "sizeX": 3, "stride": 2}, lambda op: replace(op, is_sum=True)),
        ({"type": "cmpool", "size": 2, "stride": 1}, lambda op: replace(op, start=-1)),
    ],
    ids=["max for maxabs", "mean for sum", "sum for mean", "maps one before"],
)
def test_wrong_operators_are_rejected(keys: dict[str, object], change: Callable[[Op], Op]) -> None:
    checked = convspec.check(classifier(layer("x", inputs="data", **keys), leaves="x"))
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(with_change(program, change), checked)

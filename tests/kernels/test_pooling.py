"""`max_pool2d` and `avg_pool2d` against loops in NumPy, for every geometry that the originals have and more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from convspec_kernels import avg_pool2d, max_pool2d
from tests.kernels import loops

FORMATS = [torch.contiguous_format, torch.channels_last]
POOLINGS: dict[str, tuple[Callable[..., Tensor], Callable[[loops.Maps], float]]] = {
    "max": (max_pool2d, np.max),
    "avg": (avg_pool2d, np.mean),
}


@dataclass(frozen=True)
class Geometry:
    """A map of `height` x `width` and the windows on it, none of them outside."""

    height: int
    width: int
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int]
    start: int | tuple[int, int]
    output_size: tuple[int, int] | None

    def maps(self, *, seed: int) -> loops.Maps:
        """Negative everywhere: a zero that stands for a missing pixel would win."""
        return np.random.default_rng(seed).uniform(-3, -1, size=(2, 2, self.height, self.width))


Axis = tuple[int, int, int]


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    """Size, stride and start of the windows along an axis."""
    size = draw(st.integers(1, 5))
    return size, draw(st.integers(1, 6)), draw(st.integers(1 - size, 3))


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """By the formula; with an `output_size` where that would leave a window empty, and in half of the other cases."""
    rows = draw(axes())
    columns = draw(st.one_of(st.just(rows), axes()))
    lengths, formula, most = [], [], []
    for size, stride, start in (rows, columns):
        # The shortest map that the formula puts a window on.
        length = draw(st.integers(max(start + 1, start + size - stride + 1, 1), 14))
        lengths.append(length)
        formula.append(ceil((length - start - size) / stride) + 1)
        most.append(ceil((length - start) / stride))  # the last window still holds a pixel
    forced = draw(st.booleans()) or formula[0] > most[0] or formula[1] > most[1]
    output_size = (draw(st.integers(1, most[0])), draw(st.integers(1, most[1]))) if forced else None
    options = rows if rows == columns else zip(rows, columns, strict=True)
    return Geometry(*lengths, *options, output_size)


@pytest.mark.parametrize("pooling", POOLINGS)
@given(geometry=geometries(), seed=st.integers(0, 99), memory_format=st.sampled_from(FORMATS))
def test_agrees_with_the_loops(pooling: str, geometry: Geometry, seed: int, memory_format: torch.memory_format) -> None:
    pool, reduce = POOLINGS[pooling]
    g, x = geometry, geometry.maps(seed=seed)
    maps = torch.from_numpy(x).contiguous(memory_format=memory_format)
    y = pool(maps, g.kernel_size, g.stride, start=g.start, output_size=g.output_size)
    assert loops.agrees(y.numpy(), loops.pool(x, reduce, g.kernel_size, g.stride, g.start, g.output_size))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_rows_for_columns_are_rejected(pooling: str) -> None:
    pool, reduce = POOLINGS[pooling]
    x = np.random.default_rng(0).normal(size=(2, 2, 9, 9))
    sizes, strides, starts = (3, 2), (2, 1), (-1, 0)
    outputs = (4, 4)
    y = pool(torch.from_numpy(x), sizes, strides, start=starts, output_size=outputs).numpy()
    assert loops.agrees(y, loops.pool(x, reduce, sizes, strides, starts, outputs))
    assert not loops.agrees(y, loops.pool(x, reduce, sizes[::-1], strides, starts, outputs))
    assert not loops.agrees(y, loops.pool(x, reduce, sizes, strides[::-1], starts, outputs))
    assert not loops.agrees(y, loops.pool(x, reduce, sizes, strides, starts[::-1], outputs))


@pytest.mark.parametrize("name", ["auto", "eager", "reference"])
@pytest.mark.parametrize("ties", ["first", "all"])
def test_every_implementation_takes_rows_and_columns_that_differ(
    name: str, ties: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSPEC_KERNELS", name)
    x = np.random.default_rng(0).integers(0, 2, size=(2, 1, 9, 6)).astype(np.float64)
    maps = torch.from_numpy(x).float().requires_grad_()
    y = max_pool2d(maps, (3, 2), (2, 1), start=(-1, 0), ties=ties)
    gradient = np.random.default_rng(1).normal(size=tuple(y.shape))
    y.backward(torch.from_numpy(gradient).float())
    assert maps.grad is not None
    expected = loops.max_pool_gradient(x, gradient, (3, 2), (2, 1), (-1, 0), all_win=ties == "all")
    assert loops.agrees(maps.grad.double().numpy(), expected, 1e-6)
    other = loops.max_pool_gradient(x, gradient, (3, 2), (2, 1), (-1, 0), all_win=ties != "all")
    assert not loops.agrees(maps.grad.double().numpy(), other, 1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("start", [-2, -1, 0, 1])
def test_a_window_off_by_one_is_rejected(pooling: str, start: int) -> None:
    pool, reduce = POOLINGS[pooling]
    x = np.random.default_rng(0).normal(size=(2, 2, 9, 9))
    y = pool(torch.from_numpy(x), 3, 2, start=start).numpy()
    outputs = (y.shape[2], y.shape[3])
    assert loops.agrees(y, loops.pool(x, reduce, 3, 2, start, outputs))
    assert not loops.agrees(y, loops.pool(x, reduce, 3, 2, start + 1 if start < 0 else start - 1, outputs))
    assert not loops.agrees(y, loops.pool(x, reduce, 4, 2, start, outputs))


def test_an_average_over_whole_windows_is_rejected() -> None:
    """Edge windows divide by the pixels that they have."""
    x = np.random.default_rng(0).normal(size=(2, 2, 6, 6))
    y = avg_pool2d(torch.from_numpy(x), 3, 2, start=-1).numpy()
    assert loops.agrees(y, loops.pool(x, np.mean, 3, 2, -1))
    assert not loops.agrees(y, loops.pool(x, lambda window: float(window.sum() / 9), 3, 2, -1))


@given(geometry=geometries(), seed=st.integers(0, 99))
def test_the_first_of_equal_pixels_gets_the_gradient(geometry: Geometry, seed: int) -> None:
    """Maps of two values, so that most windows have ties."""
    g, rng = geometry, np.random.default_rng(seed)
    x = rng.integers(0, 2, size=(2, 1, g.height, g.width)).astype(np.float64)
    maps = torch.from_numpy(x).requires_grad_()
    y = max_pool2d(maps, g.kernel_size, g.stride, start=g.start, output_size=g.output_size)
    gradient = rng.normal(size=tuple(y.shape))
    y.backward(torch.from_numpy(gradient))
    assert maps.grad is not None
    expected = loops.max_pool_gradient(x, gradient, g.kernel_size, g.stride, g.start)
    assert loops.agrees(maps.grad.numpy(), expected)


def test_the_loser_of_a_tie_is_rejected() -> None:
    """The twin reads the window backwards, so that the last of equal pixels wins."""
    x = np.ones((1, 1, 7, 7))
    maps = torch.from_numpy(x).requires_grad_()
    y = max_pool2d(maps, 3, 2)
    y.backward(torch.ones_like(y))
    assert maps.grad is not None
    gradient = np.ones((1, 1, 3, 3))
    flipped = loops.max_pool_gradient(x[:, :, ::-1, ::-1], gradient, 3, 2)[:, :, ::-1, ::-1]
    assert loops.agrees(maps.grad.numpy(), loops.max_pool_gradient(x, gradient, 3, 2))
    assert not loops.agrees(maps.grad.numpy(), flipped)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("start", "output_size"), [(0, None), (-1, None), (-2, (4, 4)), (1, None), (0, (2, 2))])
def test_gradient(pooling: str, start: int, output_size: tuple[int, int] | None) -> None:
    pool, _ = POOLINGS[pooling]
    x = torch.randn(1, 2, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pool(x, 3, 2, start=start, output_size=output_size), (x,))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("start", "output_size"), [(0, None), (-1, None), (-2, (4, 4)), (1, None), (0, (2, 2))])
def test_keeps_the_memory_format_and_its_input(
    pooling: str, memory_format: torch.memory_format, start: int, output_size: tuple[int, int] | None
) -> None:
    pool, _ = POOLINGS[pooling]
    x = torch.ones(2, 3, 6, 7).contiguous(memory_format=memory_format)
    y = pool(x, 3, 2, start=start, output_size=output_size)
    assert y.is_contiguous(memory_format=memory_format)
    assert pool(x, (3, 4), 2, start=start, output_size=output_size).is_contiguous(memory_format=memory_format)
    assert torch.equal(x, torch.ones(2, 3, 6, 7))


def test_alexnets_sizes() -> None:
    for before, after in [(55, 27), (27, 13), (13, 6)]:
        assert max_pool2d(torch.zeros(1, 1, before, before), 3, 2).shape == (1, 1, after, after)
    assert max_pool2d(torch.zeros(1, 1, 54, 54), 3, 2).shape == (1, 1, 27, 27)
    assert max_pool2d(torch.zeros(1, 1, 54, 54), 3, 2, output_size=(26, 26)).shape == (1, 1, 26, 26)


def test_is_torchs_own_without_start() -> None:
    x = torch.randn(2, 3, 12, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(max_pool2d(x, 3, 2), F.max_pool2d(x, 3, 2, ceil_mode=True))
    assert torch.equal(avg_pool2d(x, 3, 2), F.avg_pool2d(x, 3, 2, ceil_mode=True, count_include_pad=False))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 0, "stride": 1}, "must be at least 1, not 0 and 1"),
        ({"kernel_size": 1, "stride": 0}, "must be at least 1, not 1 and 0"),
        ({"kernel_size": 3, "stride": 2, "start": -3}, r"\[-3, 0\) lies outside the 5 pixels"),
        ({"kernel_size": 3, "stride": 2, "output_size": (2, 4)}, r"\[6, 9\) lies outside the 5 pixels"),
        ({"kernel_size": 3, "stride": 2, "output_size": (0, 2)}, "0 windows"),
        ({"kernel_size": 7, "stride": 1}, "-1 windows of 7 pixels that start at 0 on 5 pixels"),
        ({"kernel_size": 1, "stride": 3}, r"\[6, 7\) lies outside the 5 pixels"),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(f"{key}={item}" for key, item in value.items()),
)
def test_refuses(pooling: str, options: dict[str, int], message: str) -> None:
    pool, _ = POOLINGS[pooling]
    with pytest.raises(ValueError, match=message):
        pool(torch.zeros(1, 1, 5, 5), **options)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_refuses_what_is_no_stack_of_maps(pooling: str) -> None:
    pool, _ = POOLINGS[pooling]
    with pytest.raises(ValueError, match=r"\(5, 5\)"):
        pool(torch.zeros(5, 5), 3, 2)

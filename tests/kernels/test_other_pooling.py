"""Sums, largest magnitudes, windows of channels and the largest of several tensors, against loops in NumPy."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convspec_kernels import channel_max_pool, max_abs_pool2d, maximum, sum_pool2d
from tests.kernels import loops
from tests.kernels.test_pooling import Geometry, geometries


def last_of_largest_magnitude(window: loops.Maps) -> float:
    best = 0.0
    for pixel in window.ravel():
        best = pixel if abs(pixel) >= abs(best) else best
    return best


def whole_numbers(geometry: Geometry, seed: int) -> loops.Maps:
    """Small ones of both signs, so that there are ties and windows of zeros."""
    size = (2, 2, geometry.height, geometry.width)
    return np.random.default_rng(seed).integers(-2, 3, size=size).astype(np.float64)


@given(geometry=geometries(), seed=st.integers(0, 99))
def test_sum(geometry: Geometry, seed: int) -> None:
    x = geometry.maps(seed=seed)
    numbers = (geometry.kernel_size, geometry.stride)
    y = sum_pool2d(torch.from_numpy(x), *numbers, start=geometry.start, output_size=geometry.output_size)
    assert loops.agrees(y.numpy(), loops.pool(x, np.sum, *numbers, geometry.start, geometry.output_size))


@given(geometry=geometries(), seed=st.integers(0, 99), ties=st.sampled_from(["first", "all"]))
def test_largest_magnitude(geometry: Geometry, seed: int, ties: str) -> None:
    """Values, and the gradient: to the last pixel of largest magnitude, or to all that equal the output, sign included."""
    x = whole_numbers(geometry, seed)
    leaf = torch.from_numpy(x).requires_grad_()
    numbers = (geometry.kernel_size, geometry.stride)
    y = max_abs_pool2d(leaf, *numbers, start=geometry.start, output_size=geometry.output_size, ties=ties)  # type: ignore[arg-type]
    expected = loops.pool(x, last_of_largest_magnitude, *numbers, geometry.start, geometry.output_size)
    assert np.array_equal(y.detach().numpy(), expected)
    g = np.random.default_rng(seed + 1).normal(size=expected.shape)
    of_x = np.zeros_like(x)
    for n, c, i, j in np.ndindex(expected.shape):
        kernels, strides, starts = (
            np.broadcast_to(o, 2) for o in (geometry.kernel_size, geometry.stride, geometry.start)
        )
        sizes = zip((geometry.height, geometry.width), kernels, strides, starts, (i, j), strict=True)
        rows, columns = (
            range(max(start + at * stride, 0), min(start + at * stride + kernel, length))
            for length, kernel, stride, start, at in sizes
        )
        equal = [(row, column) for row in rows for column in columns if x[n, c, row, column] == expected[n, c, i, j]]
        for row, column in equal if ties == "all" else equal[-1:]:
            of_x[n, c, row, column] += g[n, c, i, j]
    y.backward(torch.from_numpy(g))
    assert leaf.grad is not None
    assert loops.agrees(leaf.grad.numpy(), of_x)


def test_the_largest_is_not_the_largest_magnitude() -> None:
    x = torch.tensor([[[[1.0, -3.0], [2.0, 3.0]]]])
    assert max_abs_pool2d(x, 2, 2).item() == 3
    assert max_abs_pool2d(x.flip(2), 2, 2).item() == -3
    assert max_abs_pool2d(-x, 2, 2).item() == -3


@given(
    channels=st.integers(1, 7),
    size=st.integers(1, 4),
    stride=st.integers(1, 3),
    start=st.integers(-3, 0),
    is_vector=st.booleans(),
    ties=st.sampled_from(["first", "all"]),
    seed=st.integers(0, 99),
)
def test_windows_of_channels(
    channels: int, size: int, stride: int, start: int, is_vector: bool, ties: str, seed: int
) -> None:
    start = max(start, 1 - size)
    count = max(-(-(channels - start - size) // stride), 0) + 1
    if start + (count - 1) * stride >= channels:
        count -= 1
    x = np.random.default_rng(seed).integers(-2, 3, size=(2, channels) if is_vector else (2, channels, 2, 3))
    x = x.astype(np.float64)
    leaf = torch.from_numpy(x).requires_grad_()
    y = channel_max_pool(leaf, size, stride, start=start, out_channels=count, ties=ties)  # type: ignore[arg-type]
    g = np.random.default_rng(seed + 1).normal(size=(2, count, *x.shape[2:]))
    of_x, expected = np.zeros_like(x), np.empty_like(g)
    for o in range(count):
        low, high = max(start + o * stride, 0), min(start + o * stride + size, channels)
        window = x[:, low:high]
        expected[:, o] = window.max(1)
        share = (window == expected[:, o : o + 1]).astype(float)
        if ties == "first":
            share = share * (share.cumsum(1) == 1)
        of_x[:, low:high] += share * g[:, o : o + 1]
    assert np.array_equal(y.detach().numpy(), expected)
    y.backward(torch.from_numpy(g))
    assert leaf.grad is not None
    assert loops.agrees(leaf.grad.numpy(), of_x)


def test_every_equal_tensor_gets_the_whole_gradient() -> None:
    a = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = torch.tensor([1.0, 5.0, 3.0], requires_grad=True)
    c = torch.tensor([0.0, 5.0, 3.0], requires_grad=True)
    y = maximum(a, b, c)
    assert y.tolist() == [1, 5, 3]
    y.backward(torch.tensor([1.0, 10.0, 100.0]))
    assert [x.grad.tolist() for x in (a, b, c) if x.grad is not None] == [[1, 0, 100], [1, 10, 100], [0, 10, 100]]


def test_refuses() -> None:
    x = torch.zeros(1, 3, 4, 4)
    refusals: dict[str, list[Callable[[], object]]] = {
        "kernel_size and stride": [
            lambda: sum_pool2d(x, 0, 1),
        ],
        "outside": [
            lambda: sum_pool2d(x, 2, 2, start=-2),
            lambda: channel_max_pool(x, 2, 2, start=-2),
            lambda: channel_max_pool(x, 2, 2, out_channels=9),
        ],
        "'first' or 'all'": [
            lambda: max_abs_pool2d(x, 2, 2, ties="last"),
            lambda: channel_max_pool(x, 2, 2, ties="last"),
        ],
        "(N, C, ...)": [
            lambda: channel_max_pool(x[:, 0, 0, 0], 1, 1),
        ],
        "one shape": [
            maximum,
            lambda: maximum(x, x[0]),
        ],
    }
    for message, calls in refusals.items():
        for call in calls:
            with pytest.raises(ValueError, match=re.escape(message)):
                call()

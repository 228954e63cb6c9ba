"""The kernels as loops over NumPy's float64, written from the formulas; and twins that are wrong on purpose.

Shares no code with `convspec_kernels`. A comparison that accepts a twin proves nothing, so each is tried too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float64]
Outputs = tuple[int, int] | None


def agrees(actual: Maps, expected: Maps, tolerance: float = 1e-12) -> bool:
    """Whether each number is within `tolerance`, relative to the largest expected one."""
    if actual.shape != expected.shape:
        return False
    scale = np.abs(expected).max(initial=1e-30)
    return bool(np.abs(actual - expected).max(initial=0.0) <= tolerance * scale)


def local_response_norm(
    x: Maps, size: int, alpha: float, beta: float, k: float, groups: int = 1, shift: int = 0
) -> Maps:
    """`shift` moves every window by as many channels: 0 is right."""
    channels = x.shape[1]
    group = channels // groups
    y = np.empty_like(x)
    for f in range(channels):
        border = f // group * group
        first = f - size // 2 + shift
        energy = np.zeros_like(x[:, f])
        for g in range(max(first, border), min(first + size, border + group)):
            energy += x[:, g] ** 2
        y[:, f] = x[:, f] / (k + alpha / size * energy) ** beta
    return y


def response_norm(x: Maps, size: int, alpha: float, beta: float, k: float, shift: int = 0) -> Maps:
    """`shift` moves every window by as many pixels: 0 is right."""
    y = np.empty_like(x)
    for i, j in np.ndindex(x.shape[2:]):
        top, left = i - size // 2 + shift, j - size // 2 + shift
        rows, columns = slice(max(top, 0), max(top + size, 0)), slice(max(left, 0), max(left + size, 0))
        energy = (x[:, :, rows, columns] ** 2).sum(axis=(2, 3))
        y[:, :, i, j] = x[:, :, i, j] / (k + alpha / size**2 * energy) ** beta
    return y


def pool(
    x: Maps,
    reduce: Callable[[Maps], float],
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int],
    start: int | tuple[int, int] = 0,
    outputs: Outputs = None,
) -> Maps:
    """`reduce` sees the pixels of a window that lie in the map. Two numbers are of rows and of columns."""
    axes = list(zip(*map(both, (kernel_size, stride, start)), strict=True))
    counts = outputs or tuple(
        ceil((n - first - k) / step) + 1 for n, (k, step, first) in zip(x.shape[2:], axes, strict=True)
    )
    y = np.empty((*x.shape[:2], *counts))
    for n, c, *window in np.ndindex(y.shape):
        begins = [first + i * step for i, (_, step, first) in zip(window, axes, strict=True)]
        inside = [slice(max(b, 0), max(b + k, 0)) for b, (k, _, _) in zip(begins, axes, strict=True)]
        y[n, c, *window] = reduce(x[n, c, *inside])
    return y


def both(number: int | tuple[int, int]) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else number


def locally_connected(
    x: Maps, weight: Maps, stride: tuple[int, int], padding: tuple[int, int], groups: int, *, is_turned: bool = False
) -> Maps:
    """Each window by its own kernels; pixels outside the map are passed over. `is_turned` takes the kernels of window (j, i)
    for those of (i, j), which is wrong."""
    outputs, channels, *kernel, rows, columns = weight.shape
    y = np.zeros((len(x), outputs, rows, columns))
    for f, c, u, v, i, j in np.ndindex(outputs, channels, *kernel, rows, columns):
        row, column = i * stride[0] + u - padding[0], j * stride[1] + v - padding[1]
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            read = f // (outputs // groups) * channels + c
            y[:, f, i, j] += weight[f, c, u, v, *((j, i) if is_turned else (i, j))] * x[:, read, row, column]
    return y


def max_pool_gradient(
    x: Maps,
    gradient: Maps,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int],
    start: int | tuple[int, int] = 0,
    *,
    all_win: bool = False,
    last_wins: bool = False,
) -> Maps:
    """Gradient of the maps: each window's goes to its first largest pixel in row-major order, to the last, or to all."""
    result = np.zeros_like(x)
    axes = list(zip(*map(both, (kernel_size, stride, start)), strict=True))
    for n, c, i, j in np.ndindex(gradient.shape):
        begins = [first + o * step for o, (_, step, first) in zip((i, j), axes, strict=True)]
        ends = [max(b + k, 0) for b, (k, _, _) in zip(begins, axes, strict=True)]
        top, left = (max(b, 0) for b in begins)
        window = x[n, c, top : ends[0], left : ends[1]]
        winners = np.argwhere(window == window.max())
        for row, column in winners if all_win else winners[-1:] if last_wins else winners[:1]:
            result[n, c, top + row, left + column] += gradient[n, c, i, j]
    return result


def local_response_norm_gradient(
    x: Maps, gradient: Maps, size: int, alpha: float, beta: float, k: float, groups: int = 1, shift: int = 0
) -> Maps:
    """Each output's share for each pixel of its window, one by one."""
    channels = x.shape[1]
    group = channels // groups
    result = np.zeros_like(x)
    for f in range(channels):
        border = f // group * group
        first = f - size // 2 + shift
        window = range(max(first, border), min(first + size, border + group))
        energy = sum((x[:, g] ** 2 for g in window), np.zeros_like(x[:, f]))
        denominator = k + alpha / size * energy
        result[:, f] += gradient[:, f] * denominator**-beta
        for g in window:
            share = 2 * alpha / size * beta * x[:, f] * denominator ** (-beta - 1)
            result[:, g] -= gradient[:, f] * share * x[:, g]
    return result


@dataclass(frozen=True)
class Fused:
    """Bias, ReLU, normalisation, pool, ReLU, each where it is asked for; and what may be wrong in a twin.

    lrn: size, alpha, beta, k, groups. pool: kernel_size, stride, start, outputs. shift: channels by which windows are
    moved. last_wins: of equal pixels the last gets the gradient.
    """

    bias: NDArray[np.float64] | None = None
    relu_at: str | None = None
    lrn: tuple[int, float, float, float, int] | None = None
    pool: tuple[int, int, int, tuple[int, int]] | None = None
    shift: int = 0
    last_wins: bool = False

    def forward(self, x: Maps) -> Maps:
        y = self._normed(x)
        if self.pool is not None:
            kernel_size, stride, start, outputs = self.pool
            y = pool(y, np.max, kernel_size, stride, start, outputs)
        return np.maximum(y, 0) if self.relu_at == "output" else y

    def gradients(self, x: Maps, gradient: Maps) -> tuple[Maps, NDArray[np.float64]]:
        """Of the maps and of the bias."""
        activated, normed = self._activated(x), self._normed(x)
        if self.relu_at == "output":
            gradient = gradient * (self.forward(x) > 0)
        if self.pool is not None:
            kernel_size, stride, start, _ = self.pool
            gradient = max_pool_gradient(normed, gradient, kernel_size, stride, start, last_wins=self.last_wins)
        if self.lrn is not None:
            gradient = local_response_norm_gradient(activated, gradient, *self.lrn, self.shift)
        if self.relu_at == "input":
            gradient = gradient * (activated > 0)
        return gradient, gradient.sum(axis=(0, 2, 3))

    def has_clear_winners(self, x: Maps) -> bool:
        """Whether a rounding of float32 cannot change which pixel of a window is the largest, nor its sign."""
        if self.pool is None:
            return True
        kernel_size, stride, start, outputs = self.pool
        normed = self._normed(x)
        gaps = pool(normed, _gap, kernel_size, stride, start, outputs)
        return bool(gaps.min(initial=1.0) > 1e-4 and np.abs(normed[normed != 0]).min(initial=1.0) > 1e-5)

    def _activated(self, x: Maps) -> Maps:
        y = x if self.bias is None else x + self.bias[:, None, None]
        return np.maximum(y, 0) if self.relu_at == "input" else y

    def _normed(self, x: Maps) -> Maps:
        y = self._activated(x)
        return y if self.lrn is None else local_response_norm(y, *self.lrn, self.shift)


def _gap(window: Maps) -> float:
    """From the largest pixel to the next; equal zeros are clear, because the gradient of either is stopped by ReLU."""
    if window.size < 2:
        return 1.0
    second, first = np.sort(window, axis=None)[-2:]
    return 1.0 if first == second == 0 else float(first - second)

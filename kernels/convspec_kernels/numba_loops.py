"""The fused operator as loops over float32 rows of pixels, compiled by numba when first called.

All compiled functions are in this file, because numba's cache on disk looks at the date of the caller's file alone.
They work on one row of pixels at a time, so that everything between the maps and the result stays in the caches:

    maps row -> bias, ReLU -> [LRN] -> largest of each window's columns -> largest of each window's rows -> result

A row is (W, groups, C/groups). Where it is normalised it is spread to (W, groups, C/groups + size - 1): each run of
channels that see one another is followed by zeros, the windows need no border, and a whole row is one long loop. What
those loops compute for the zeros themselves is never read. Maps that are not channels last are turned row by row, while
the row is in the caches.

Every number is computed from its own row alone and in the same order whatever the range that a thread was given: the
bits do not depend on the number of threads. NaN spreads, as in torch: it wins its window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Constants = tuple[tuple[bool, bool], tuple[int, np.float32, float, np.float32], tuple[int, int, int, int, int]]
"""ReLU before and after; LRN's size, alpha/size, beta, k, with size 0 for none; rows of a map and of a result, and the
pool's kernel_size, stride, start, with kernel_size 0 for none."""
Loops = Callable[..., None]

# Sums may be contracted and 1/sqrt taken from the estimate that processors have, refined to float32. NaN and infinity
# keep their meaning.
FAST = {"afn", "arcp", "contract", "nsz", "reassoc"}

ZERO, ONE, LOWEST = np.float32(0), np.float32(1), np.float32(-np.inf)


_njit: Any = njit  # numba's versions differ in what types they give it


def _inner(function: Loops) -> Loops:
    """Called by compiled functions alone."""
    compiled: Loops = _njit(
        nogil=True, fastmath=FAST, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    return compiled


def compiled_outer(function: Loops) -> Loops:
    """Called from Python: without the GIL, and kept on disk where numba finds a folder that it may write."""
    options = {"nogil": True, "fastmath": FAST, "error_model": "numpy"}
    try:
        compiled: Loops = _njit(cache=True, **options)(function)
    except RuntimeError:  # no such folder
        compiled = _njit(**options)(function)
    return compiled


@_inner
def _load(x: Floats, bias: Floats, least: np.float32, row: Floats) -> None:
    """`row[w, g, c] = max(x[w, g, c] + bias[g, c], least)`."""
    for w in range(x.shape[0]):
        for g in range(x.shape[1]):
            for c in range(x.shape[2]):
                value = x[w, g, c] + bias[g, c]
                row[w, g, c] = least if value < least else value


@_inner
def _load_planes(planes: Floats, h: int, bias: Floats, least: np.float32, row: Floats) -> None:
    """The same of row h of maps (groups, channels, H, W)."""
    for g in range(planes.shape[0]):
        for c in range(planes.shape[1]):
            shift = bias[g, c]
            for w in range(planes.shape[3]):
                value = planes[g, c, h, w] + shift
                row[w, g, c] = least if value < least else value


@_inner
def _store_planes(row: Floats, planes: Floats, h: int) -> None:
    for g in range(planes.shape[0]):
        for c in range(planes.shape[1]):
            for w in range(planes.shape[3]):
                planes[g, c, h, w] = row[w, g, c]


@_inner
def _copy(source: Floats, result: Floats) -> None:
    """(W, groups, channels), either of them with zeros behind each group's channels."""
    channels = min(source.shape[2], result.shape[2])
    for w in range(result.shape[0]):
        for g in range(result.shape[1]):
            for c in range(channels):
                result[w, g, c] = source[w, g, c]


@_inner
def _load_row(
    rows: Floats, index: int, planes: Floats, image: int, h: int, bias: Floats, least: np.float32, row: Floats
) -> None:
    """From maps of either kind, see `forward`: row `index` of the batch is row h of an image."""
    if planes.size:
        _load_planes(planes[image], h, bias, least, row)
    else:
        _load(rows[index], bias, least, row)


@_inner
def _store_row(row: Floats, rows: Floats, index: int, planes: Floats, image: int, h: int) -> None:
    if planes.size:
        _store_planes(row, planes[image], h)
    else:
        _copy(row, rows[index])


@_inner
def _square(row: Floats, result: Floats) -> None:
    for i in range(row.size):
        result[i] = row[i] * row[i]


@_inner
def _denominators(squares: Floats, size: int, scale: np.float32, k: np.float32, result: Floats) -> None:
    """`k + scale * sum of squares[i + t] for t < size`."""
    n = result.size
    for i in range(n):
        result[i] = k
    for t in range(size):
        shifted = squares[t:]
        for i in range(n):
            result[i] += scale * shifted[i]


@_inner
def _powers(x: Floats, beta: float, result: Floats) -> None:
    """`x ** -beta`; roots where they do."""
    n = result.size
    if beta == 0.75:
        for i in range(n):
            root = ONE / math.sqrt(math.sqrt(x[i]))
            result[i] = root * root * root
    elif beta == 0.5:
        for i in range(n):
            result[i] = ONE / math.sqrt(x[i])
    elif beta == 1.0:
        for i in range(n):
            result[i] = ONE / x[i]
    else:
        exponent = np.float32(-beta)
        for i in range(n):
            result[i] = x[i] ** exponent


@_inner
def _normalise(
    squares: Floats, row: Floats, size: int, scale: np.float32, beta: float, k: np.float32, rest: Floats, result: Floats
) -> None:
    """`row * denominators ** -beta`; in one pass for the paper's window and power."""
    n = result.size
    if size == 5 and beta == 0.75:
        for i in range(n):
            near = squares[i] + squares[i + 1] + squares[i + 2] + squares[i + 3] + squares[i + 4]
            root = ONE / math.sqrt(math.sqrt(k + scale * near))
            result[i] = row[i] * (root * root * root)
        return
    _denominators(squares, size, scale, k, rest)
    _powers(rest, beta, result)
    for i in range(n):
        result[i] *= row[i]


@_inner
def _clip_negative(x: Floats) -> None:
    for i in range(x.size):
        x[i] = ZERO if x[i] < ZERO else x[i]


@_inner
def _largest_of_columns(row: Floats, kernel_size: int, stride: int, start: int, best: Floats, tap: Floats) -> None:
    """The largest of each window's columns in one row, and which column; the first of equals.

    Taps are floats here, so that one mask chooses both. row: (W, groups, channels and zeros). best, tap: (outputs,
    groups, channels).
    """
    width = row.shape[0]
    outputs, groups, channels = best.shape
    for o in range(outputs):
        left = start + o * stride
        first, last = max(0, -left), min(kernel_size, width - left)
        if kernel_size == 3 and last - first == 3:
            for g in range(groups):
                for c in range(channels):
                    value, index = row[left, g, c], ZERO
                    second, third = row[left + 1, g, c], row[left + 2, g, c]
                    wins = (second > value) | (second != second)
                    value, index = second if wins else value, ONE if wins else index
                    wins = (third > value) | (third != third)
                    best[o, g, c] = third if wins else value
                    tap[o, g, c] = np.float32(2) if wins else index
            continue
        for g in range(groups):
            for c in range(channels):
                best[o, g, c] = row[left + first, g, c]
                tap[o, g, c] = np.float32(first)
        for t in range(first + 1, last):
            for g in range(groups):
                for c in range(channels):
                    value = row[left + t, g, c]
                    wins = (value > best[o, g, c]) | (value != value)
                    best[o, g, c] = value if wins else best[o, g, c]
                    tap[o, g, c] = np.float32(t) if wins else tap[o, g, c]


@_inner
def _largest_of_three_rows(top: Floats, middle: Floats, bottom: Floats, y: Floats, argmax: Bytes) -> None:
    """The largest of three rows of windows, and its tap; each row is (2, elements): values and columns."""
    for i in range(y.size):
        value, index = top[0, i], top[1, i]
        second, third = middle[0, i], bottom[0, i]
        wins = (second > value) | (second != second)
        value, index = second if wins else value, middle[1, i] + np.float32(3) if wins else index
        wins = (third > value) | (third != third)
        value, index = third if wins else value, bottom[1, i] + np.float32(6) if wins else index
        y[i] = value
        argmax[i] = np.uint8(np.int32(index))


@_inner
def _largest_of_rows(ring: Floats, top: int, first: int, last: int, y: Floats, argmax: Bytes) -> None:
    """The same for the rows `top + first` to `top + last` of a window of any size, clipped to the map.

    ring: (kernel_size + 1, 2, elements), the last of them for the taps of the result.
    """
    size = ring.shape[0] - 1
    if size == 3 and last - first == 3:
        _largest_of_three_rows(ring[top % 3], ring[(top + 1) % 3], ring[(top + 2) % 3], y, argmax)
        return
    taps = ring[size, 1]
    row = ring[(top + first) % size]
    for i in range(y.size):
        y[i] = row[0, i]
        taps[i] = row[1, i] + np.float32(first * size)
    for t in range(first + 1, last):
        row = ring[(top + t) % size]
        lead = np.float32(t * size)
        for i in range(y.size):
            wins = (row[0, i] > y[i]) | (row[0, i] != row[0, i])
            y[i] = row[0, i] if wins else y[i]
            taps[i] = row[1, i] + lead if wins else taps[i]
    for i in range(y.size):
        argmax[i] = np.uint8(np.int32(taps[i]))


@compiled_outer
def forward(
    x: Floats,
    x_planes: Floats,
    bias: Floats,
    relu: tuple[bool, bool],
    lrn: tuple[int, np.float32, float, np.float32],
    pool: tuple[int, int, int, int, int],
    rows: tuple[Floats, ...],
    spread_rows: tuple[Floats, ...],
    flat_ring: Floats,
    ring: Floats,
    y: Floats,
    flat_y: Floats,
    y_planes: Floats,
    argmax: Bytes,
    first: int,
    last: int,
) -> None:
    """Compute the rows `first` to `last` of y, counted over the whole batch.

    Maps are either x (N*H, W, groups, channels) or x_planes (N, groups, channels, H, W), the other one is empty; results
    likewise: y (N*rows, columns, groups, channels) and the same as flat_y (N*rows, rest), or y_planes, and then y and
    flat_y have room for one row. bias: (groups, channels). argmax: (N*rows, rest), empty without a pool. relu, lrn, pool:
    see `Constants`. The others are scratch, as `numba_kernels` makes it.
    """
    own, squares, own_squares, denominators, normed = rows
    loaded, spread_normed = spread_rows
    size, scale, beta, k = lrn
    height, per_image, kernel_size, stride, start = pool
    least = ZERO if relu[0] else LOWEST
    image, ready = -1, 0
    for index in range(first, last):
        if index // per_image != image:
            image, ready = index // per_image, 0
        out = index % per_image
        top = start + out * stride if kernel_size else out
        bottom = min(top + kernel_size, height) if kernel_size else top + 1
        slot = 0 if x_planes.size else index
        for h in range(max(ready, top, 0), bottom):
            _load_row(x, image * height + h, x_planes, image, h, bias, least, loaded)
            if size:
                _square(own, own_squares)
                _normalise(squares, own, size, scale, beta, k, denominators, normed)
            row = spread_normed if size else loaded
            if kernel_size:
                best = ring[h % kernel_size]
                _largest_of_columns(row, kernel_size, stride, start, best[0], best[1])
            else:
                _copy(row, y[slot])
        ready = bottom
        if kernel_size:
            _largest_of_rows(flat_ring, top, max(0, -top), bottom - top, flat_y[slot], argmax[index])
        if relu[1]:
            _clip_negative(flat_y[slot])
        if x_planes.size:
            _store_planes(y[slot], y_planes[image], out)


@_inner
def _gather(grad_y: Floats, argmax: Bytes, tap: int, kernel_size: int, stride: int, start: int, grad: Floats) -> None:
    """Add to one row of pixels what a row of windows gives it, where it won.

    grad_y, argmax: (outputs, groups, channels). tap: of the window's first pixel in this row. grad: (W, groups,
    channels and zeros).
    """
    width = grad.shape[0]
    outputs, groups, channels = grad_y.shape
    one, two, three = np.uint8(tap), np.uint8(tap + 1), np.uint8(tap + 2)
    for o in range(outputs):
        left = start + o * stride
        first, last = max(0, -left), min(kernel_size, width - left)
        if kernel_size == 3 and last - first == 3:
            for g in range(groups):
                for c in range(channels):
                    winner, value = argmax[o, g, c], grad_y[o, g, c]
                    grad[left, g, c] += value if winner == one else ZERO
                    grad[left + 1, g, c] += value if winner == two else ZERO
                    grad[left + 2, g, c] += value if winner == three else ZERO
            continue
        for t in range(first, last):
            here = np.uint8(tap + t)
            for g in range(groups):
                for c in range(channels):
                    grad[left + t, g, c] += grad_y[o, g, c] if argmax[o, g, c] == here else ZERO


@_inner
def _mask(grad: Floats, row: Floats) -> None:
    """No gradient where ReLU had nothing to pass on."""
    for i in range(grad.size):
        value = grad[i]
        grad[i] = ZERO if row[i] <= ZERO else value


@_inner
def _shares(
    grad: Floats,
    squares: Floats,
    row: Floats,
    size: int,
    scale: np.float32,
    beta: float,
    k: np.float32,
    rest: Floats,
    powers: Floats,
    result: Floats,
) -> None:
    """What each normalised pixel adds to the gradients of its window, per unit of their value; and the powers.

    `2 * beta * scale * grad * row * powers / denominators`; in one pass for the paper's window and power.
    """
    n = grad.size
    factor = np.float32(2 * beta) * scale
    if size == 5 and beta == 0.75:
        for i in range(n):
            near = squares[i] + squares[i + 1] + squares[i + 2] + squares[i + 3] + squares[i + 4]
            root = ONE / math.sqrt(math.sqrt(k + scale * near))
            power = root * root * root
            powers[i] = power
            result[i] = factor * (grad[i] * row[i]) * (power * (root * power))
        return
    _denominators(squares, size, scale, k, rest)
    _powers(rest, beta, powers)
    for i in range(n):
        result[i] = factor * (grad[i] * row[i]) * powers[i] / rest[i]


@_inner
def _spread(shares: Floats, size: int, row: Floats, powers: Floats, grad: Floats) -> None:
    """`grad * powers - row * sum of shares[i + t] for t < size`, into grad."""
    n = grad.size
    if size == 5:
        for i in range(n):
            total = shares[i] + shares[i + 1] + shares[i + 2] + shares[i + 3] + shares[i + 4]
            grad[i] = grad[i] * powers[i] - row[i] * total
        return
    for i in range(n):
        grad[i] = grad[i] * powers[i]
    for t in range(size):
        shifted = shares[t:]
        for i in range(n):
            grad[i] -= row[i] * shifted[i]


@_inner
def _sum_pixels(row: Floats, result: Floats) -> None:
    """row: (W, groups, channels and zeros). result: (groups, channels)."""
    result[:] = ZERO
    for w in range(row.shape[0]):
        for g in range(result.shape[0]):
            for c in range(result.shape[1]):
                result[g, c] += row[w, g, c]


@compiled_outer
def backward(
    grad_y: Floats,
    grad_y_planes: Floats,
    x: Floats,
    x_planes: Floats,
    bias: Floats,
    argmax: Bytes,
    relu: tuple[bool, bool],
    lrn: tuple[int, np.float32, float, np.float32],
    pool: tuple[int, int, int, int, int],
    rows: tuple[Floats, ...],
    spread_rows: tuple[Floats, ...],
    no_bias: Floats,
    grad_x: Floats,
    grad_x_planes: Floats,
    grad_bias: Floats,
    first: int,
    last: int,
) -> None:
    """Compute the rows `first` to `last` of grad_x, counted over the whole batch; arguments as in `forward`.

    argmax: (N*rows, columns, groups, channels). no_bias: zeros. grad_bias: (N*H, groups, channels), the sum over each
    row; nothing where it is empty.
    """
    own, squares, own_squares, denominators, powers, shares, own_shares, grads = rows
    loaded, grad, grad_row = spread_rows
    size, scale, beta, k = lrn
    height, per_image, kernel_size, stride, start = pool
    least = ZERO if relu[0] else LOWEST
    for index in range(first, last):
        image, h = index // height, index % height
        if relu[0] or relu[1] or size:
            _load_row(x, index, x_planes, image, h, bias, least, loaded)
        if kernel_size:
            grads[:] = ZERO
            for out in range(
                max(0, (h - start - kernel_size) // stride + 1), min(per_image, (h - start) // stride + 1)
            ):
                tap = (h - start - out * stride) * kernel_size
                source = image * per_image + out
                _load_row(grad_y, source, grad_y_planes, image, out, no_bias, LOWEST, grad_row)
                _gather(grad_row, argmax[source], tap, kernel_size, stride, start, grad)
        else:
            _load_row(grad_y, index, grad_y_planes, image, h, no_bias, LOWEST, grad)
        if relu[1]:
            _mask(grads, own)
        if size:
            _square(own, own_squares)
            _shares(grads, squares, own, size, scale, beta, k, denominators, powers, own_shares)
            _spread(shares, size, own, powers, grads)
        if relu[0]:
            _mask(grads, own)
        _store_row(grad, grad_x, index, grad_x_planes, image, h)
        if grad_bias.size:
            _sum_pixels(grad, grad_bias[index])

"""The fused operator as loops over float32 rows of pixels, sixteen channels at a time, compiled by numba when first called.

They work on one row of pixels at a time, so that everything between the maps and the result stays in the caches:

    maps row -> bias, ReLU, [LRN] -> largest of each window's columns -> largest of each window's rows -> result

A row is flat: (W, groups, channels), channels being those of a group. The paper's window of five needs no memory for its
squares and sums: the channels on either side are in the registers of the lanes before and behind. Other windows are read
from a row in which the channels of each group are followed by zeros, so that they need no border. Maps that are not
channels last are turned row by row, while the row is in the caches.

Every number is computed from its own row alone and in the same order whatever the range that a thread was given: the
bits do not depend on the number of threads. NaN spreads, as in torch: it wins its window.

numba's cache on disk looks at the date of this file alone: a change of `numba_lanes` must touch it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from convspec_kernels.numba_lanes import (
    FAST,
    LANES,
    all_of,
    at_least,
    at_most,
    choose,
    equal,
    from_1,
    from_2,
    from_14,
    from_15,
    load,
    load_first,
    power,
    prefetch,
    rsqrt,
    store,
    store_first,
    wins,
)

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Maps = NDArray[np.float32] | NDArray[np.uint16]
"""Of float32, or of bfloat16, of which NumPy sees the bits."""
Lanes = Any
"""What only compiled functions have: float32 or uint8 by sixteen."""
Norm = tuple[int, np.float32, np.float32, np.float32, int]
"""size, with 0 for none; alpha/size; beta; k; channels of a group."""
Pool = tuple[int, int, int, int, int]
"""Rows of a map and of a result; kernel_size, with 0 for none; stride; start."""
Function = Callable[..., Any]

ZERO, ONE, LOWEST = np.float32(0), np.float32(1), np.float32(-np.inf)
_THREE_QUARTERS, _HALF = np.float32(0.75), np.float32(0.5)
_AHEAD = 2048
"""How many numbers ahead maps are asked for: the processor's own guesses leave a sixth of the forward pass waiting."""

_njit: Any = njit  # numba's versions differ in what types they give it
_OPTIONS = {"nogil": True, "fastmath": set(FAST), "error_model": "numpy"}


def _inner(function: Function) -> Function:
    """Called by compiled functions alone."""
    compiled: Function = _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)
    return compiled


def compiled_outer(function: Function) -> Function:
    """Called from Python: without the GIL, and kept on disk where numba finds a folder that it may write."""
    try:
        compiled: Function = _njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no such folder
        compiled = _njit(**_OPTIONS)(function)
    return compiled


@_inner
def _take(row: Any, at: int, count: int) -> Lanes:
    """`row[at : at + count]`, of which lanes have the first sixteen; zeros behind."""
    if count >= LANES:
        return load(row, at)
    return load_first(row, at, count)


@_inner
def _put(row: Any, at: int, count: int, value: Lanes) -> None:
    if count >= LANES:
        store(row, at, value)
    else:
        store_first(row, at, count, value)


@_inner
def _activated(x: Maps, at: int, bias: Floats, channel: int, count: int, least: np.float32) -> Lanes:
    """`max(x + bias, least)` of the channels from `channel` on; lanes behind `count` are zeros."""
    return at_least(_take(x, at, count) + _take(bias, channel, count), all_of(least))


@_inner
def _power(x: Lanes, beta: np.float32) -> Lanes:
    """`x ** -beta`; roots where they do."""
    if beta == _THREE_QUARTERS:
        root = rsqrt(x)
        return root * root * rsqrt(root)
    if beta == _HALF:
        return rsqrt(x)
    if beta == ONE:
        return all_of(ONE) / x
    return power(x, all_of(-beta))


@_inner
def _sum_of_five(before: Lanes, here: Lanes, behind: Lanes) -> Lanes:
    """Over the windows of five channels around each one of `here`."""
    return from_14(before, here) + from_15(before, here) + here + (from_1(here, behind) + from_2(here, behind))


@_inner
def _sum_of_window(row: Floats, at: int, size: int) -> Lanes:
    """`sum of row[at + i + t] for t < size` in lane i."""
    total = load(row, at)
    for t in range(1, size):
        total = total + load(row, at + t)
    return total


@_inner
def _activate(x: Maps, bias: Floats, least: np.float32, y: Floats) -> None:
    for at in range(0, x.size, bias.size):
        for c in range(0, bias.size, LANES):
            count = bias.size - c
            _put(y, at + c, count, _activated(x, at + c, bias, c, count, least))


@_inner
def _normalise_five(x: Maps, bias: Floats, least: np.float32, lrn: Norm, y: Floats) -> None:
    """A row with the paper's window and power."""
    _, scale, _, k, channels = lrn
    zeros, scales, start = all_of(ZERO), all_of(scale), all_of(k)
    for at in range(0, x.size, channels):
        first = at % bias.size
        here = _activated(x, at, bias, first, channels, least)
        squares_before, squares = zeros, here * here
        for c in range(0, channels, LANES):
            count = channels - c
            behind = zeros
            if count > LANES:
                behind = _activated(x, at + c + LANES, bias, first + c + LANES, count - LANES, least)
            squares_behind = behind * behind
            prefetch(x, at + c + _AHEAD)
            energy = start + scales * _sum_of_five(squares_before, squares, squares_behind)
            root = rsqrt(energy)
            _put(y, at + c, count, here * (root * root * rsqrt(root)))
            here, squares_before, squares = behind, squares, squares_behind


@_inner
def _spread(x: Maps, bias: Floats, least: np.float32, lrn: Norm, own: Floats, squares: Floats) -> None:
    """The activated pixels and their squares, each group followed by size - 1 zeros, and led by size // 2 in squares."""
    size, _, _, _, channels = lrn
    room = channels + size - 1
    for group in range(x.size // channels):
        at = group * channels
        for c in range(0, channels, LANES):
            count = channels - c
            here = _activated(x, at + c, bias, at % bias.size + c, count, least)
            _put(own, group * room + c, count, here)
            _put(squares, group * room + c + size // 2, count, here * here)


@_inner
def _normalise_spread(own: Floats, squares: Floats, lrn: Norm, y: Floats) -> None:
    """A row with any window and power."""
    size, scale, beta, k, channels = lrn
    room = channels + size - 1
    for group in range(y.size // channels):
        for c in range(0, channels, LANES):
            at = group * room + c
            energy = all_of(k) + all_of(scale) * _sum_of_window(squares, at, size)
            _put(y, group * channels + c, channels - c, load(own, at) * _power(energy, beta))


@_inner
def _copy(x: Maps, y: Maps) -> None:
    for at in range(0, x.size, LANES):
        _put(y, at, x.size - at, _take(x, at, x.size - at))


@_inner
def _clip_negative(x: Maps) -> None:
    for at in range(0, x.size, LANES):
        _put(x, at, x.size - at, at_least(_take(x, at, x.size - at), all_of(ZERO)))


@_inner
def _largest_of_columns(row: Floats, channels: int, pool: Pool, best: Floats, taps: Bytes) -> None:
    """The largest of each window's columns in one row, and which column; the first of equals.

    row: (W, channels). best, taps: (outputs, channels). All of them flat.
    """
    _, _, kernel_size, stride, start = pool
    width = row.size // channels
    for out in range(best.size // channels):
        left = start + out * stride
        first, last = max(0, -left), min(kernel_size, width - left)
        for c in range(0, channels, LANES):
            count = channels - c
            value, tap = _take(row, (left + first) * channels + c, count), all_of(np.uint8(first))
            for t in range(first + 1, last):
                other = _take(row, (left + t) * channels + c, count)
                better = wins(other, value)
                value, tap = choose(better, other, value), choose(better, all_of(np.uint8(t)), tap)
            _put(best, out * channels + c, count, value)
            _put(taps, out * channels + c, count, tap)


@_inner
def _largest_of_three_rows(ring: Floats, ring_columns: Bytes, top: int, y: Maps, argmax: Bytes) -> None:
    """`_largest_of_rows` of a whole window of three, the paper's: in a third of the time."""
    one, two, three = top % 3, (top + 1) % 3, (top + 2) % 3
    first, second, third = ring[one], ring[two], ring[three]
    first_columns, second_columns, third_columns = ring_columns[one], ring_columns[two], ring_columns[three]
    for i in range(0, y.size, LANES):
        count = y.size - i
        value, tap = _take(first, i, count), _take(first_columns, i, count)
        other = _take(second, i, count)
        better = wins(other, value)
        value = choose(better, other, value)
        tap = choose(better, _take(second_columns, i, count) + all_of(np.uint8(3)), tap)
        other = _take(third, i, count)
        better = wins(other, value)
        _put(y, i, count, choose(better, other, value))
        _put(argmax, i, count, choose(better, _take(third_columns, i, count) + all_of(np.uint8(6)), tap))


@_inner
def _largest_of_rows(
    ring: Floats, ring_columns: Bytes, top: int, first: int, last: int, y: Maps, argmax: Bytes
) -> None:
    """The same for the rows `top + first` to `top + last` of a window, each of which lies in `ring` (rows, elements)."""
    size = ring.shape[0]
    if size == 3 and last - first == 3:
        _largest_of_three_rows(ring, ring_columns, top, y, argmax)
        return
    start = (top + first) % size
    for i in range(0, y.size, LANES):
        count, row = y.size - i, start
        value, tap = _take(ring[row], i, count), _take(ring_columns[row], i, count) + all_of(np.uint8(first * size))
        for t in range(first + 1, last):
            row = row + 1 if row + 1 < size else 0
            other = _take(ring[row], i, count)
            better = wins(other, value)
            tap = choose(better, _take(ring_columns[row], i, count) + all_of(np.uint8(t * size)), tap)
            value = choose(better, other, value)
        _put(y, i, count, value)
        _put(argmax, i, count, tap)


@_inner
def _turn(planes: Maps, h: int, row: Maps) -> None:
    """Row h of maps (C, H, W) as (W, C)."""
    channels = planes.shape[0]
    for c in range(channels):
        for w in range(planes.shape[2]):
            row[w * channels + c] = planes[c, h, w]


@_inner
def _turn_back(row: Maps, planes: Maps, h: int) -> None:
    channels = planes.shape[0]
    for c in range(channels):
        for w in range(planes.shape[2]):
            planes[c, h, w] = row[w * channels + c]


@_inner
def _row(x: Maps, index: int, planes: Maps, image: int, h: int, turned: Maps) -> Maps:
    """Row h of an image, from maps of either kind, see `forward`; its number in the batch is `index`."""
    if planes.size:
        _turn(planes[image], h, turned)
        return turned
    row: Maps = x[index]
    return row


@_inner
def _normalise(x: Maps, bias: Floats, least: np.float32, lrn: Norm, spread: tuple[Floats, Floats], y: Floats) -> None:
    """A row as the pool takes it."""
    size, _, beta, _, _ = lrn
    if size == 0:
        _activate(x, bias, least, y)
    elif size == 5 and beta == _THREE_QUARTERS:
        _normalise_five(x, bias, least, lrn, y)
    else:
        _spread(x, bias, least, lrn, spread[0], spread[1])
        _normalise_spread(spread[0], spread[1], lrn, y)


@compiled_outer
def forward(
    x: Maps,
    x_planes: Maps,
    bias: Floats,
    relu: tuple[bool, bool],
    lrn: Norm,
    pool: Pool,
    rows: tuple[Maps, Floats],
    spread: tuple[Floats, Floats],
    ring: Floats,
    ring_columns: Bytes,
    y: Maps,
    y_planes: Maps,
    argmax: Bytes,
    first: int,
    last: int,
) -> None:
    """Compute the rows `first` to `last` of y, counted over the whole batch.

    Maps are either x (N*H, W*C) or x_planes (N, C, H, W), the other one is empty; results likewise: y (N*rows, columns*C),
    or y_planes, and then y has room for one row. bias: (C,). argmax: as y, empty without a pool. relu: before and after.
    rows: one to turn and one to normalise. spread: one of pixels and one of their squares. ring, ring_columns:
    (kernel_size, at least columns*C).
    """
    turned, normed = rows
    height, per_image, kernel_size, stride, start = pool
    image, ready = -1, 0
    for index in range(first, last):
        if index // per_image != image:
            image, ready = index // per_image, 0
        out = index % per_image
        top = start + out * stride if kernel_size else out
        bottom = min(top + kernel_size, height) if kernel_size else top + 1
        result = y[0] if x_planes.size else y[index]
        for h in range(max(ready, top, 0), bottom):
            source = _row(x, image * height + h, x_planes, image, h, turned)
            _normalise(source, bias, ZERO if relu[0] else LOWEST, lrn, spread, normed)
            if kernel_size:
                slot = h % kernel_size
                _largest_of_columns(normed, bias.size, pool, ring[slot, : result.size], ring_columns[slot])
        ready = bottom
        if kernel_size == 0:
            _copy(normed, result)
        else:
            _largest_of_rows(ring, ring_columns, top, max(0, -top), bottom - top, result, argmax[index])
        if relu[1]:
            _clip_negative(result)
        if x_planes.size:
            _turn_back(result, y_planes[image], out)


@_inner
def _give(grads: Maps, winners: Bytes, channels: int, tap: int, pool: Pool, row: Floats) -> None:
    """Add to one row of pixels what a row of windows gives it, where it won.

    grads, winners: (outputs, channels). tap: of the window's first pixel in this row. row: (W, channels). All flat.
    """
    _, _, kernel_size, stride, start = pool
    width = row.size // channels
    for out in range(grads.size // channels):
        left = start + out * stride
        first, last = max(0, -left), min(kernel_size, width - left)
        for c in range(0, channels, LANES):
            count = channels - c
            winner, grad = _take(winners, out * channels + c, count), _take(grads, out * channels + c, count)
            for t in range(first, last):
                at = (left + t) * channels + c
                share = choose(equal(winner, all_of(np.uint8(tap + t))), grad, all_of(ZERO))
                _put(row, at, count, _take(row, at, count) + share)


@_inner
def _masked(grad: Lanes, own: Lanes, relu: bool) -> Lanes:
    """No gradient where ReLU had nothing to pass on."""
    return choose(at_most(own, all_of(ZERO)), all_of(ZERO), grad) if relu else grad


@_inner
def _mask_row(grads: Floats, x: Maps, bias: Floats, y: Maps) -> None:
    """The gradient of a row with ReLU alone."""
    for at in range(0, x.size, bias.size):
        for c in range(0, bias.size, LANES):
            count = bias.size - c
            own = _activated(x, at + c, bias, c, count, ZERO)
            _put(y, at + c, count, _masked(_take(grads, at + c, count), own, True))


@_inner
def _gradient_five(
    grads: Floats,
    x: Maps,
    bias: Floats,
    least: np.float32,
    relu: tuple[bool, bool],
    lrn: Norm,
    scratch: tuple[Floats, Floats, Floats, Floats],
    y: Maps,
) -> None:
    """The gradient of a row with the paper's window and power."""
    own, _, shares, scaled = scratch
    _, scale, beta, k, channels = lrn
    factors = all_of(np.float32(2) * beta * scale)
    zeros, scales, start = all_of(ZERO), all_of(scale), all_of(k)
    for at in range(0, x.size, channels):
        first = at % bias.size
        here = _activated(x, at, bias, first, channels, least)
        squares_before, squares = zeros, here * here
        for c in range(0, channels, LANES):
            count = channels - c
            behind = zeros
            if count > LANES:
                behind = _activated(x, at + c + LANES, bias, first + c + LANES, count - LANES, least)
            squares_behind = behind * behind
            prefetch(x, at + c + _AHEAD)
            root = rsqrt(start + scales * _sum_of_five(squares_before, squares, squares_behind))
            inverse = root * root
            grad = _masked(_take(grads, at + c, count), here, relu[1]) * (inverse * rsqrt(root))
            store(own, c, here)
            store(scaled, c, grad)
            store(shares, LANES + c, factors * grad * (here * inverse))
            here, squares_before, squares = behind, squares, squares_behind
        before, share = zeros, load(shares, LANES)
        for c in range(0, channels, LANES):
            behind, here = load(shares, c + 2 * LANES), load(own, c)
            grad = load(scaled, c) - here * _sum_of_five(before, share, behind)
            _put(y, at + c, channels - c, _masked(grad, here, relu[0]))
            before, share = share, behind


@_inner
def _gradient_spread(
    grads: Floats, relu: tuple[bool, bool], lrn: Norm, scratch: tuple[Floats, Floats, Floats, Floats], y: Maps
) -> None:
    """The gradient of a row with any window and power, after `_spread`.

    `grad * powers - own * sum over the windows of 2*beta*scale * grad * own * powers / energies`
    """
    own, squares, shares, scaled = scratch
    size, scale, beta, k, channels = lrn
    room, lead = channels + size - 1, size - 1 - size // 2
    for group in range(y.size // channels):
        for c in range(0, channels, LANES):
            at, count = group * room + c, channels - c
            energy = all_of(k) + all_of(scale) * _sum_of_window(squares, at, size)
            here = _take(own, at, count)
            grad = _masked(_take(grads, group * channels + c, count), here, relu[1]) * _power(energy, beta)
            _put(scaled, at, count, grad)
            _put(shares, at + lead, count, all_of(np.float32(2) * beta * scale) * grad * here / energy)
    for group in range(y.size // channels):
        for c in range(0, channels, LANES):
            at = group * room + c
            here = load(own, at)
            grad = load(scaled, at) - here * _sum_of_window(shares, at, size)
            _put(y, group * channels + c, channels - c, _masked(grad, here, relu[0]))


@_inner
def _sum_pixels(row: Maps, result: Floats) -> None:
    """row: (W, channels), flat. result: (channels,)."""
    for c in range(0, result.size, LANES):
        count = result.size - c
        total = _take(row, c, count)
        for at in range(result.size + c, row.size, result.size):
            total = total + _take(row, at, count)
        _put(result, c, count, total)


@_inner
def _collect(
    grad_y: Maps,
    planes: Maps,
    argmax: Bytes,
    image: int,
    h: int,
    channels: int,
    pool: Pool,
    turned: Maps,
    row: Floats,
) -> None:
    """What all windows give row h of an image."""
    _, per_image, kernel_size, stride, start = pool
    row[:] = ZERO
    top, bottom = (h - start - kernel_size) // stride + 1, (h - start) // stride + 1
    for out in range(max(0, top), min(per_image, bottom)):
        index, tap = image * per_image + out, (h - start - out * stride) * kernel_size
        _give(_row(grad_y, index, planes, image, out, turned), argmax[index], channels, tap, pool, row)


@_inner
def _gradient(
    grads: Floats,
    x: Maps,
    bias: Floats,
    relu: tuple[bool, bool],
    lrn: Norm,
    scratch: tuple[Floats, Floats, Floats, Floats],
    y: Maps,
) -> None:
    """Of a row, from that of the row which the pool took."""
    size, _, beta, _, _ = lrn
    least = ZERO if relu[0] else LOWEST
    if size == 0 and (relu[0] or relu[1]):
        _mask_row(grads, x, bias, y)
    elif size == 0:
        _copy(grads, y)
    elif size == 5 and beta == _THREE_QUARTERS:
        _gradient_five(grads, x, bias, least, relu, lrn, scratch, y)
    else:
        _spread(x, bias, least, lrn, scratch[0], scratch[1])
        _gradient_spread(grads, relu, lrn, scratch, y)


@compiled_outer
def backward(
    grad_y: Maps,
    grad_y_planes: Maps,
    x: Maps,
    x_planes: Maps,
    bias: Floats,
    argmax: Bytes,
    relu: tuple[bool, bool],
    lrn: Norm,
    pool: Pool,
    rows: tuple[Maps, Maps, Floats],
    scratch: tuple[Floats, Floats, Floats, Floats],
    grad_x: Maps,
    grad_x_planes: Maps,
    grad_bias: Floats,
    first: int,
    last: int,
) -> None:
    """Compute the rows `first` to `last` of grad_x, counted over the whole batch; arguments as in `forward`.

    rows: one of pixels and one of results to turn, and one of pixels in which what windows give is collected. scratch: see
    `_gradient_five` and `_gradient_spread`. grad_bias: (N*H, C), the sum over each row; nothing where it is empty.
    """
    turned, turned_grads, collected = rows
    height, _, kernel_size, _, _ = pool
    for index in range(first, last):
        image, h = index // height, index % height
        source = _row(x, index, x_planes, image, h, turned)
        result = grad_x[0] if x_planes.size else grad_x[index]
        if kernel_size:
            _collect(grad_y, grad_y_planes, argmax, image, h, bias.size, pool, turned_grads, collected)
        else:
            _copy(_row(grad_y, index, grad_y_planes, image, h, turned_grads), collected)
        _gradient(collected, source, bias, relu, lrn, scratch, result)
        if x_planes.size:
            _turn_back(result, grad_x_planes[image], h)
        if grad_bias.size:
            _sum_pixels(result, grad_bias[index])

"""Rows of pixels by bias, ReLU and LRN, and their gradient; see `numba_loops`."""

from __future__ import annotations

import numpy as np

from convspec_kernels.numba_cache import compiled_inner
from convspec_kernels.numba_lanes import (
    LANES,
    all_of,
    at_least,
    at_most,
    choose,
    from_1,
    from_2,
    from_14,
    from_15,
    load,
    power,
    prefetch,
    rsqrt,
    store,
)
from convspec_kernels.numba_rows import LOWEST, ONE, ZERO, Floats, Lanes, Maps, Norm, copy_row, put, take

_THREE_QUARTERS, _HALF = np.float32(0.75), np.float32(0.5)
_AHEAD = 2048
"""How many numbers ahead maps are asked for: the processor's own guesses leave a sixth of the forward pass waiting."""


@compiled_inner
def _activated(x: Maps, at: int, bias: Floats, channel: int, count: int, least: np.float32) -> Lanes:
    """`max(x + bias, least)` of the channels from `channel` on; lanes behind `count` are zeros."""
    return at_least(take(x, at, count) + take(bias, channel, count), all_of(least))


@compiled_inner
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


@compiled_inner
def _sum_of_five(before: Lanes, here: Lanes, behind: Lanes) -> Lanes:
    """Over the windows of five channels around each one of `here`."""
    return from_14(before, here) + from_15(before, here) + here + (from_1(here, behind) + from_2(here, behind))


@compiled_inner
def _sum_of_window(row: Floats, at: int, size: int) -> Lanes:
    """`sum of row[at + i + t] for t < size` in lane i."""
    total = load(row, at)
    for t in range(1, size):
        total = total + load(row, at + t)
    return total


@compiled_inner
def _activate(x: Maps, bias: Floats, least: np.float32, y: Floats) -> None:
    for at in range(0, x.size, bias.size):
        for c in range(0, bias.size, LANES):
            count = bias.size - c
            put(y, at + c, count, _activated(x, at + c, bias, c, count, least))


@compiled_inner
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
            put(y, at + c, count, here * (root * root * rsqrt(root)))
            here, squares_before, squares = behind, squares, squares_behind


@compiled_inner
def _spread(x: Maps, bias: Floats, least: np.float32, lrn: Norm, own: Floats, squares: Floats) -> None:
    """The activated pixels and their squares, each group followed by size - 1 zeros, and led by size // 2 in squares."""
    size, _, _, _, channels = lrn
    room = channels + size - 1
    for group in range(x.size // channels):
        at = group * channels
        for c in range(0, channels, LANES):
            count = channels - c
            here = _activated(x, at + c, bias, at % bias.size + c, count, least)
            put(own, group * room + c, count, here)
            put(squares, group * room + c + size // 2, count, here * here)


@compiled_inner
def _normalise_spread(own: Floats, squares: Floats, lrn: Norm, y: Floats) -> None:
    """A row with any window and power."""
    size, scale, beta, k, channels = lrn
    room = channels + size - 1
    for group in range(y.size // channels):
        for c in range(0, channels, LANES):
            at = group * room + c
            energy = all_of(k) + all_of(scale) * _sum_of_window(squares, at, size)
            put(y, group * channels + c, channels - c, load(own, at) * _power(energy, beta))


@compiled_inner
def normalise(x: Maps, bias: Floats, least: np.float32, lrn: Norm, spread: tuple[Floats, Floats], y: Floats) -> None:
    """A row as the pool takes it."""
    size, _, beta, _, _ = lrn
    if size == 0:
        _activate(x, bias, least, y)
    elif size == 5 and beta == _THREE_QUARTERS:
        _normalise_five(x, bias, least, lrn, y)
    else:
        _spread(x, bias, least, lrn, spread[0], spread[1])
        _normalise_spread(spread[0], spread[1], lrn, y)


@compiled_inner
def _masked(grad: Lanes, own: Lanes, relu: bool) -> Lanes:
    """No gradient where ReLU had nothing to pass on."""
    return choose(at_most(own, all_of(ZERO)), all_of(ZERO), grad) if relu else grad


@compiled_inner
def _mask_row(grads: Floats, x: Maps, bias: Floats, y: Maps) -> None:
    """The gradient of a row with ReLU alone."""
    for at in range(0, x.size, bias.size):
        for c in range(0, bias.size, LANES):
            count = bias.size - c
            own = _activated(x, at + c, bias, c, count, ZERO)
            put(y, at + c, count, _masked(take(grads, at + c, count), own, True))


@compiled_inner
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
            grad = _masked(take(grads, at + c, count), here, relu[1]) * (inverse * rsqrt(root))
            store(own, c, here)
            store(scaled, c, grad)
            store(shares, LANES + c, factors * grad * (here * inverse))
            here, squares_before, squares = behind, squares, squares_behind
        before, share = zeros, load(shares, LANES)
        for c in range(0, channels, LANES):
            behind, here = load(shares, c + 2 * LANES), load(own, c)
            grad = load(scaled, c) - here * _sum_of_five(before, share, behind)
            put(y, at + c, channels - c, _masked(grad, here, relu[0]))
            before, share = share, behind


@compiled_inner
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
            here = take(own, at, count)
            grad = _masked(take(grads, group * channels + c, count), here, relu[1]) * _power(energy, beta)
            put(scaled, at, count, grad)
            put(shares, at + lead, count, all_of(np.float32(2) * beta * scale) * grad * here / energy)
    for group in range(y.size // channels):
        for c in range(0, channels, LANES):
            at = group * room + c
            here = load(own, at)
            grad = load(scaled, at) - here * _sum_of_window(shares, at, size)
            put(y, group * channels + c, channels - c, _masked(grad, here, relu[0]))


@compiled_inner
def gradient(
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
        copy_row(grads, y)
    elif size == 5 and beta == _THREE_QUARTERS:
        _gradient_five(grads, x, bias, least, relu, lrn, scratch, y)
    else:
        _spread(x, bias, least, lrn, scratch[0], scratch[1])
        _gradient_spread(grads, relu, lrn, scratch, y)

"""The largest pixels of windows, a row at a time, and what they get of the gradient; see `numba_loops`."""

from __future__ import annotations

import numpy as np

from convspec_kernels.numba_cache import compiled_inner
from convspec_kernels.numba_lanes import LANES, all_of, choose, equal, wins
from convspec_kernels.numba_rows import ZERO, Bytes, Floats, Maps, Pool, put, take


@compiled_inner
def largest_of_columns(row: Floats, channels: int, pool: Pool, best: Floats, taps: Bytes) -> None:
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
            value, tap = take(row, (left + first) * channels + c, count), all_of(np.uint8(first))
            for t in range(first + 1, last):
                other = take(row, (left + t) * channels + c, count)
                better = wins(other, value)
                value, tap = choose(better, other, value), choose(better, all_of(np.uint8(t)), tap)
            put(best, out * channels + c, count, value)
            put(taps, out * channels + c, count, tap)


@compiled_inner
def _largest_of_three_rows(ring: Floats, ring_columns: Bytes, top: int, y: Maps, argmax: Bytes) -> None:
    """`largest_of_rows` of a whole window of three, the paper's: in a third of the time."""
    one, two, three = top % 3, (top + 1) % 3, (top + 2) % 3
    first, second, third = ring[one], ring[two], ring[three]
    first_columns, second_columns, third_columns = ring_columns[one], ring_columns[two], ring_columns[three]
    for i in range(0, y.size, LANES):
        count = y.size - i
        value, tap = take(first, i, count), take(first_columns, i, count)
        other = take(second, i, count)
        better = wins(other, value)
        value = choose(better, other, value)
        tap = choose(better, take(second_columns, i, count) + all_of(np.uint8(3)), tap)
        other = take(third, i, count)
        better = wins(other, value)
        put(y, i, count, choose(better, other, value))
        put(argmax, i, count, choose(better, take(third_columns, i, count) + all_of(np.uint8(6)), tap))


@compiled_inner
def largest_of_rows(ring: Floats, ring_columns: Bytes, top: int, first: int, last: int, y: Maps, argmax: Bytes) -> None:
    """The same for the rows `top + first` to `top + last` of a window, each of which lies in `ring` (rows, elements)."""
    size = ring.shape[0]
    if size == 3 and last - first == 3:
        _largest_of_three_rows(ring, ring_columns, top, y, argmax)
        return
    start = (top + first) % size
    for i in range(0, y.size, LANES):
        count, row = y.size - i, start
        value, tap = take(ring[row], i, count), take(ring_columns[row], i, count) + all_of(np.uint8(first * size))
        for t in range(first + 1, last):
            row = row + 1 if row + 1 < size else 0
            other = take(ring[row], i, count)
            better = wins(other, value)
            tap = choose(better, take(ring_columns[row], i, count) + all_of(np.uint8(t * size)), tap)
            value = choose(better, other, value)
        put(y, i, count, value)
        put(argmax, i, count, tap)


@compiled_inner
def give(grads: Maps, winners: Bytes, channels: int, tap: int, pool: Pool, row: Floats) -> None:
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
            winner, grad = take(winners, out * channels + c, count), take(grads, out * channels + c, count)
            for t in range(first, last):
                at = (left + t) * channels + c
                share = choose(equal(winner, all_of(np.uint8(tap + t))), grad, all_of(ZERO))
                put(row, at, count, take(row, at, count) + share)

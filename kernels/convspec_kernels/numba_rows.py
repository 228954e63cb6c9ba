"""Rows of pixels in functions that numba compiles: read, written, copied, turned."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convspec_kernels.numba_cache import compiled_inner
from convspec_kernels.numba_lanes import LANES, all_of, at_least, load, load_first, store, store_first

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

ZERO, ONE, LOWEST = np.float32(0), np.float32(1), np.float32(-np.inf)


@compiled_inner
def take(row: Any, at: int, count: int) -> Lanes:
    """`row[at : at + count]`, of which lanes have the first sixteen; zeros behind."""
    if count >= LANES:
        return load(row, at)
    return load_first(row, at, count)


@compiled_inner
def put(row: Any, at: int, count: int, value: Lanes) -> None:
    if count >= LANES:
        store(row, at, value)
    else:
        store_first(row, at, count, value)


@compiled_inner
def copy_row(x: Maps, y: Maps) -> None:
    for at in range(0, x.size, LANES):
        put(y, at, x.size - at, take(x, at, x.size - at))


@compiled_inner
def clip_negative(x: Maps) -> None:
    for at in range(0, x.size, LANES):
        put(x, at, x.size - at, at_least(take(x, at, x.size - at), all_of(ZERO)))


@compiled_inner
def turn(planes: Maps, h: int, row: Maps) -> None:
    """Row h of maps (C, H, W) as (W, C)."""
    channels = planes.shape[0]
    for c in range(channels):
        for w in range(planes.shape[2]):
            row[w * channels + c] = planes[c, h, w]


@compiled_inner
def turn_back(row: Maps, planes: Maps, h: int) -> None:
    channels = planes.shape[0]
    for c in range(channels):
        for w in range(planes.shape[2]):
            planes[c, h, w] = row[w * channels + c]


@compiled_inner
def row_of(x: Maps, index: int, planes: Maps, image: int, h: int, turned: Maps) -> Maps:
    """Row h of an image, from maps of either kind, see `forward`; its number in the batch is `index`."""
    if planes.size:
        turn(planes[image], h, turned)
        return turned
    row: Maps = x[index]
    return row


@compiled_inner
def sum_pixels(row: Maps, result: Floats) -> None:
    """row: (W, channels), flat. result: (channels,)."""
    for c in range(0, result.size, LANES):
        count = result.size - c
        total = take(row, c, count)
        for at in range(result.size + c, row.size, result.size):
            total = total + take(row, at, count)
        put(result, c, count, total)

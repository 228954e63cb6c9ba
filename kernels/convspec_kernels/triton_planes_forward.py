"""The forward kernel of planes: up through the channels of NCHW maps; see `triton_kernels` for the design.

A lane has STRIDE columns of ROWS rows of windows, and its neighbours in the warp the columns beside: what its windows need
of those it gets by a shuffle, so that along a row each pixel is normalised once. Of each row of pixels it takes the
largest of its window, and merges these maxima down the window.
"""

from __future__ import annotations

import triton
import triton.language as tl

from convspec_kernels.triton_device import larger
from convspec_kernels.triton_lanes_device import WARP, beside
from convspec_kernels.triton_planes_device import (
    activated,
    columns_of,
    denominators,
    empty,
    load_pixels,
    moved,
    present,
    shift_of,
    without_lowest,
)


@triton.jit
def _row_of_maxima(
    pixels, FIRST: tl.constexpr, row_exists, across, RELU: tl.constexpr, KERNEL_SIZE: tl.constexpr, STRIDE: tl.constexpr,
    EDGES: tl.constexpr,
):  # fmt: skip
    """The largest pixel of a row in each lane's window, and its place in the row.

    The lane's own pixels of the row are `pixels` from FIRST on. across: which columns of the window exist.
    """
    best, tap = pixels[FIRST], tl.zeros(pixels[FIRST].shape, tl.int32)
    if EDGES:
        tap = tl.where(row_exists & across[0], 0, -1)
        best = tl.where(tap < 0, float("-inf"), best)
    for c in tl.static_range(1, KERNEL_SIZE):
        value, place = pixels[FIRST + c % STRIDE], c
        if c >= STRIDE:
            value = beside(value, c // STRIDE)
        if EDGES:
            place = tl.where(row_exists & across[c], place, -1)
            value = tl.where(place < 0, float("-inf"), value)
        best, tap = larger(best, tap, value, place, RELU, EDGES)
    return best, tap


@triton.jit
def _pooled(
    pixels, down, across, RELU: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, KERNEL_SIZE: tl.constexpr,
    STRIDE: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """The largest pixels of ROWS windows, one below the other, and their taps."""
    best, tap = (), ()
    for r in tl.static_range((ROWS - 1) * STRIDE + KERNEL_SIZE):
        if r % STRIDE < KERNEL_SIZE:
            # Rows between windows are left out.
            value, place = _row_of_maxima(
                pixels,
                (r // STRIDE * COLUMNS + r % STRIDE) * COLUMNS,
                down[r],
                across,
                RELU,
                KERNEL_SIZE,
                STRIDE,
                EDGES,
            )
            values, taps = (), ()
            for i in tl.static_range(len(best)):
                if i * STRIDE + KERNEL_SIZE > r:
                    here = place + (r - i * STRIDE) * KERNEL_SIZE
                    if EDGES:
                        here = tl.where(place < 0, -1, here)
                    highest, where = larger(best[i], tap[i], value, here, RELU, EDGES)
                    values, taps = values + (highest,), taps + (where,)
                else:
                    values, taps = values + (best[i],), taps + (tap[i],)
            if r % STRIDE == 0 and r // STRIDE < ROWS:
                values, taps = values + (value,), taps + (place,)
            best, tap = values, taps
    return best, tap


@triton.jit
def forward_kernel(
    x,
    bias,
    y,
    argmax,
    places,
    strips,
    segments,
    channels,
    height,
    width,
    out_height,
    out_width,
    start,
    x_case,
    x_channel,
    y_case,
    y_channel,
    scale,
    beta,
    k,
    RELU_BEFORE: tl.constexpr,
    RELU_AFTER: tl.constexpr,
    BELOW: tl.constexpr,
    ABOVE: tl.constexpr,
    NORMALISE: tl.constexpr,
    POWER: tl.constexpr,
    KERNEL_SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    EDGES: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCKS: tl.constexpr,
    TILES: tl.constexpr,
    X_ROW: tl.constexpr,
    X_COLUMN: tl.constexpr,
    Y_ROW: tl.constexpr,
    Y_COLUMN: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """A place is a column of ROWS windows, or a block of pixels behind the last window of a row; `strips` are in a row and
    `segments` below one another. A program goes through `channels` channels. argmax has y's strides.
    """
    SIZE: tl.constexpr = BELOW + 1 + ABOVE
    SEEN: tl.constexpr = (ROWS - 1) * STRIDE + KERNEL_SIZE
    COLUMNS: tl.constexpr = STRIDE if STRIDE < KERNEL_SIZE else KERNEL_SIZE
    HELPERS: tl.constexpr = (KERNEL_SIZE - 1) // STRIDE
    block = tl.program_id(0) % BLOCKS
    first = block % TILES * channels
    lane = tl.arange(0, LANES)
    place = (tl.program_id(0) // BLOCKS * (LANES // WARP) + lane // WARP) * (WARP - HELPERS) + lane % WARP
    written = (lane % WARP < WARP - HELPERS) & (place < places) & (place % strips < out_width)
    place = tl.minimum(place, places - 1)
    out_column = place % strips
    # The last segment is moved back onto the map: what lies in two of them is computed twice.
    out_row = tl.minimum(place // strips % segments * ROWS, out_height - ROWS)
    case = (place // strips // segments).to(tl.int64)
    row, column = out_row * STRIDE + start, out_column * STRIDE + start

    group = (block // TILES * GROUP).to(tl.int64)
    x += case * x_case + (group + first - BELOW) * x_channel + row * X_ROW
    columns = columns_of(x, column, width, COLUMNS, X_COLUMN)
    across, down = present(column, width, KERNEL_SIZE), present(row, height, SEEN)
    target = (
        case * y_case + (group + first) * y_channel + out_row * Y_ROW + tl.minimum(out_column, out_width - 1) * Y_COLUMN
    )
    y += target
    if argmax is not None:
        argmax += target

    # Channel `next` is on its way from memory, those of its window below it are in the stack.
    next = tl.zeros((LANES,), tl.int32) + first - BELOW
    exists = (next >= 0) & (next < GROUP)
    pending = load_pixels(columns, down, exists, SEEN, STRIDE, KERNEL_SIZE, X_ROW, EDGES)
    PIXELS: tl.constexpr = len(pending)
    stack = empty(LANES, PIXELS, SIZE - 1)
    for _ in tl.range(0, SIZE - 1, num_stages=1):
        stack = without_lowest(stack + activated(pending, shift_of(bias, group + next, exists), RELU_BEFORE), PIXELS)
        columns, next = moved(columns, x_channel), next + 1
        exists = (next >= 0) & (next < GROUP)
        pending = load_pixels(columns, down, exists, SEEN, STRIDE, KERNEL_SIZE, X_ROW, EDGES)
    for turn in tl.range(0, (channels + UNROLL - 1) // UNROLL, num_stages=1):
        for u in tl.static_range(UNROLL):
            stack = stack + activated(pending, shift_of(bias, group + next, exists), RELU_BEFORE)
            columns, next = moved(columns, x_channel), next + 1
            exists = next < GROUP
            pending = load_pixels(columns, down, exists, SEEN, STRIDE, KERNEL_SIZE, X_ROW, EDGES)
            pixels = ()
            for i in tl.static_range(PIXELS):
                value = stack[BELOW * PIXELS + i]
                if NORMALISE:
                    power, _inverse = denominators(stack, i, scale, beta, k, PIXELS, SIZE, POWER)
                    value *= power
                pixels = pixels + (value,)
            best, tap = _pooled(pixels, down, across, RELU_BEFORE, ROWS, COLUMNS, KERNEL_SIZE, STRIDE, EDGES)
            channel = turn * UNROLL + u
            mask = written & (channel < channels) & (first + channel < GROUP)
            for i in tl.static_range(ROWS):
                value = tl.maximum(best[i], 0.0, propagate_nan=tl.PropagateNan.ALL) if RELU_AFTER else best[i]
                tl.store(y + i * Y_ROW, value.to(y.dtype.element_ty), mask=mask)
                if argmax is not None:
                    tl.store(argmax + i * Y_ROW, tap[i].to(tl.uint8), mask=mask)
            y += y_channel
            if argmax is not None:
                argmax += y_channel
            stack = without_lowest(stack, PIXELS)

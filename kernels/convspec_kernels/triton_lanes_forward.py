"""The forward kernel of lanes: a walk down strips of windows; see `triton_kernels` for the design.

A lane has COLUMNS windows side by side and goes down with them, so that each pixel of the strip is read and normalised
once: of a row of pixels it keeps the largest of each window, and merges these maxima into the windows that hold the
row. Windows that a later row will finish are carried on; of 3x3 pixels at stride 2, one row of maxima.
"""

from __future__ import annotations

import triton
import triton.language as tl

from convspec_kernels.triton_device import activations, larger, powers
from convspec_kernels.triton_lanes_device import WARP, channels_of, places_of, shift_of, sum_over_window


@triton.jit
def _enter_pixel(
    best, tap, value, exists, C: tl.constexpr, TAP: tl.constexpr, KERNEL_SIZE: tl.constexpr, STRIDE: tl.constexpr,
    COLUMNS: tl.constexpr, RELU: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """Merge pixel C of a row into each window of the row that holds it; the first pixel of a window begins it."""
    values, taps = (), ()
    for t in tl.static_range(len(best)):
        if t * STRIDE + KERNEL_SIZE > C:
            place = TAP + C - t * STRIDE
            if EDGES:
                place = tl.where(exists, place, -1)[:, None]
            highest, where = larger(best[t], tap[t], value, place, RELU, EDGES)
            values, taps = values + (highest,), taps + (where,)
        else:
            values, taps = values + (best[t],), taps + (tap[t],)
    if C % STRIDE == 0 and C // STRIDE < COLUMNS:
        place = tl.zeros(value.shape, tl.int32) + TAP
        if EDGES:
            place = tl.where(exists[:, None], place, -1)
        values, taps = values + (value,), taps + (place,)
    return values, taps


@triton.jit
def _row_of_maxima(
    x, shift, present, run, column, width, row_exists, scale, beta, k,
    TAP: tl.constexpr, RELU: tl.constexpr, BELOW: tl.constexpr, ABOVE: tl.constexpr, NORMALISE: tl.constexpr,
    POWER: tl.constexpr, KERNEL_SIZE: tl.constexpr, STRIDE: tl.constexpr, COLUMNS: tl.constexpr, EDGES: tl.constexpr,
    WHOLE: tl.constexpr, RUNS: tl.constexpr, X_COLUMN: tl.constexpr,
):  # fmt: skip
    """The largest pixels of one row in each of COLUMNS windows, and their taps, of which TAP is the first.

    x points to the row's pixels at `column`, each lane's first.
    """
    best, tap = (), ()
    for c in tl.static_range((COLUMNS - 1) * STRIDE + KERNEL_SIZE):
        if c % STRIDE < KERNEL_SIZE:  # else it lies between windows
            exists = row_exists & (column + c >= 0) & (column + c < width)
            mask = None if WHOLE else present
            if EDGES:
                mask = exists[:, None] & present
            value = activations(x + c * X_COLUMN, 0, mask, shift, RELU)
            if NORMALISE:
                energy = sum_over_window(value * value, run, BELOW, ABOVE, RUNS)
                power, _ = powers(k + scale * energy, beta, POWER)
                value *= power
            if EDGES:
                value = tl.where(exists[:, None], value, float("-inf"))
            best, tap = _enter_pixel(best, tap, value, exists, c, TAP, KERNEL_SIZE, STRIDE, COLUMNS, RELU, EDGES)
    return best, tap


@triton.jit
def _enter_row(
    best, tap, x, shift, present, run, column, width, row_exists, scale, beta, k,
    ROW: tl.constexpr, RELU: tl.constexpr, BELOW: tl.constexpr, ABOVE: tl.constexpr, NORMALISE: tl.constexpr,
    POWER: tl.constexpr, KERNEL_SIZE: tl.constexpr, STRIDE: tl.constexpr, COLUMNS: tl.constexpr, EDGES: tl.constexpr,
    WHOLE: tl.constexpr, RUNS: tl.constexpr, X_COLUMN: tl.constexpr,
):  # fmt: skip
    """Merge the maxima of a row, the ROW-th of the oldest windows, into each window that holds it; the oldest are first."""
    values, taps = _row_of_maxima(
        x, shift, present, run, column, width, row_exists, scale, beta, k, ROW * KERNEL_SIZE, RELU, BELOW, ABOVE,
        NORMALISE, POWER, KERNEL_SIZE, STRIDE, COLUMNS, EDGES, WHOLE, RUNS, X_COLUMN,
    )  # fmt: skip
    merged, places = (), ()
    for age in tl.static_range(ROW // STRIDE + 1):
        for t in tl.static_range(COLUMNS):
            place = taps[t] - age * STRIDE * KERNEL_SIZE
            if age * STRIDE == ROW:
                merged, places = merged + (values[t],), places + (place,)
            else:
                highest, where = larger(best[age * COLUMNS + t], tap[age * COLUMNS + t], values[t], place, RELU, EDGES)
                merged, places = merged + (highest,), places + (where,)
    return merged, places


@triton.jit
def _without_oldest(members, COLUMNS: tl.constexpr):
    rest = ()
    for i in tl.static_range(COLUMNS, len(members)):
        rest = rest + (members[i],)
    return rest


@triton.jit
def _written(counts, owned, WHOLE: tl.constexpr, RUNS: tl.constexpr):
    """Which elements lanes write. Without lanes left over in a warp, those that do not count write what others do."""
    mask = None if WHOLE else owned
    if WARP % RUNS != 0:
        mask = counts[:, None] if WHOLE else counts[:, None] & owned
    return mask


@triton.jit
def forward_kernel(
    x,
    bias,
    y,
    argmax,
    places,
    strips,
    segments,
    rows,
    height,
    width,
    out_height,
    out_width,
    start,
    x_case,
    x_row,
    y_case,
    y_row,
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
    BORDER: tl.constexpr,
    WHOLE: tl.constexpr,
    RUNS: tl.constexpr,
    RUN: tl.constexpr,
    PER_WARP: tl.constexpr,
    X_COLUMN: tl.constexpr,
    Y_CHANNEL: tl.constexpr,
    Y_COLUMN: tl.constexpr,
    COLUMNS: tl.constexpr,
    LANES: tl.constexpr,
):
    """A place is COLUMNS windows in a row, and `rows` rows of them; argmax has y's strides.

    WHOLE: every lane holds RUN channels that exist. EDGES: some windows reach beyond the maps.
    """
    block = tl.program_id(0) % BLOCKS
    place, run, counts = places_of(tl.program_id(0) // BLOCKS, places, LANES, RUNS, PER_WARP)
    channels, present, owned = channels_of(block, run, GROUP, TILES, BORDER, RUNS, RUN)
    # The last strip and the last segment are moved back onto the map: what lies in two of them is computed twice.
    out_column = tl.minimum(place % strips * COLUMNS, out_width - COLUMNS)
    out_row = tl.minimum(place // strips % segments * rows, out_height - rows)
    case = (place // strips // segments).to(tl.int64)
    row, column = out_row * STRIDE + start, out_column * STRIDE + start
    shift = shift_of(bias, channels, present, WHOLE)
    x += (case * x_case + row.to(tl.int64) * x_row + column.to(tl.int64) * X_COLUMN)[:, None] + channels
    target = (case * y_case + out_row.to(tl.int64) * y_row + out_column.to(tl.int64) * Y_COLUMN)[:, None]
    target += channels * Y_CHANNEL

    # Of KERNEL_SIZE rows of a window, LEAD have been seen when the window above is finished.
    LEAD: tl.constexpr = KERNEL_SIZE - STRIDE if KERNEL_SIZE > STRIDE else 0
    best, tap = (), ()
    for d in tl.static_range(LEAD):
        best, tap = _enter_row(
            best, tap, x + d * x_row, shift, present, run, column, width, (row + d >= 0) & (row + d < height),
            scale, beta, k, d, RELU_BEFORE, BELOW, ABOVE, NORMALISE, POWER, KERNEL_SIZE, STRIDE, COLUMNS, EDGES, WHOLE,
            RUNS, X_COLUMN,
        )  # fmt: skip
    for _ in tl.range(0, rows):
        for d in tl.static_range(LEAD, KERNEL_SIZE):
            best, tap = _enter_row(
                best, tap, x + d * x_row, shift, present, run, column, width, (row + d >= 0) & (row + d < height),
                scale, beta, k, d, RELU_BEFORE, BELOW, ABOVE, NORMALISE, POWER, KERNEL_SIZE, STRIDE, COLUMNS, EDGES,
                WHOLE, RUNS, X_COLUMN,
            )  # fmt: skip
        for t in tl.static_range(COLUMNS):
            value = tl.maximum(best[t], 0.0, propagate_nan=tl.PropagateNan.ALL) if RELU_AFTER else best[t]
            mask = _written(counts, owned, WHOLE, RUNS)
            tl.store(y + target + t * Y_COLUMN, value.to(y.dtype.element_ty), mask=mask)
            if argmax is not None:
                tl.store(argmax + target + t * Y_COLUMN, tap[t].to(tl.uint8), mask=mask)
        best, tap = _without_oldest(best, COLUMNS), _without_oldest(tap, COLUMNS)
        row += STRIDE
        x += STRIDE * x_row
        target += y_row

"""What the kernels of planes share on the device: where a lane is, and what it holds of the channels in a window.

A lane has a block of pixels and goes up through the channels. What it holds of a channel is a tuple of (lanes,), a pixel
each, row by row; of several channels it is one tuple, the lowest channel first (a stack).
"""

from __future__ import annotations

import triton
import triton.language as tl

from convspec_kernels.triton_device import powers


@triton.jit
def without_lowest(stack, PIXELS: tl.constexpr):
    result = ()
    for i in tl.static_range(PIXELS, len(stack)):
        result = result + (stack[i],)
    return result


@triton.jit
def empty(LANES: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """A stack of channels that are full of 0."""
    stack = ()
    for _ in tl.static_range(PIXELS * CHANNELS):
        stack = stack + (tl.zeros((LANES,), tl.float32),)
    return stack


@triton.jit
def columns_of(x, column, width, COLUMNS: tl.constexpr, X_COLUMN: tl.constexpr):
    """Pointers to COLUMNS columns of the row at `x`; to the nearest one for those that are not there."""
    columns = ()
    for c in tl.static_range(COLUMNS):
        columns = columns + (x + tl.minimum(tl.maximum(column + c, 0), width - 1) * X_COLUMN,)
    return columns


@triton.jit
def present(first, length, COUNT: tl.constexpr):
    """Of COUNT rows or columns, which lie in a map of `length`."""
    result = ()
    for i in tl.static_range(COUNT):
        result = result + ((first + i >= 0) & (first + i < length),)
    return result


@triton.jit
def load_pixels(
    columns, down, exists, ROWS: tl.constexpr, STRIDE: tl.constexpr, KERNEL_SIZE: tl.constexpr, X_ROW: tl.constexpr,
    EDGES: tl.constexpr,
):  # fmt: skip
    """The pixels of a block as they lie in memory: ROWS rows, of which those between windows are left out.

    columns: pointers to the first row of each. down: which rows are there, if not all are (EDGES). exists: whether the
    channel is; else it is full of 0.
    """
    values = ()
    for r in tl.static_range(ROWS):
        if r % STRIDE < KERNEL_SIZE:
            for c in tl.static_range(len(columns)):
                mask = down[r] & exists if EDGES else exists
                values = values + (tl.load(columns[c] + r * X_ROW, mask=mask, other=0.0),)
    return values


@triton.jit
def moved(pointers, step):
    """Each pointer by `step` elements."""
    result = ()
    for i in tl.static_range(len(pointers)):
        result = result + (pointers[i] + step,)
    return result


@triton.jit
def activated(values, shift, RELU: tl.constexpr):
    """Pixels after bias and ReLU. NaN stays."""
    result = ()
    for i in tl.static_range(len(values)):
        a = values[i].to(tl.float32) + shift
        if RELU:
            a = tl.maximum(a, 0.0, propagate_nan=tl.PropagateNan.ALL)
        result = result + (a,)
    return result


@triton.jit
def shift_of(bias, channel, exists):
    """A channel's bias, 0 where there is none or no channel."""
    shift = 0.0
    if bias is not None:
        shift = tl.load(bias + channel, mask=exists, other=0.0).to(tl.float32)
    return shift


@triton.jit
def denominators(stack, i, scale, beta, k, PIXELS: tl.constexpr, SIZE: tl.constexpr, POWER: tl.constexpr):
    """d**-beta and 1/d of pixel `i`, from the SIZE channels of its window."""
    energy = stack[i] * stack[i]
    for j in tl.static_range(1, SIZE):
        energy += stack[j * PIXELS + i] * stack[j * PIXELS + i]
    return powers(k + scale * energy, beta, POWER)

"""The forward kernel of tiles, for any maps and any pool: bias, ReLU, normalisation, pool, ReLU; see `triton_kernels` for the design."""

from __future__ import annotations

import triton
import triton.language as tl

from convspec_kernels.triton_device import activations, powers
from convspec_kernels.triton_tiles_device import bias_of, channels_of, sum_over_window


@triton.jit
def forward_kernel(
    x,
    bias,
    y,
    argmax,
    pixels,
    height,
    width,
    out_height,
    out_width,
    start,
    x_case,
    x_channel,
    x_row,
    x_column,
    y_case,
    y_channel,
    y_row,
    y_column,
    scale,
    beta,
    k,
    RELU_BEFORE: tl.constexpr,
    RELU_AFTER: tl.constexpr,
    BELOW: tl.constexpr,
    ABOVE: tl.constexpr,
    UNROLL: tl.constexpr,
    NORMALISE: tl.constexpr,
    POWER: tl.constexpr,
    KERNEL_SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCKS: tl.constexpr,
    TILES: tl.constexpr,
    BORDER: tl.constexpr,
    CHANNEL_AXIS: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """One tile of pooled pixels. `pixels` counts them through all maps; argmax has y's strides."""
    INDEX: tl.constexpr = tl.int64 if WIDE else tl.int32
    program = tl.program_id(0)
    channels, present, owned = channels_of(program % BLOCKS, GROUP, TILES, BORDER, BLOCK_CHANNELS)
    pixel = (program // BLOCKS).to(INDEX) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    exists = pixel < pixels
    column = pixel % out_width
    row = pixel // out_width % out_height
    case = pixel // out_width // out_height

    PIXEL_AXIS: tl.constexpr = 1 - CHANNEL_AXIS
    here = tl.expand_dims(present, PIXEL_AXIS)
    shift = tl.expand_dims(bias_of(bias, channels, present), PIXEL_AXIS)
    x_channels = tl.expand_dims(channels.to(INDEX) * x_channel, PIXEL_AXIS)

    top, left = row * STRIDE + start, column * STRIDE + start
    best = tl.expand_dims(tl.zeros((BLOCK_PIXELS,), tl.float32), CHANNEL_AXIS) + tl.zeros_like(shift) - float("inf")
    winner = tl.zeros_like(best).to(tl.int32) - 1
    for tap in tl.range(0, KERNEL_SIZE * KERNEL_SIZE):
        i, j = top + tap // KERNEL_SIZE, left + tap % KERNEL_SIZE
        inside = exists & (i >= 0) & (i < height) & (j >= 0) & (j < width)
        offsets = case * x_case + i * x_row + j * x_column
        seen = tl.expand_dims(inside, CHANNEL_AXIS) & here
        value = activations(x, tl.expand_dims(offsets, CHANNEL_AXIS) + x_channels, seen, shift, RELU_BEFORE)
        if NORMALISE:
            energy = sum_over_window(value * value, BELOW, ABOVE, UNROLL, CHANNEL_AXIS)
            power, _ = powers(k + scale * energy, beta, POWER)
            value *= power
        # As torch: the first of equal pixels, and NaN before all.
        better = seen & ((value > best) | (value != value) | (winner < 0))
        best = tl.where(better, value, best)
        winner = tl.where(better, tap, winner)

    if RELU_AFTER:
        best = tl.maximum(best, 0.0, propagate_nan=tl.PropagateNan.ALL)
    offsets = case * y_case + row * y_row + column * y_column
    offsets = tl.expand_dims(offsets, CHANNEL_AXIS) + tl.expand_dims(channels.to(INDEX) * y_channel, PIXEL_AXIS)
    written = tl.expand_dims(exists, CHANNEL_AXIS) & tl.expand_dims(owned, PIXEL_AXIS)
    tl.store(y + offsets, best.to(y.dtype.element_ty), mask=written)
    if argmax is not None:
        tl.store(argmax + offsets, winner.to(tl.uint8), mask=written)

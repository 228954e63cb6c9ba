"""The backward kernel of tiles, for any maps and any pool: a gather from the windows, and the gradient of the normalisation; see `triton_kernels`."""

from __future__ import annotations

import triton
import triton.language as tl

from convspec_kernels.triton_device import activations, powers
from convspec_kernels.triton_tiles_device import bias_of, channels_of, sum_over_window


@triton.jit
def _gradient_of_window(
    nearest,
    grad_y,
    argmax,
    case,
    i,
    j,
    exists,
    owned,
    out_height,
    out_width,
    g_case,
    g_channels,
    g_row,
    g_column,
    m_case,
    m_channels,
    m_row,
    m_column,
    KERNEL_SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    CHANNEL_AXIS: tl.constexpr,
):
    """What pixels (i, j), counted from the first window's first pixel, won in the window `nearest` steps up and left.

    `nearest` counts the windows that may hold a pixel in row-major order, from the last.
    """
    REACH: tl.constexpr = (KERNEL_SIZE + STRIDE - 1) // STRIDE
    row = i // STRIDE - nearest // REACH
    column = j // STRIDE - nearest % REACH
    down, right = i - row * STRIDE, j - column * STRIDE
    holds = (row >= 0) & (row < out_height) & (down >= 0) & (down < KERNEL_SIZE)
    holds &= (column >= 0) & (column < out_width) & (right >= 0) & (right < KERNEL_SIZE)
    mask = tl.expand_dims(exists & holds, CHANNEL_AXIS) & owned
    offsets = tl.expand_dims(case * g_case + row * g_row + column * g_column, CHANNEL_AXIS) + g_channels
    gradient = tl.load(grad_y + offsets, mask=mask, other=0.0).to(tl.float32)
    if argmax is not None:
        offsets = tl.expand_dims(case * m_case + row * m_row + column * m_column, CHANNEL_AXIS) + m_channels
        winner = tl.load(argmax + offsets, mask=mask, other=0).to(tl.int32)
        tap = tl.expand_dims(down * KERNEL_SIZE + right, CHANNEL_AXIS)
        gradient = tl.where(winner == tap, gradient, 0.0)
    return gradient


@triton.jit
def backward_kernel(
    grad_y,
    x,
    bias,
    argmax,
    grad_x,
    grad_bias,
    pixels,
    channel_count,
    height,
    width,
    out_height,
    out_width,
    start,
    x_case,
    x_channel,
    x_row,
    x_column,
    g_case,
    g_channel,
    g_row,
    g_column,
    m_case,
    m_channel,
    m_row,
    m_column,
    d_case,
    d_channel,
    d_row,
    d_column,
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
    UNROLL_WINDOWS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCKS: tl.constexpr,
    TILES: tl.constexpr,
    BORDER: tl.constexpr,
    CHANNEL_AXIS: tl.constexpr,
    WIDE: tl.constexpr,
    ROUNDS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """ROUNDS tiles of input pixels. Strides: x_ of x, g_ of grad_y, m_ of argmax, d_ of grad_x.

    grad_bias, if there is one, is (programs along the pixels, C): row p holds program p's sum.
    """
    REACH: tl.constexpr = (KERNEL_SIZE + STRIDE - 1) // STRIDE
    PIXEL_AXIS: tl.constexpr = 1 - CHANNEL_AXIS
    INDEX: tl.constexpr = tl.int64 if WIDE else tl.int32
    program = tl.program_id(0)
    channels, present, owned = channels_of(program % BLOCKS, GROUP, TILES, BORDER, BLOCK_CHANNELS)
    part = (program // BLOCKS).to(INDEX)
    here = tl.expand_dims(present, PIXEL_AXIS)
    shift = tl.expand_dims(bias_of(bias, channels, present), PIXEL_AXIS)
    wide_channels = tl.expand_dims(channels.to(INDEX), PIXEL_AXIS)
    total = tl.expand_dims(tl.zeros((BLOCK_PIXELS,), tl.float32), CHANNEL_AXIS) + tl.zeros_like(shift)

    for turn in tl.range(0, ROUNDS):
        pixel = (part * ROUNDS + turn) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
        exists = pixel < pixels
        column = pixel % width
        row = pixel // width % height
        case = pixel // width // height

        gradient = tl.zeros_like(total)
        if UNROLL_WINDOWS:
            for nearest in tl.static_range(0, REACH * REACH):
                gradient += _gradient_of_window(
                    nearest, grad_y, argmax, case, row - start, column - start, exists, here, out_height, out_width,
                    g_case, wide_channels * g_channel, g_row, g_column, m_case, wide_channels * m_channel, m_row, m_column,
                    KERNEL_SIZE, STRIDE, CHANNEL_AXIS,
                )  # fmt: skip
        else:
            for nearest in tl.range(0, REACH * REACH):
                gradient += _gradient_of_window(
                    nearest, grad_y, argmax, case, row - start, column - start, exists, here, out_height, out_width,
                    g_case, wide_channels * g_channel, g_row, g_column, m_case, wide_channels * m_channel, m_row, m_column,
                    KERNEL_SIZE, STRIDE, CHANNEL_AXIS,
                )  # fmt: skip

        seen = tl.expand_dims(exists, CHANNEL_AXIS) & here
        offsets = tl.expand_dims(case * x_case + row * x_row + column * x_column, CHANNEL_AXIS)
        a = activations(x, offsets + wide_channels * x_channel, seen, shift, RELU_BEFORE)
        if RELU_AFTER:
            gradient = tl.where(a <= 0.0, 0.0, gradient)
        if NORMALISE:
            energy = sum_over_window(a * a, BELOW, ABOVE, UNROLL, CHANNEL_AXIS)
            power, inverse = powers(k + scale * energy, beta, POWER)
            gradient *= power
            # Lanes that hold no channel have no energy: with k=0 they would be 0 * infinity.
            spread = tl.where(seen, gradient * (a * inverse), 0.0)
            spread = sum_over_window(spread, ABOVE, BELOW, UNROLL, CHANNEL_AXIS)
            gradient -= 2.0 * scale * beta * a * spread
        if RELU_BEFORE:
            gradient = tl.where(a <= 0.0, 0.0, gradient)

        written = tl.expand_dims(exists, CHANNEL_AXIS) & tl.expand_dims(owned, PIXEL_AXIS)
        offsets = tl.expand_dims(case * d_case + row * d_row + column * d_column, CHANNEL_AXIS)
        tl.store(grad_x + offsets + wide_channels * d_channel, gradient.to(grad_x.dtype.element_ty), mask=written)
        if grad_bias is not None:
            total += tl.where(written, gradient, 0.0)

    if grad_bias is not None:
        sums = tl.sum(total, axis=PIXEL_AXIS)
        tl.store(grad_bias + part * channel_count + channels, sums, mask=owned)

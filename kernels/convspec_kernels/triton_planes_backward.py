"""The backward kernel of planes: what pixels won in their windows, and the gradient of the normalisation, up through the
channels of NCHW maps; see `triton_kernels` for the design.

A lane has ROWS blocks of STRIDE x STRIDE pixels below one another, so that which windows hold a pixel, and as which tap, is
known when the kernel is compiled. The gradient of a channel needs what was won in the channels of its window, and these the
squares in theirs: what is written lies twice a window behind what is read.
"""

from __future__ import annotations

import triton
import triton.language as tl

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
def _load_windows(
    pointer, down, across, exists, other, REACH: tl.constexpr, ROW: tl.constexpr, COLUMN: tl.constexpr,
):  # fmt: skip
    """Of each window that holds pixels of the blocks what `pointer` has, in row-major order; REACH-1 rows and columns lie
    before the first block's own. down, across: which are there; `other` stands for the rest."""
    values = ()
    for i in tl.static_range(len(down)):
        for j in tl.static_range(REACH):
            at = pointer + ((i - REACH + 1) * ROW + (j - REACH + 1) * COLUMN)
            values = values + (tl.load(at, mask=down[i] & across[j] & exists, other=other),)
    return values


@triton.jit
def _won(
    gradients, winners, P: tl.constexpr, C: tl.constexpr, KERNEL_SIZE: tl.constexpr, STRIDE: tl.constexpr,
    REACH: tl.constexpr,
):  # fmt: skip
    """The gradient of pixel P down and C across from the first of the blocks, summed from its last window to its first."""
    total = tl.zeros(gradients[0].shape, tl.float32)
    for up in tl.static_range(REACH):
        for left in tl.static_range(REACH):
            if P % STRIDE + up * STRIDE < KERNEL_SIZE and C + left * STRIDE < KERNEL_SIZE:
                gradient = gradients[(P // STRIDE + REACH - 1 - up) * REACH + REACH - 1 - left].to(tl.float32)
                if len(winners) > 0:
                    winner = winners[(P // STRIDE + REACH - 1 - up) * REACH + REACH - 1 - left].to(tl.int32)
                    tap = (P % STRIDE + up * STRIDE) * KERNEL_SIZE + C + left * STRIDE
                    gradient = tl.where(winner == tap, gradient, 0.0)
                total += gradient
    return total


@triton.jit
def _spread(
    grad_y, winner, windows_down, windows_across, stack, exists, scale, beta, k,
    POOLED: tl.constexpr, RELU_AFTER: tl.constexpr, BELOW: tl.constexpr, SIZE: tl.constexpr, POWER: tl.constexpr,
    NORMALISE: tl.constexpr, GUARD: tl.constexpr, ROWS: tl.constexpr, KERNEL_SIZE: tl.constexpr, STRIDE: tl.constexpr,
    REACH: tl.constexpr, G_ROW: tl.constexpr, G_COLUMN: tl.constexpr, M_ROW: tl.constexpr, M_COLUMN: tl.constexpr,
):  # fmt: skip
    """Of the pixels of a channel what they won times d**-beta, and that times a/d, which goes to all in the window."""
    PIXELS: tl.constexpr = ROWS * STRIDE * STRIDE
    gradients = _load_windows(grad_y, windows_down, windows_across, exists, 0.0, REACH, G_ROW, G_COLUMN)
    winners = ()
    if POOLED:
        winners = _load_windows(winner, windows_down, windows_across, exists, 0, REACH, M_ROW, M_COLUMN)
    scaled, spread = (), ()
    for i in tl.static_range(PIXELS):
        gradient = _won(gradients, winners, i // STRIDE, i % STRIDE, KERNEL_SIZE, STRIDE, REACH)
        if NORMALISE:
            a = stack[BELOW * PIXELS + i]
            gradient = tl.where(a <= 0.0, 0.0, gradient) if RELU_AFTER else gradient
            power, inverse = denominators(stack, i, scale, beta, k, PIXELS, SIZE, POWER)
            gradient *= power
            share = gradient * (a * inverse)
            if GUARD:  # with k=0, a channel that is not there would be 0 * infinity
                share = tl.where(exists, share, 0.0)
            spread = spread + (share,)
        scaled = scaled + (gradient,)
    return scaled, spread


@triton.jit
def _gradients(
    stack, scaled, spread, scale, beta, RELU: tl.constexpr, NORMALISE: tl.constexpr, PIXELS: tl.constexpr,
    SIZE: tl.constexpr,
):  # fmt: skip
    """The gradient of the lowest channel of the stacks."""
    result = ()
    for i in tl.static_range(PIXELS):
        a, gradient = stack[i], scaled[i]
        if NORMALISE:
            shares = spread[i]
            for j in tl.static_range(1, SIZE):
                shares += spread[j * PIXELS + i]
            gradient -= (2.0 * scale * beta) * a * shares
        if RELU:
            gradient = tl.where(a <= 0.0, 0.0, gradient)
        result = result + (gradient,)
    return result


@triton.jit
def _store(
    grad_x, gradients, written, down, across, STRIDE: tl.constexpr, GUARD: tl.constexpr, D_ROW: tl.constexpr,
    D_COLUMN: tl.constexpr,
):  # fmt: skip
    """Write the pixels of a channel that are there, and give their sum."""
    total = tl.zeros(written.shape, tl.float32)
    for i in tl.static_range(len(gradients)):
        mask = written & down[i // STRIDE] & across[i % STRIDE]
        at = grad_x + (i // STRIDE * D_ROW + i % STRIDE * D_COLUMN)
        tl.store(at, gradients[i].to(grad_x.dtype.element_ty), mask=mask)
        # Where there is no pixel nothing was won, and there is no gradient.
        total += tl.where(mask, gradients[i], 0.0) if GUARD else gradients[i]
    return total


@triton.jit
def backward_kernel(
    grad_y,
    x,
    bias,
    argmax,
    grad_x,
    grad_bias,
    channel_count,
    places,
    strips,
    segments,
    channels,
    height,
    width,
    out_height,
    out_width,
    first_block,
    start,
    x_case,
    x_channel,
    g_case,
    g_channel,
    m_case,
    m_channel,
    d_case,
    d_channel,
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
    GUARD: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCKS: tl.constexpr,
    TILES: tl.constexpr,
    X_ROW: tl.constexpr,
    X_COLUMN: tl.constexpr,
    G_ROW: tl.constexpr,
    G_COLUMN: tl.constexpr,
    M_ROW: tl.constexpr,
    M_COLUMN: tl.constexpr,
    D_ROW: tl.constexpr,
    D_COLUMN: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """A place is ROWS blocks below one another; `strips` are in a row and `segments` below one another. A program goes
    through `channels` channels. Strides: x_ of x, g_ of grad_y, m_ of argmax, d_ of grad_x. Block b begins at pixel
    b * STRIDE + start; the first one that has a pixel of the maps is `first_block`.

    grad_bias, if there is one, is (programs of a tile of channels, C) of partial sums.
    GUARD: pixels that are not there might give denominators of 0.
    """
    SIZE: tl.constexpr = BELOW + 1 + ABOVE
    REACH: tl.constexpr = (KERNEL_SIZE + STRIDE - 1) // STRIDE
    PIXELS: tl.constexpr = ROWS * STRIDE * STRIDE
    RELU: tl.constexpr = RELU_BEFORE or (RELU_AFTER and not NORMALISE)
    part, block = tl.program_id(0) // BLOCKS, tl.program_id(0) % BLOCKS
    place = part * LANES + tl.arange(0, LANES)
    counts = place < places
    place = tl.minimum(place, places - 1)
    window_column = place % strips + first_block
    window_row = place // strips % segments * ROWS + first_block
    case = (place // strips // segments).to(tl.int64)
    row, column = window_row * STRIDE + start, window_column * STRIDE + start
    first, group = block % TILES * channels, block // TILES * GROUP

    # The channel that is read next, the one whose windows are, and the one that is written.
    next = tl.zeros((LANES,), tl.int32) + first - (SIZE - 1)
    centre, channel = next - ABOVE, first
    x += case * x_case + (group + next).to(tl.int64) * x_channel + row.to(tl.int64) * X_ROW
    columns = columns_of(x, column, width, STRIDE, X_COLUMN)
    down, across = present(row, height, ROWS * STRIDE), present(column, width, STRIDE)
    windows_across = present(window_column - (REACH - 1), out_width, REACH)
    windows_down = present(window_row - (REACH - 1), out_height, ROWS + REACH - 1)
    far_channel, far_row = (group + centre).to(tl.int64), window_row.to(tl.int64)
    winner = grad_y
    if argmax is not None:
        winner = argmax + (case * m_case + far_channel * m_channel + far_row * M_ROW + window_column * M_COLUMN)
    grad_y += case * g_case + far_channel * g_channel + far_row * G_ROW + window_column * G_COLUMN
    grad_x += case * d_case + (group + first).to(tl.int64) * d_channel + row.to(tl.int64) * D_ROW + column * D_COLUMN

    stack, spread, scaled = empty(LANES, PIXELS, SIZE - 1), empty(LANES, PIXELS, SIZE - 1), empty(LANES, PIXELS, BELOW)
    for _ in tl.range(0, SIZE - 1, num_stages=1):
        exists = (next >= 0) & (next < GROUP)
        pixels = load_pixels(columns, down, exists, ROWS * STRIDE, STRIDE, STRIDE, X_ROW, True)
        stack = without_lowest(stack + activated(pixels, shift_of(bias, group + next, exists), RELU_BEFORE), PIXELS)
        columns, next, centre = moved(columns, x_channel), next + 1, centre + 1
        grad_y, winner = grad_y + g_channel, winner + m_channel
    for _ in tl.range(0, SIZE - 1, num_stages=1):
        exists = (next >= 0) & (next < GROUP)
        pixels = load_pixels(columns, down, exists, ROWS * STRIDE, STRIDE, STRIDE, X_ROW, True)
        stack = stack + activated(pixels, shift_of(bias, group + next, exists), RELU_BEFORE)
        new_scaled, new_spread = _spread(
            grad_y, winner, windows_down, windows_across, stack, counts & (centre >= 0) & (centre < GROUP), scale, beta, k,
            argmax is not None, RELU_AFTER, BELOW, SIZE, POWER, NORMALISE, GUARD, ROWS, KERNEL_SIZE, STRIDE, REACH, G_ROW,
            G_COLUMN, M_ROW, M_COLUMN,
        )  # fmt: skip
        stack = without_lowest(stack, PIXELS)
        scaled, spread = without_lowest(scaled + new_scaled, PIXELS), without_lowest(spread + new_spread, PIXELS)
        columns, next, centre = moved(columns, x_channel), next + 1, centre + 1
        grad_y, winner = grad_y + g_channel, winner + m_channel
    for turn in tl.range(0, (channels + UNROLL - 1) // UNROLL, num_stages=1):
        for u in tl.static_range(UNROLL):
            exists = (next >= 0) & (next < GROUP)
            pixels = load_pixels(columns, down, exists, ROWS * STRIDE, STRIDE, STRIDE, X_ROW, True)
            stack = stack + activated(pixels, shift_of(bias, group + next, exists), RELU_BEFORE)
            new_scaled, new_spread = _spread(
                grad_y, winner, windows_down, windows_across, stack, counts & (centre >= 0) & (centre < GROUP), scale, beta,
                k, argmax is not None, RELU_AFTER, BELOW, SIZE, POWER, NORMALISE, GUARD, ROWS, KERNEL_SIZE, STRIDE, REACH,
                G_ROW, G_COLUMN, M_ROW, M_COLUMN,
            )  # fmt: skip
            scaled, spread = scaled + new_scaled, spread + new_spread
            gradients = _gradients(stack, scaled, spread, scale, beta, RELU, NORMALISE, PIXELS, SIZE)
            owned = (turn * UNROLL + u < channels) & (channel < GROUP)
            total = _store(grad_x, gradients, counts & owned, down, across, STRIDE, GUARD, D_ROW, D_COLUMN)
            if grad_bias is not None:
                at = grad_bias + part.to(tl.int64) * channel_count + group + channel
                tl.store(at, tl.sum(total, axis=0), mask=owned)
            stack, scaled = without_lowest(stack, PIXELS), without_lowest(scaled, PIXELS)
            spread = without_lowest(spread, PIXELS)
            columns, next, centre, channel = moved(columns, x_channel), next + 1, centre + 1, channel + 1
            grad_x, grad_y, winner = grad_x + d_channel, grad_y + g_channel, winner + m_channel

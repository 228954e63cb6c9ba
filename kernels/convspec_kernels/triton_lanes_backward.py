"""The backward kernel of lanes: what pixels won in their windows, and the gradient of the normalisation; see
`triton_kernels`.

A lane has blocks of STRIDE x STRIDE pixels, so that which windows hold a pixel, and as which tap, is known when the
kernel is compiled: of 3x3 pixels at stride 2 nine comparisons for four pixels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from convspec_kernels.triton_device import activations, powers
from convspec_kernels.triton_lanes_device import WARP, channels_of, places_of, shift_of, sum_over_window


@triton.jit
def _windows(
    grad_y, argmax, row, column, counts, present, out_height, out_width, g_row, m_row,
    REACH: tl.constexpr, COLUMNS: tl.constexpr, G_COLUMN: tl.constexpr, M_COLUMN: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Gradients and winners of the windows that hold pixels of the blocks at (row, column), in row-major order, from
    REACH-1 rows and columns before them. Windows that do not exist have no gradient."""
    gradients, winners = (), ()
    for up in tl.static_range(REACH - 1, -1, -1):
        for c in tl.static_range(1 - REACH, COLUMNS):
            exists = counts & (row >= up) & (row < out_height + up) & (column + c >= 0) & (column + c < out_width)
            mask = exists[:, None] if WHOLE else exists[:, None] & present
            gradient = tl.load(grad_y - up * g_row + c * G_COLUMN, mask=mask, other=0.0).to(tl.float32)
            gradients = gradients + (gradient,)
            if argmax is not None:
                winner = tl.load(argmax - up * m_row + c * M_COLUMN, mask=mask, other=0).to(tl.int32)
                winners = winners + (winner,)
    return gradients, winners


@triton.jit
def _won(
    gradients, winners, P: tl.constexpr, C: tl.constexpr, KERNEL_SIZE: tl.constexpr, STRIDE: tl.constexpr,
    REACH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient of pixel P down and C across from the first of the blocks, summed from its last window to its first."""
    total = tl.zeros(gradients[0].shape, tl.float32)
    for up in tl.static_range(REACH):
        for left in tl.static_range(REACH):
            if P + up * STRIDE < KERNEL_SIZE and C % STRIDE + left * STRIDE < KERNEL_SIZE:
                # Window (REACH-1-up, C//STRIDE + REACH-1-left) of those that were loaded.
                gradient = gradients[(REACH - 1 - up) * (COLUMNS + REACH - 1) + C // STRIDE + REACH - 1 - left]
                if len(winners) > 0:
                    winner = winners[(REACH - 1 - up) * (COLUMNS + REACH - 1) + C // STRIDE + REACH - 1 - left]
                    tap = (P + up * STRIDE) * KERNEL_SIZE + C % STRIDE + left * STRIDE
                    gradient = tl.where(winner == tap, gradient, 0.0)
                total += gradient
    return total


@triton.jit
def _normalised_gradient(
    gradient, a, present, run, scale, beta, k,
    BELOW: tl.constexpr, ABOVE: tl.constexpr, POWER: tl.constexpr, WHOLE: tl.constexpr, RUNS: tl.constexpr,
):  # fmt: skip
    """The gradient of the activations `a`, from that of what they are normalised to."""
    power, inverse = powers(k + scale * sum_over_window(a * a, run, BELOW, ABOVE, RUNS), beta, POWER)
    gradient *= power
    spread = gradient * (a * inverse)
    if not WHOLE:
        # With k=0, channels that are not there would be 0 * infinity.
        spread = tl.where(present, spread, 0.0)
    return gradient - (2.0 * scale * beta) * a * sum_over_window(spread, run, ABOVE, BELOW, RUNS)


@triton.jit
def _store_sums(
    grad_bias, total, part, block, channel_count,
    GROUP: tl.constexpr, TILES: tl.constexpr, BORDER: tl.constexpr, RUNS: tl.constexpr, RUN: tl.constexpr,
    PER_WARP: tl.constexpr,
):  # fmt: skip
    """Sum over the warps, in which lanes at the same place have the same channels, and write a row for each place."""
    total = tl.sum(tl.reshape(total, (total.shape[0] // WARP, WARP, RUN)), axis=0)
    lane = tl.arange(0, WARP)
    channels, _, owned = channels_of(block, lane % RUNS, GROUP, TILES, BORDER, RUNS, RUN)
    at = (part * PER_WARP + lane // RUNS).to(tl.int64)[:, None] * channel_count + channels
    tl.store(grad_bias + at, total, mask=owned & (lane // RUNS < PER_WARP)[:, None])


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
    rows,
    height,
    width,
    out_height,
    out_width,
    first_block,
    start,
    x_case,
    x_row,
    g_case,
    g_row,
    m_case,
    m_row,
    d_case,
    d_row,
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
    BORDER: tl.constexpr,
    WHOLE: tl.constexpr,
    RUNS: tl.constexpr,
    RUN: tl.constexpr,
    PER_WARP: tl.constexpr,
    X_COLUMN: tl.constexpr,
    G_CHANNEL: tl.constexpr,
    G_COLUMN: tl.constexpr,
    M_CHANNEL: tl.constexpr,
    M_COLUMN: tl.constexpr,
    D_CHANNEL: tl.constexpr,
    D_COLUMN: tl.constexpr,
    COLUMNS: tl.constexpr,
    LANES: tl.constexpr,
):
    """A place is COLUMNS blocks in a row, and `rows` rows of them. Strides: x_ of x, g_ of grad_y, m_ of argmax, d_ of
    grad_x. Block b begins at pixel b * STRIDE + start; the first one that has a pixel of the maps is `first_block`.

    grad_bias, if there is one, is (PER_WARP times the programs of a tile of channels, C) of partial sums.
    GUARD: pixels that are not there might give denominators of 0.
    """
    REACH: tl.constexpr = (KERNEL_SIZE + STRIDE - 1) // STRIDE
    block = tl.program_id(0) % BLOCKS
    place, run, counts = places_of(tl.program_id(0) // BLOCKS, places, LANES, RUNS, PER_WARP)
    channels, present, owned = channels_of(block, run, GROUP, TILES, BORDER, RUNS, RUN)
    window_column = place % strips * COLUMNS + first_block
    window_row = place // strips % segments * rows + first_block
    case = (place // strips // segments).to(tl.int64)
    row, column = window_row * STRIDE + start, window_column * STRIDE + start
    shift = shift_of(bias, channels, present, WHOLE)
    total = tl.zeros((LANES, RUN), tl.float32)

    far_row, far_column = row.to(tl.int64), column.to(tl.int64)
    x += (case * x_case + far_row * x_row + far_column * X_COLUMN)[:, None] + channels
    grad_x += (case * d_case + far_row * d_row + far_column * D_COLUMN)[:, None] + channels * D_CHANNEL
    far_row, far_column = window_row.to(tl.int64), window_column.to(tl.int64)
    grad_y += (case * g_case + far_row * g_row + far_column * G_COLUMN)[:, None] + channels.to(tl.int64) * G_CHANNEL
    if argmax is not None:
        argmax += (case * m_case + far_row * m_row + far_column * M_COLUMN)[:, None] + channels * M_CHANNEL

    for _ in tl.range(0, rows):
        gradients, winners = _windows(
            grad_y, argmax, window_row, window_column, counts, present, out_height, out_width, g_row, m_row,
            REACH, COLUMNS, G_COLUMN, M_COLUMN, WHOLE,
        )  # fmt: skip
        for p in tl.static_range(STRIDE):
            for c in tl.static_range(COLUMNS * STRIDE):
                exists = counts & (row + p >= 0) & (row + p < height) & (column + c >= 0) & (column + c < width)
                seen = exists[:, None] if WHOLE else exists[:, None] & present
                a = activations(x + p * x_row + c * X_COLUMN, 0, seen, shift, RELU_BEFORE)
                gradient = _won(gradients, winners, p, c, KERNEL_SIZE, STRIDE, REACH, COLUMNS)
                if NORMALISE:
                    gradient = tl.where(a <= 0.0, 0.0, gradient) if RELU_AFTER else gradient
                    gradient = _normalised_gradient(
                        gradient, a, present, run, scale, beta, k, BELOW, ABOVE, POWER, WHOLE, RUNS
                    )
                if RELU_BEFORE or (RELU_AFTER and not NORMALISE):
                    gradient = tl.where(a <= 0.0, 0.0, gradient)
                written = seen if WHOLE else exists[:, None] & owned
                at = grad_x + p * d_row + c * D_COLUMN
                tl.store(at, gradient.to(grad_x.dtype.element_ty), mask=written)
                if grad_bias is not None:
                    # Where there is no pixel nothing was won, and there is no gradient.
                    total += tl.where(written, gradient, 0.0) if GUARD else gradient
        row += STRIDE
        window_row += 1
        x += STRIDE * x_row
        grad_x += STRIDE * d_row
        grad_y += g_row
        if argmax is not None:
            argmax += m_row

    if grad_bias is not None:
        _store_sums(
            grad_bias,
            total,
            tl.program_id(0) // BLOCKS,
            block,
            channel_count,
            GROUP,
            TILES,
            BORDER,
            RUNS,
            RUN,
            PER_WARP,
        )

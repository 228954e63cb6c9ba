"""What the kernels of tiles share on the device: channels of a tile, their bias, sums over windows of channels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sum_over_window(values, BELOW: tl.constexpr, ABOVE: tl.constexpr, UNROLL: tl.constexpr, CHANNEL_AXIS: tl.constexpr):
    """Sum of `values` over lanes [f - BELOW, f + ABOVE] for each lane f of the channel axis; nothing lies outside."""
    total = values
    if UNROLL:
        for step in tl.static_range(1, BELOW + 1):
            total += _neighbour(values, -step, CHANNEL_AXIS)
        for step in tl.static_range(1, ABOVE + 1):
            total += _neighbour(values, step, CHANNEL_AXIS)
    else:
        for step in tl.range(1, BELOW + 1):
            total += _neighbour(values, -step, CHANNEL_AXIS)
        for step in tl.range(1, ABOVE + 1):
            total += _neighbour(values, step, CHANNEL_AXIS)
    return total


@triton.jit
def _neighbour(values, step, AXIS: tl.constexpr):
    """`values` at lane f + `step` of the axis for each lane f, 0 where there is no such lane."""
    last: tl.constexpr = values.shape[AXIS] - 1
    at = tl.expand_dims(tl.arange(0, last + 1), 1 - AXIS) + step
    inside = (at >= 0) & (at <= last)
    at = tl.minimum(tl.maximum(at, 0), last)
    return tl.where(inside, tl.gather(values, tl.broadcast_to(at, values.shape), AXIS), 0.0)


@triton.jit
def channels_of(block, GROUP: tl.constexpr, TILES: tl.constexpr, BORDER: tl.constexpr, BLOCK: tl.constexpr):
    """Of tile `block`: its channels, which of them belong to its group, and which are its own to write."""
    lanes = tl.arange(0, BLOCK)
    within = (block % TILES) * (BLOCK - 2 * BORDER) - BORDER + lanes
    present = (within >= 0) & (within < GROUP)
    owned = present & (lanes >= BORDER) & (lanes < BLOCK - BORDER)
    return (block // TILES) * GROUP + within, present, owned


@triton.jit
def bias_of(bias, channels, present):
    if bias is None:
        value = tl.zeros(channels.shape, tl.float32)
    else:
        value = tl.load(bias + channels, mask=present, other=0.0).to(tl.float32)
    return value

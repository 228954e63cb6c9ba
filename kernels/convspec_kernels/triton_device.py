"""What the Triton kernels share on the device: tiles of channels, activations, windows over channels, powers."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sum_over_window(
    values,
    BELOW: tl.constexpr,
    ABOVE: tl.constexpr,
    RUN: tl.constexpr,
    UNROLL: tl.constexpr,
    CHANNEL_AXIS: tl.constexpr,
):
    """Sum of `values` over lanes [f - BELOW, f + ABOVE] for each lane f of the channel axis; nothing lies outside.

    Where RUN is 4 or 8, a thread holds that many channels side by side, no window reaches beyond the next run, and
    only the ends of runs travel between threads. Where it is 1, every neighbour of every lane does.
    """
    if RUN > 1:
        total = _sum_over_runs(values, BELOW, ABOVE, RUN)
    else:
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
def _sum_over_runs(values, BELOW: tl.constexpr, ABOVE: tl.constexpr, RUN: tl.constexpr):
    """As `sum_over_window` for tiles of pixels times channels, in runs of RUN channels."""
    runs = _unzip(values, RUN)
    before, after = runs, runs
    if BELOW > 0:
        before = _shifted(runs, RUN - BELOW, RUN, -1, RUN)
    if ABOVE > 0:
        after = _shifted(runs, 0, ABOVE, 1, RUN)
    sums = ()
    for i in tl.static_range(RUN):
        total = runs[i]
        for step in tl.static_range(1, BELOW + 1):
            total += runs[i - step] if i >= step else before[i - step + RUN]
        for step in tl.static_range(1, ABOVE + 1):
            total += runs[i + step] if i + step < RUN else after[i + step - RUN]
        sums = sums + (total,)  # noqa: RUF005 - Triton has no unpacking in tuples
    return _zip(sums, values.shape[0], values.shape[1], RUN)


@triton.jit
def _shifted(runs, FIRST: tl.constexpr, LAST: tl.constexpr, step, RUN: tl.constexpr):
    """Members [FIRST, LAST) of each run, as they are `step` runs further on."""
    shifted = ()
    for i in tl.static_range(RUN):
        member = _neighbour(runs[i], step, 1) if i >= FIRST and i < LAST else runs[i]
        shifted = shifted + (member,)  # noqa: RUF005
    return shifted


@triton.jit
def _unzip(values, RUN: tl.constexpr):
    """(pixels, channels) to RUN times (pixels, channels/RUN): member i holds channels i, i + RUN, i + 2*RUN..."""
    tl.static_assert(RUN == 4 or RUN == 8)
    PIXELS: tl.constexpr = values.shape[0]
    RUNS: tl.constexpr = values.shape[1] // RUN
    if RUN == 4:
        even, odd = tl.split(tl.reshape(values, (PIXELS, RUNS, 2, 2)))
        a, c = tl.split(even)
        b, d = tl.split(odd)
        runs = (a, b, c, d)
    else:
        even, odd = tl.split(tl.reshape(values, (PIXELS, RUNS, 2, 2, 2)))
        ae, cg = tl.split(even)
        bf, dh = tl.split(odd)
        a, e = tl.split(ae)
        b, f = tl.split(bf)
        c, g = tl.split(cg)
        d, h = tl.split(dh)
        runs = (a, b, c, d, e, f, g, h)
    return runs


@triton.jit
def _zip(runs, PIXELS: tl.constexpr, CHANNELS: tl.constexpr, RUN: tl.constexpr):
    """The inverse of `_unzip`."""
    if RUN == 4:
        even, odd = tl.join(runs[0], runs[2]), tl.join(runs[1], runs[3])
    else:
        ae, bf = tl.join(runs[0], runs[4]), tl.join(runs[1], runs[5])
        cg, dh = tl.join(runs[2], runs[6]), tl.join(runs[3], runs[7])
        even, odd = tl.join(ae, cg), tl.join(bf, dh)
    return tl.reshape(tl.join(even, odd), (PIXELS, CHANNELS))


@triton.jit
def powers(d, beta, POWER: tl.constexpr):
    """d**-beta and d**(-beta-1). POWER is beta where a root gives it, else 0."""
    if POWER == 0.75:
        root = tl.rsqrt(d)
        power = root * tl.sqrt(root)
        below = power * root * root
    elif POWER == 0.5:
        power = tl.rsqrt(d)
        below = power * power * power
    elif POWER == 1.0:
        power = 1.0 / d
        below = power * power
    else:
        power = tl.exp2(-beta * tl.log2(d))
        below = power / d
    return power, below


@triton.jit
def channels_of(block, GROUP: tl.constexpr, TILES: tl.constexpr, BORDER: tl.constexpr, BLOCK: tl.constexpr):
    """Of tile `block`: its channels, which of them belong to its group, and which are its own to write."""
    lanes = tl.arange(0, BLOCK)
    within = (block % TILES) * (BLOCK - 2 * BORDER) - BORDER + lanes
    present = (within >= 0) & (within < GROUP)
    owned = present & (lanes >= BORDER) & (lanes < BLOCK - BORDER)
    return (block // TILES) * GROUP + within, present, owned


@triton.jit
def activations(x, offsets, mask, bias, RELU: tl.constexpr):
    """The maps after bias and ReLU, 0 outside `mask`'s channels. NaN stays."""
    a = tl.load(x + offsets, mask=mask, other=0.0).to(tl.float32) + bias
    if RELU:
        a = tl.where(a < 0.0, 0.0, a)
    return a


@triton.jit
def bias_of(bias, channels, present):
    if bias is None:
        value = tl.zeros(channels.shape, tl.float32)
    else:
        value = tl.load(bias + channels, mask=present, other=0.0).to(tl.float32)
    return value

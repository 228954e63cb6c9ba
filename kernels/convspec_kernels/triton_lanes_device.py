"""What the kernels of lanes share on the device: where a lane is, its channels, sums over windows of channels.

A lane holds one run of RUN neighbouring channels, the 16 bytes of one load; the lanes of a pixel lie side by side in a
warp of 32, as many pixels in it as fit. The ends of runs that a window needs come from the lanes beside by a shuffle.
Tiles are (lanes, RUN), so that nothing is ever laid out anew; on a device with warps of 64, two rows of 32 are a warp.
"""

from __future__ import annotations

import triton
import triton.language as tl

WARP = tl.constexpr(32)


@triton.jit
def places_of(part, places, LANES: tl.constexpr, RUNS: tl.constexpr, PER_WARP: tl.constexpr):
    """Of each lane of program `part`: the place it works at, which run of channels it has, and whether it counts. Lanes
    that are left over look at a place that others have, some without neighbours: they must not write."""
    lane = tl.arange(0, LANES)
    slot = lane % WARP // RUNS
    place = (part * (LANES // WARP) + lane // WARP) * PER_WARP + tl.minimum(slot, PER_WARP - 1)
    counts = (slot < PER_WARP) & (place < places)
    return tl.minimum(place, places - 1), lane % WARP % RUNS, counts


@triton.jit
def channels_of(block, run, GROUP: tl.constexpr, TILES: tl.constexpr, BORDER: tl.constexpr, RUNS: tl.constexpr,
                RUN: tl.constexpr):  # fmt: skip
    """Of lanes with the runs `run` of tile `block`: channels (lanes, RUN), which exist, which are the tile's to write."""
    first = (block % TILES * (RUNS - 2 * BORDER) - BORDER + run) * RUN
    within = first[:, None] + tl.arange(0, RUN)[None, :]
    present = (within >= 0) & (within < GROUP)
    owned = present & ((run >= BORDER) & (run < RUNS - BORDER))[:, None]
    return block // TILES * GROUP + within, present, owned


@triton.jit
def shift_of(bias, channels, present, WHOLE: tl.constexpr):
    """The bias of the channels, 0 where there is none."""
    shift = tl.zeros(channels.shape, tl.float32)
    if bias is not None:
        mask = None if WHOLE else present
        shift += tl.load(bias + channels, mask=mask, other=None if WHOLE else 0.0).to(tl.float32)
    return shift


@triton.jit
def sum_over_window(values, run, BELOW: tl.constexpr, ABOVE: tl.constexpr, RUNS: tl.constexpr):
    """Sum of `values` over channels [f - BELOW, f + ABOVE] for each channel f; nothing lies outside a pixel's runs.

    Neither BELOW nor ABOVE is more than a run. Two neighbouring windows share all but an end each, and what they share is
    a sum of pairs, which the next two have as well: of windows of 5 channels, 17 sums for 8.
    """
    RUN: tl.constexpr = values.shape[1]
    SIZE: tl.constexpr = BELOW + 1 + ABOVE
    line = _line(_unzip(values), run, BELOW, ABOVE, RUNS)
    pairs = ()
    for i in tl.static_range(RUN // 2 - 1 + (SIZE - 1) // 2):
        pairs = pairs + (line[2 * i + 1] + line[2 * i + 2],)
    sums = ()
    for i in tl.static_range(RUN // 2):
        first, last = line[2 * i], line[2 * i + 1]
        if SIZE > 1:
            shared = pairs[i] if SIZE > 2 else last
            for j in tl.static_range(1, (SIZE - 1) // 2):
                shared += pairs[i + j]
            if SIZE > 2 and SIZE % 2 == 0:
                shared += line[2 * i + SIZE - 1]
            first, last = first + shared, shared + line[2 * i + SIZE]
        sums = sums + (first, last)
    return _zip(sums)


@triton.jit
def _line(members, run, BELOW: tl.constexpr, ABOVE: tl.constexpr, RUNS: tl.constexpr):
    """The members of a run, after BELOW of the run before and before ABOVE of the run behind it: 0 where there is none."""
    line = ()
    for i in tl.static_range(len(members) - BELOW, len(members)):
        line = line + (tl.where(run == 0, 0.0, beside(members[i], -1)),)
    line = line + members
    for i in tl.static_range(ABOVE):
        line = line + (tl.where(run == RUNS - 1, 0.0, beside(members[i], 1)),)
    return line


@triton.jit
def beside(values, step):
    """Of each lane, `values` of the lane `step` further on in its warp."""
    LANES: tl.constexpr = values.shape[0]
    at = tl.minimum(tl.maximum(tl.arange(0, WARP) + step, 0), WARP - 1)
    if LANES == WARP:
        return tl.gather(values, at, 0)
    rows = tl.reshape(values, (LANES // WARP, WARP))
    return tl.reshape(tl.gather(rows, tl.broadcast_to(at[None, :], rows.shape), 1), (LANES,))


@triton.jit
def _unzip(values):
    """(lanes, RUN) to RUN times (lanes,)."""
    LANES: tl.constexpr = values.shape[0]
    RUN: tl.constexpr = values.shape[1]
    tl.static_assert(RUN == 4 or RUN == 8)
    if RUN == 4:
        even, odd = tl.split(tl.reshape(values, (LANES, 2, 2)))
        a, c = tl.split(even)
        b, d = tl.split(odd)
        members = (a, b, c, d)
    else:
        even, odd = tl.split(tl.reshape(values, (LANES, 2, 2, 2)))
        ae, cg = tl.split(even)
        bf, dh = tl.split(odd)
        a, e = tl.split(ae)
        b, f = tl.split(bf)
        c, g = tl.split(cg)
        d, h = tl.split(dh)
        members = (a, b, c, d, e, f, g, h)
    return members


@triton.jit
def _zip(members):
    """The inverse of `_unzip`."""
    LANES: tl.constexpr = members[0].shape[0]
    if len(members) == 4:
        even, odd = tl.join(members[0], members[2]), tl.join(members[1], members[3])
    else:
        ae, bf = tl.join(members[0], members[4]), tl.join(members[1], members[5])
        cg, dh = tl.join(members[2], members[6]), tl.join(members[3], members[7])
        even, odd = tl.join(ae, cg), tl.join(bf, dh)
    return tl.reshape(tl.join(even, odd), (LANES, len(members)))

"""What Triton kernels of several designs share on the device: activations, powers, the larger of two pixels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def activations(x, offsets, mask, bias, RELU: tl.constexpr):
    """The maps after bias and ReLU. Where there is a mask, 0 outside of its channels. NaN stays."""
    if mask is None:
        a = tl.load(x + offsets).to(tl.float32) + bias
    else:
        a = tl.load(x + offsets, mask=mask, other=0.0).to(tl.float32) + bias
    if RELU:
        a = tl.maximum(a, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return a


@triton.jit
def powers(d, beta, POWER: tl.constexpr):
    """d**-beta and 1/d. POWER is beta where a root gives it, else 0."""
    if POWER == 0.75:
        root = tl.rsqrt(d)
        power = root * tl.sqrt(root)
        inverse = root * root
    elif POWER == 0.5:
        power = tl.rsqrt(d)
        inverse = power * power
    elif POWER == 1.0:
        power = 1.0 / d
        inverse = power
    else:
        power = tl.exp2(-beta * tl.log2(d))
        inverse = 1.0 / d
    return power, inverse


@triton.jit
def larger(best, tap, value, place, RELU: tl.constexpr, EDGES: tl.constexpr):
    """The first of equal pixels, and NaN before all, of several as torch the last. A tap below 0 is a pixel outside of the
    map.

    After ReLU no pixel is below 0, and numbers are in the order of their bits, NaN behind all: one comparison does for
    both, and of several NaN the first stays.
    """
    if RELU:
        better = value.to(tl.int32, bitcast=True) > best.to(tl.int32, bitcast=True)
    else:
        better = (value > best) | (value != value)
    if EDGES:
        better |= tap < 0
    return tl.where(better, value, best), tl.where(better, place, tap)

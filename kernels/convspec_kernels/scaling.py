"""A tensor whose gradient counts more or less than it would. Plain torch, in sight of autograd."""

from __future__ import annotations

from math import isfinite

from torch import Tensor


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """`x` itself, with a gradient that is multiplied by `scale` on its way back.

    For weights that several layers have in common, where each teaches them at a rate of its own: with the rate of the
    first for all, `scale` is what another one's is of it.

    Args:
        x: any floating-point tensor.
        scale: any finite number; 0 is `x.detach()`.

    Returns:
        What x holds, to the bit where it is finite.

    Raises:
        ValueError: scale is not finite.
    """
    if not isfinite(scale):
        raise ValueError(f"scale must be finite, not {scale}")
    if scale == 0:
        return x.detach()
    value = x.detach()
    return value + scale * (x - value)

"""What the fused operator computes, as one value: bias, ReLU, local response normalisation, max pooling.

Every implementation (`reference`, `eager`, `numba_kernels`, `triton_kernels`) takes a `FusedOptions` and exposes

    unsupported(x, options) -> str | None
    fused_forward(x, bias, options) -> (y, argmax | None)
    fused_backward(grad_y, x, bias, argmax, options) -> (grad_x, grad_bias | None)

`unsupported` says in one clause why this implementation cannot take the maps, or None. `y` has x's type and memory
format. `argmax` is there if there is a pool: uint8, of y's shape, in `layout.argmax_format(x)`, and holds the winning tap
of the whole window, `row * kernel_size + column`, counted from the window's first pixel even where that lies outside the map.
It belongs to the implementation that made it: nobody else reads it. `grad_x` has x's type and format, `grad_bias` is
there if there is a bias, and has its type.

Arguments have been checked: `groups` divides the channels, each window holds a pixel of the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Ties(Enum):
    """Which of the equal largest pixels of a window get its gradient."""

    FIRST = "first"
    """The first in row-major order, as in torch."""
    ALL = "all"
    """Each of them, the whole gradient, as in cuda-convnet."""


@dataclass(frozen=True, slots=True)
class LRN:
    """`x[f] / (k + alpha/size * sum of x[g]**2 for g in [f - size//2, f - size//2 + size)) ** beta`, within a group.

    size: channels in a window, at least 1. groups: runs of C/groups channels that do not see one another.
    """

    size: int
    alpha: float
    beta: float
    k: float
    groups: int = 1


@dataclass(frozen=True, slots=True)
class Pool:
    """The largest of the pixels `[start + i*stride, start + i*stride + kernel_size)` that lie in the map, each way."""

    kernel_size: int
    stride: int
    start: int
    """Row and column of the first window's first pixel; may be negative."""
    out_height: int
    out_width: int
    ties: Ties = Ties.FIRST


@dataclass(frozen=True, slots=True)
class FusedOptions:
    """`x + bias`, then ReLU, then LRN, then max pooling, then ReLU: each where it is asked for, in this order."""

    relu_before: bool = False
    relu_after: bool = False
    lrn: LRN | None = None
    pool: Pool | None = None

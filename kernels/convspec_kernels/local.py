"""Locally connected maps: a convolution whose kernels differ from window to window. Plain torch, in sight of autograd."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from convspec_kernels.windows import Axes, as_axes


def locally_connected2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Axes = 1,
    padding: int | Axes = 0,
    groups: int = 1,
) -> Tensor:
    """Apply to each window of the maps kernels of its own.

        y[f, i, j] = bias[f, i, j] + sum of weight[f, c, u, v, i, j] * x[c, i*stride + u - padding, j*stride + v - padding]

    over the channels c of f's group and the pixels (u, v) of a kernel. Outside the map x is zero. There are as many
    windows as `weight` has kernels for, fewer than fit or more, which then hang over the right and bottom edge: what
    `torch.nn.functional.conv2d` gives on maps with those zeros, were all kernels the same.

    For the gradients it keeps one copy of the pixels of all windows, N * C * kernel height * kernel width * outputs along
    H * outputs along W numbers, beside x and the weight; in the forward pass alone the copy is gone when it returns.

    Args:
        x: maps (N, C, H, W), floating-point.
        weight: (F, C / groups, kernel height, kernel width, outputs along H, outputs along W), of x's type but under
            autocast.
        bias: (F, outputs along H, outputs along W), or any shape that broadcasts to it; None for none.
        stride: pixels from one window to the next, at least 1; one number, or one along H and one along W.
        padding: zeros before the first row and column, at least 0; the same.
        groups: runs of channels and of outputs that belong together, as in a convolution; divides C and F.

    Returns:
        (N, F, outputs along H, outputs along W).

    Raises:
        ValueError: x or weight has another number of axes, a number is below its range, or groups and channels do not agree.
    """
    if x.ndim != 4 or weight.ndim != 6:
        raise ValueError(
            f"x must have 4 axes and weight 6, these have the shapes {tuple(x.shape)}, {tuple(weight.shape)}"
        )
    strides, paddings = as_axes(stride), as_axes(padding)
    if min(strides) < 1 or min(paddings) < 0:
        raise ValueError(f"stride must be at least 1 and padding at least 0, not {stride} and {padding}")
    outputs, channels, *kernel, height, width = weight.shape
    if groups < 1 or outputs % groups or x.shape[1] != channels * groups:
        raise ValueError(
            f"a weight of {tuple(weight.shape)} in {groups} groups reads {channels * groups} channels, not {x.shape[1]}"
        )
    windows = torch.unflatten(_windows(x, kernel, strides, paddings, (height, width)), 1, (groups, channels))
    kernels = torch.unflatten(weight, 0, (groups, outputs // groups))
    y = torch.einsum("ngchwuv,gfcuvhw->ngfhw", windows, kernels).flatten(1, 2)
    return y if bias is None else y + bias


def _windows(x: Tensor, kernel: list[int], stride: Axes, padding: Axes, count: Axes) -> Tensor:
    """The pixels of the first `count` windows, (N, C, count along H, count along W, kernel height, kernel width); a view
    of x, or of x among zeros."""
    height, width = ((windows - 1) * step + size for windows, step, size in zip(count, stride, kernel, strict=True))
    bottom, right = (
        seen - before - length for seen, before, length in zip((height, width), padding, x.shape[2:], strict=True)
    )
    edges = (padding[1], max(right, 0), padding[0], max(bottom, 0))
    framed = (F.pad(x, edges) if any(edges) else x)[:, :, :height, :width]
    return framed.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])

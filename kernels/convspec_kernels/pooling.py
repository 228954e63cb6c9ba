"""Pooling beside `max_pool2d` and `avg_pool2d`: sums, largest magnitudes, windows of channels, several tensors.

Compositions of torch's operators; gradients are those of the originals where they are not torch's.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from convspec_kernels import reference
from convspec_kernels.arguments import TieRule, pool_windows, tie_rule
from convspec_kernels.windows import Axes, Windows


def sum_pool2d(
    x: Tensor,
    kernel_size: int | Axes,
    stride: int | Axes,
    *,
    start: int | Axes = 0,
    output_size: tuple[int, int] | None = None,
) -> Tensor:
    """Take the sum of each window over the pixels that lie inside the map.

    Windows, arguments, result and errors are those of `max_pool2d`, without ties.
    """
    rows, columns = pool_windows(x, kernel_size, stride, start, output_size)
    return reference.sum_pool2d(x, rows, columns)


def max_abs_pool2d(
    x: Tensor,
    kernel_size: int | Axes,
    stride: int | Axes,
    *,
    start: int | Axes = 0,
    output_size: tuple[int, int] | None = None,
    ties: TieRule = "first",
) -> Tensor:
    """Take the pixel of largest magnitude of each window, with its sign; of equal ones the last in row-major order.

    Windows, result and errors are those of `max_pool2d` (cuda-convnet2 conv_util.cuh:98-108, `MaxAbsPooler`).

    Args:
        x: maps (N, C, H, W).
        kernel_size: rows and columns of a window, pixels, at least 1: one number, or one for each.
        stride: pixels from one window to the next, at least 1; the same.
        start: row and column at which the first window starts; see `max_pool2d`.
        output_size: windows along (height, width), instead of the formula.
        ties: "first" gives the gradient to the pixel that was taken; "all" gives the whole of it to every pixel that is
            equal to the output, sign included, as cuda-convnet.
    """
    rule = tie_rule(ties)
    rows, columns = pool_windows(x, kernel_size, stride, start, output_size)
    return reference.max_abs_pool2d(x, rows, columns, rule)


def channel_max_pool(
    x: Tensor,
    size: int,
    stride: int,
    *,
    start: int = 0,
    out_channels: int | None = None,
    ties: TieRule = "first",
) -> Tensor:
    """Take, at each pixel, the largest of each window of channels (cuda-convnet2 conv_util.cuh:210-260).

        y[o] = max of x[c] for c in [start + o*stride, start + o*stride + size), clipped to the channels

    Args:
        x: (N, C) or (N, C, ...), floating-point.
        size: channels in a window, at least 1.
        stride: channels from one window to the next, at least 1.
        start: channel at which the first window starts; may be negative.
        out_channels: number of windows; None for ceil((C - start - size) / stride) + 1.
        ties: as of `max_pool2d`.

    Returns:
        (N, windows, ...), of x's type.

    Raises:
        ValueError: x has no channels or is not floating-point, a number is below its range, a window would hold no
            channel, or ties is another word.
    """
    rule = tie_rule(ties)
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(f"x must be (N, C, ...) and floating-point, not {tuple(x.shape)} {x.dtype}")
    rows = Windows.along(x.shape[1], size, stride, start, out_channels)
    pixels = x.reshape(x.shape[0], 1, x.shape[1], prod(x.shape[2:]))
    columns = Windows.along(pixels.shape[3], 1, 1, 0)
    return reference.max_pool2d(pixels, rows, columns, rule).reshape(x.shape[0], rows.count, *x.shape[2:])


def maximum(*values: Tensor) -> Tensor:
    """Take the largest of several tensors, element by element.

    Every one that is equal to the result gets the whole gradient (cuda-convnet2 layer_kernels.cu:331-343), where
    `torch.maximum` parts it among them.

    Args:
        values: at least one, of one shape and type.

    Returns:
        A tensor of that shape and type.

    Raises:
        ValueError: there is none, or their shapes differ.
    """
    if not values or len({value.shape for value in values}) > 1:
        raise ValueError(f"maximum takes tensors of one shape, not {[tuple(value.shape) for value in values]}")
    largest = torch.stack([value.detach() for value in values]).amax(0)
    result = largest
    for value in values:
        result = result + torch.where(value == largest, value - value.detach(), 0)
    return result

"""Normalisation, pooling and image functions for PyTorch: exact, differentiable, and unaware of specs.

    from convspec_kernels import bias_act_lrn_max_pool2d, local_response_norm, max_pool2d

    y = local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0, groups=2)
    y = max_pool2d(y, kernel_size=3, stride=2)

    y = bias_act_lrn_max_pool2d(  # the same in one pass, after a bias and ReLU
        x, bias, "relu", size=5, alpha=5e-4, beta=0.75, k=2.0, groups=2, kernel_size=3, stride=2
    )

The costs of `objectives` are scalars, means over the cases of a batch.

Maps are `(N, C, H, W)`, float64, float32, float16 or bfloat16, in either memory format; results keep the format, and
under autocast the type. Every function returns a new tensor, has gradients, and says ValueError where its arguments
make no sense. The arguments are checked here; what computes stands behind, and `dispatch` chooses it.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from convspec_kernels import dispatch, operators, reference
from convspec_kernels.arguments import TieRule, check_maps, pool_windows, tie_rule
from convspec_kernels.augmentation import augment
from convspec_kernels.images import gaussian_blur, random_rescale, resize_bilinear, rgb_to_lab, rgb_to_yuv
from convspec_kernels.local import locally_connected2d
from convspec_kernels.noise import Noise, dropout, normal_like
from convspec_kernels.normalization import SyncBatchNorm
from convspec_kernels.objectives import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    gated_sum_of_squares,
    log_square_error,
    subset_cross_entropy,
    sum_of_squares,
    topographic_energy,
)
from convspec_kernels.options import LRN, FusedOptions, Pool, Ties
from convspec_kernels.peers import Peers
from convspec_kernels.pooling import channel_max_pool, max_abs_pool2d, maximum, sum_pool2d
from convspec_kernels.replicas import Replicas
from convspec_kernels.scaling import scale_gradient
from convspec_kernels.trees import TreeLinear
from convspec_kernels.windows import Axes, as_axes

__all__ = [
    "Noise",
    "Peers",
    "Replicas",
    "SyncBatchNorm",
    "TreeLinear",
    "augment",
    "avg_pool2d",
    "bias_act_lrn_max_pool2d",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "channel_max_pool",
    "contrast_norm",
    "cross_entropy",
    "dropout",
    "gated_sum_of_squares",
    "gaussian_blur",
    "local_response_norm",
    "locally_connected2d",
    "log_square_error",
    "max_abs_pool2d",
    "max_pool2d",
    "maximum",
    "normal_like",
    "random_rescale",
    "resize_bilinear",
    "response_norm",
    "rgb_to_lab",
    "rgb_to_yuv",
    "scale_gradient",
    "subset_cross_entropy",
    "sum_of_squares",
    "sum_pool2d",
    "topographic_energy",
]


def bias_act_lrn_max_pool2d(
    x: Tensor,
    bias: Tensor | None = None,
    activation: Literal["relu"] | None = None,
    *,
    activation_at: Literal["input", "output"] = "input",
    size: int | None = None,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    groups: int = 1,
    kernel_size: int | None = None,
    stride: int | None = None,
    start: int = 0,
    output_size: tuple[int, int] | None = None,
    ties: TieRule = "first",
) -> Tensor:
    """Add a bias, apply ReLU, `local_response_norm` and `max_pool2d`, in this order and in one pass over the maps.

    Each of them is left out unless it is asked for. Computed in float32 at least, and rounded once.

    Args:
        x: maps (N, C, H, W), such as a convolution's without its bias.
        bias: (C,), floating-point of any type; None for none.
        activation: "relu" or None.
        activation_at: "input" for ReLU before the normalisation, "output" for ReLU after the pool.
        size: channels in a window of the normalisation; None for no normalisation.
        alpha: see `local_response_norm`; the defaults of all four are torch's.
        beta: the same.
        k: the same.
        groups: the same.
        kernel_size: rows and columns of a window of the pool; None for no pool.
        stride: pixels from one window to the next; None for `kernel_size`.
        start: see `max_pool2d`.
        output_size: the same.
        ties: the same.

    Returns:
        (N, C, outputs along H, outputs along W), of x's type.

    Raises:
        ValueError: what the two functions refuse, a bias that is not (C,), a bias on another device, or an unknown name.
    """
    check_maps(x)
    if bias is not None and (bias.shape != x.shape[1:2] or not bias.is_floating_point()):
        raise ValueError(f"bias must be {x.shape[1]} floating-point numbers, not {tuple(bias.shape)} {bias.dtype}")
    if bias is not None and bias.device != x.device:
        raise ValueError(f"bias is on {bias.device}, the maps are on {x.device}")
    if activation not in ("relu", None):
        raise ValueError(f"activation must be 'relu' or None, not {activation!r}")
    if activation_at not in ("input", "output"):
        raise ValueError(f"activation_at must be 'input' or 'output', not {activation_at!r}")
    lrn = None if size is None else _lrn(x, size, alpha, beta, k, groups)
    pool = None
    if kernel_size is not None:
        pool = _pool(x, kernel_size, kernel_size if stride is None else stride, start, output_size, ties)
    relu = activation == "relu"
    before = relu and activation_at == "input"
    return _fused(x, bias, FusedOptions(relu_before=before, relu_after=relu and not before, lrn=lrn, pool=pool))


def local_response_norm(
    x: Tensor, size: int, *, alpha: float, beta: float, k: float = 1.0, groups: int = 1, blocked: bool = False
) -> Tensor:
    """Divide each pixel by a power of the energy of the same pixel in neighbouring channels.

        y[f] = x[f] / (k + alpha/size * sum of x[g]**2 for g in window(f)) ** beta
        window(f) = [f - size//2, f - size//2 + size), clipped to the channels of f's group
        window(f) = the run of `size` channels that f is in, counted from the first of its group, where `blocked`

    With one group this is `torch.nn.functional.local_response_norm`. The sum is taken in float32 at least.

    Args:
        x: maps (N, C, H, W).
        size: channels in a window, at least 1; an even window reaches one channel further down than up. It may be
            larger than a group.
        alpha: weight of the mean square, divided by `size` as in torch: the paper's 1e-4 on the sum is 5e-4 here.
        beta: the power.
        k: what the denominator is without energy; above 0, unless no window is all zeros.
        groups: runs of C/groups channels that do not see one another, such as the two towers of AlexNet; divides C.
        blocked: disjoint windows in place of sliding ones; the last of a group may be shorter. Composed of torch's
            operators on every device.

    Returns:
        (N, C, H, W), of x's type.

    Raises:
        ValueError: x is not 4-dimensional or not floating-point, size is below 1, or groups does not divide C.
    """
    check_maps(x)
    if blocked:
        lrn = _lrn(x, size, alpha, beta, k, groups)
        return reference.blocked_response_norm(x, lrn.size, lrn.alpha, lrn.beta, lrn.k, lrn.groups)
    return _fused(x, None, FusedOptions(lrn=_lrn(x, size, alpha, beta, k, groups)))


def response_norm(x: Tensor, size: int, *, alpha: float, beta: float, k: float = 1.0) -> Tensor:
    """Divide each pixel by a power of the energy of its neighbours in the same map.

        y[p] = x[p] / (k + alpha/size**2 * sum of x[q]**2 for q in window(p)) ** beta
        window(p) = rows and columns [p - size//2, p - size//2 + size), clipped to the map

    The sum is taken in float32 at least.

    Args:
        x: maps (N, C, H, W).
        size: rows and columns of a window, at least 1; an even window reaches one pixel further up and left.
        alpha: weight of the mean square over a whole window, at the edges too.
        beta: the power.
        k: what the denominator is without energy; above 0, unless no window is all zeros.

    Returns:
        (N, C, H, W), of x's type.

    Raises:
        ValueError: x is not 4-dimensional or not floating-point, or size is below 1.
    """
    check_maps(x)
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    return reference.response_norm(x, size, alpha, beta, k)


def contrast_norm(
    x: Tensor,
    size: int,
    *,
    alpha: float,
    beta: float,
    k: float = 1.0,
    gradient: Literal["exact", "published"] = "exact",
) -> Tensor:
    """Divide each pixel by a power of how much its neighbours in the same map differ from their local means.

        y[p] = x[p] / (k + alpha/size**2 * sum of (x[q] - mean[q])**2 for q in window(p)) ** beta
        mean[q] = mean of x over the pixels of window(q) that lie in the map
        window(p) = rows and columns [p - size//2, p - size//2 + size), clipped to the map

    The pixel itself is not centred: the numerator is x. Sums are taken in float32 at least. cuda-convnet2 layer.cu:1978.

    Args:
        x: maps (N, C, H, W).
        size: rows and columns of a window, at least 1; an even window reaches one pixel further up and left.
        alpha: weight of the mean square over a whole window, at the edges too.
        beta: the power.
        k: what the denominator is without contrast; above 0, unless every pixel differs from its mean.
        gradient: "exact", or "published": that of cuda-convnet2 (conv_util.cu:2468), which takes the means for constants.

    Returns:
        (N, C, H, W), of x's type.

    Raises:
        ValueError: x is not 4-dimensional or not floating-point, size is below 1, or gradient is another word.
    """
    check_maps(x)
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    if gradient not in ("exact", "published"):
        raise ValueError(f"gradient must be 'exact' or 'published', not {gradient!r}")
    return reference.contrast_norm(x, size, alpha, beta, k, holds_means=gradient == "published")


def max_pool2d(
    x: Tensor,
    kernel_size: int | Axes,
    stride: int | Axes,
    *,
    start: int | Axes = 0,
    output_size: tuple[int, int] | None = None,
    ties: TieRule = "first",
) -> Tensor:
    """Take the largest pixel of each window; windows overlap where `stride < kernel_size`.

        y[i, j] = max of x over rows window(i) and columns window(j)
        window(i) = [start + i*stride, start + i*stride + kernel_size), clipped to the map
        outputs along an axis of length n = ceil((n - start - kernel_size) / stride) + 1

    With `start=0` this is `torch.nn.functional.max_pool2d(..., ceil_mode=True)`.

    Args:
        x: maps (N, C, H, W).
        kernel_size: rows and columns of a window, pixels, at least 1: one number, or one for rows and one for columns.
            Where these numbers, or those of stride and start, are two that differ, torch's operators compute.
        stride: pixels from one window to the next, at least 1; the same.
        start: row and column at which the first window starts; negative to begin before the map (the pixels that are
            not there never win), positive to skip pixels; the same.
        output_size: windows along (height, width), instead of the formula: fewer for rounding down, or more.
        ties: which of the equal largest pixels of a window get its gradient: "first" in row-major order, as in torch,
            or "all" of them the whole of it, as in cuda-convnet, which is slower.

    Returns:
        (N, C, outputs along H, outputs along W), of x's type.

    Raises:
        ValueError: x is not 4-dimensional or not floating-point, a number is below its range, a window would lie outside
            the map, or ties is another word.
    """
    sizes, strides, starts = as_axes(kernel_size), as_axes(stride), as_axes(start)
    if all(rows == columns for rows, columns in (sizes, strides, starts)):
        check_maps(x)
        return _fused(x, None, FusedOptions(pool=_pool(x, sizes[0], strides[0], starts[0], output_size, ties)))
    rule = tie_rule(ties)
    return reference.max_pool2d(x, *pool_windows(x, sizes, strides, starts, output_size), rule)


def avg_pool2d(
    x: Tensor,
    kernel_size: int | Axes,
    stride: int | Axes,
    *,
    start: int | Axes = 0,
    output_size: tuple[int, int] | None = None,
) -> Tensor:
    """Take the mean of each window over the pixels that lie inside the map.

    Windows, arguments, result and errors are those of `max_pool2d`, without ties. With `start=0` this is
    `torch.nn.functional.avg_pool2d(..., ceil_mode=True, count_include_pad=False)`.
    """
    rows, columns = pool_windows(x, kernel_size, stride, start, output_size)
    return reference.avg_pool2d(x, rows, columns)


def _fused(x: Tensor, bias: Tensor | None, options: FusedOptions) -> Tensor:
    ties = options.pool.ties if options.pool is not None else Ties.FIRST
    if dispatch.is_composed(x.device.type, x.dtype, ties):
        return reference.fused(x, bias, options)
    return operators.fused(x, bias, options)


def _lrn(x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> LRN:
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"groups must divide the {x.shape[1]} channels, {groups} does not")
    return LRN(size, alpha, beta, k, groups)


def _pool(
    x: Tensor, kernel_size: int, stride: int, start: int, output_size: tuple[int, int] | None, ties: TieRule
) -> Pool:
    rule = tie_rule(ties)
    rows, columns = pool_windows(x, kernel_size, stride, start, output_size)
    return Pool(kernel_size, stride, start, rows.count, columns.count, rule)

"""The kernels as compositions of torch's own operators: what every other implementation must agree with.

Arguments have been checked. Nothing here writes into its input. `fused` is the operator that the others implement.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from convspec_kernels.layout import memory_format, windows
from convspec_kernels.options import FusedOptions, Ties
from convspec_kernels.windows import Windows


def unsupported(x: Tensor, options: FusedOptions) -> str | None:
    return None


def fused(x: Tensor, bias: Tensor | None, options: FusedOptions) -> Tensor:
    """Everything in float32 at least, rounded to x's type at the end. Differentiable, twice too."""
    lrn, pool = options.lrn, options.pool
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    if bias is not None:
        y = y + bias.to(y.dtype)[:, None, None]
    if options.relu_before:
        y = y.relu()
    if lrn is not None:
        y = local_response_norm(y, lrn.size, lrn.alpha, lrn.beta, lrn.k, lrn.groups)
    if pool is not None:
        y = max_pool2d(y, *windows(x, pool), pool.ties)
    if options.relu_after:
        y = y.relu()
    return y.to(x.dtype).contiguous(memory_format=memory_format(x)) if y is not x else x.clone()


def fused_forward(x: Tensor, bias: Tensor | None, options: FusedOptions) -> tuple[Tensor, Tensor | None]:
    """The argmax is all zeros: `fused_backward` has no use for it."""
    with torch.no_grad():
        y = fused(x, bias, options)
    return y, torch.zeros_like(y, dtype=torch.uint8) if options.pool is not None else None


def fused_backward(
    grad_y: Tensor, x: Tensor, bias: Tensor | None, argmax: Tensor | None, options: FusedOptions
) -> tuple[Tensor, Tensor | None]:
    """By autograd, so not from inside an operator."""
    leaves = [tensor.detach().requires_grad_() for tensor in (x, bias) if tensor is not None]
    with torch.enable_grad():
        y = fused(leaves[0], leaves[1] if bias is not None else None, options)
        grads = torch.autograd.grad(y, leaves, grad_y)
    return grads[0], grads[1] if bias is not None else None


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
    """Torch's own composition, on (N, groups, C/groups, H, W): the average pool never leaves a group.

    A view of either memory format, unlike the (N*groups, C/groups, H, W) that copies channels-last maps. The squares
    of float16 overflow from 256 on, so that what is narrower than float32 is computed in float32.
    """
    cases, channels, height, width = x.shape
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    squares = wide.square().view(cases, groups, channels // groups, height, width)
    squares = F.pad(squares, (0, 0, 0, 0, size // 2, (size - 1) // 2))
    energy = F.avg_pool3d(squares, (size, 1, 1), stride=1).flatten(1, 2)
    return (wide / energy.mul(alpha).add(k).pow(beta)).to(x.dtype)


def response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """An average pool over the squares, with zeros around the map; float32 at least, as above."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    before, after = size // 2, (size - 1) // 2
    squares = F.pad(wide.square(), (before, after, before, after))
    energy = F.avg_pool2d(squares, size, stride=1)
    return (wide / energy.mul(alpha).add(k).pow(beta)).to(x.dtype)


def blocked_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
    """As `local_response_norm`, with the sum over each run of `size` channels of a group; the last may be shorter."""
    cases, channels, height, width = x.shape
    in_group = channels // groups
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    squares = wide.square().reshape(cases, groups, in_group, height, width)
    squares = F.pad(squares, (0, 0, 0, 0, 0, -in_group % size))
    squares = squares.view(cases, groups, -(-in_group // size), size, height, width)
    energy = squares.sum(3).repeat_interleave(size, dim=2)[:, :, :in_group].flatten(1, 2)
    return (wide / energy.mul(alpha / size).add(k).pow(beta)).to(x.dtype)


def contrast_norm(x: Tensor, size: int, alpha: float, beta: float, k: float, *, holds_means: bool) -> Tensor:
    """`response_norm` with the differences from local means in the sum. holds_means: no gradient flows through them."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    before, after = size // 2, (size - 1) // 2
    rows, columns = (Windows.along(length, size, 1, -before, length) for length in x.shape[2:])
    means = avg_pool2d(wide, rows, columns)
    squares = (wide - (means.detach() if holds_means else means)).square()
    energy = F.avg_pool2d(F.pad(squares, (before, after, before, after)), size, stride=1)
    return (wide / energy.mul(alpha).add(k).pow(beta)).to(x.dtype)


def max_pool2d(x: Tensor, rows: Windows, columns: Windows, ties: Ties = Ties.FIRST) -> Tensor:
    """Torch's pooling where it has these windows, else on a map framed so that every window is whole."""
    kernel_size, stride = (rows.size, columns.size), (rows.stride, columns.stride)
    if ties is Ties.ALL:
        return _max_pool2d_to_all(frame(x, rows, columns, -torch.inf), kernel_size, stride)
    for ceil_mode in (True, False):
        if rows.is_torch(ceil_mode=ceil_mode) and columns.is_torch(ceil_mode=ceil_mode):
            padding = (rows.before, columns.before)
            return F.max_pool2d(x, kernel_size, stride, padding=padding, ceil_mode=ceil_mode)
    return F.max_pool2d(frame(x, rows, columns, -torch.inf), kernel_size, stride)


def _max_pool2d_to_all(x: Tensor, kernel_size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """A window's value, plus zeros with a gradient of one for each pixel that has it."""
    pixels = x.unfold(2, kernel_size[0], stride[0]).unfold(3, kernel_size[1], stride[1])
    largest = pixels.detach().amax((4, 5), keepdim=True)
    zeros = torch.where(pixels == largest, pixels - pixels.detach(), 0)
    return (largest[..., 0, 0] + zeros.sum((4, 5))).contiguous(memory_format=memory_format(x))


def avg_pool2d(x: Tensor, rows: Windows, columns: Windows) -> Tensor:
    """As `max_pool2d`; on a framed map the mean over whole windows is scaled to the pixels that they have."""
    kernel_size, stride = (rows.size, columns.size), (rows.stride, columns.stride)
    for ceil_mode in (True, False):
        if rows.is_torch(ceil_mode=ceil_mode) and columns.is_torch(ceil_mode=ceil_mode):
            padding = (rows.before, columns.before)
            return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad=False)
    means = F.avg_pool2d(frame(x, rows, columns, 0.0), kernel_size, stride)
    height = x.new_tensor([rows.size / pixels for pixels in rows.pixels])
    width = x.new_tensor([columns.size / pixels for pixels in columns.pixels])
    return means * (height[:, None] * width)


def sum_pool2d(x: Tensor, rows: Windows, columns: Windows) -> Tensor:
    """The sum of each window's pixels, of which those outside the map are zeros."""
    kernel_size, stride = (rows.size, columns.size), (rows.stride, columns.stride)
    return F.avg_pool2d(frame(x, rows, columns, 0.0), kernel_size, stride, divisor_override=1)


def max_abs_pool2d(x: Tensor, rows: Windows, columns: Windows, ties: Ties) -> Tensor:
    """The last of the pixels of largest magnitude in each window, which is why the order is reversed for `argmax`."""
    pixels, sizes = (
        framed.unfold(2, rows.size, rows.stride).unfold(3, columns.size, columns.stride).flatten(4).flip(4)
        for framed in (frame(x, rows, columns, 0.0), frame(x.detach().abs(), rows, columns, -1.0))
    )
    chosen = pixels.gather(4, sizes.argmax(4, keepdim=True))
    if ties is Ties.ALL:
        is_equal = (pixels == chosen) & (sizes >= 0)
        zeros = torch.where(is_equal, pixels - pixels.detach(), 0)
        return (chosen.detach()[..., 0] + zeros.sum(4)).contiguous(memory_format=memory_format(x))
    return chosen[..., 0].contiguous(memory_format=memory_format(x))


def frame(x: Tensor, rows: Windows, columns: Windows, value: float) -> Tensor:
    """The pixels from the first window to the last, with `value` where they lie outside the map."""
    seen = x[:, :, rows.seen, columns.seen]
    padding = (columns.before, columns.after, rows.before, rows.after)
    return F.pad(seen, padding, value=value) if any(padding) else seen


def augment(
    images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor, scale: float, y: Tensor
) -> None:
    """Write into `y` what `convspec_kernels.augment` computes."""
    y.copy_(augmented(images, offsets, mirrors, colours, mean, y.shape[2], scale))


def augmented(
    images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor, size: int, scale: float
) -> Tensor:
    """What `convspec_kernels.augment` computes, by indexing: (N, 3, size, size), float32."""
    cases, height, width, _ = images.shape
    steps = torch.arange(size, device=images.device)
    rows = offsets[:, :1].clamp(0, height - size) + steps
    columns = offsets[:, 1:].clamp(0, width - size) + torch.where(mirrors[:, None], size - 1 - steps, steps)
    case = torch.arange(cases, device=images.device)[:, None, None]
    pixels = images[case, rows[:, :, None], columns[:, None, :]].float()
    return ((pixels - mean + colours[:, None, None, :]) * scale).permute(0, 3, 1, 2)

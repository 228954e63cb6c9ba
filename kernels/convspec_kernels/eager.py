"""The fused operator by torch's own operators, for where no kernel of ours runs: any device, any floating-point type.

Faster than the composition in `reference` for three reasons: on the CPU it works on one image at a time, so that what
lies between the operators stays in the caches; windows are sums of shifted rows in channels last; and nothing but the
maps is kept for the backward pass, which computes the rest again. Not differentiable twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convspec_kernels import reference
from convspec_kernels.layout import argmax_format, memory_format, result_shape, windows
from convspec_kernels.options import LRN, FusedOptions, Pool, Ties
from convspec_kernels.pages import in_huge_pages
from convspec_kernels.threads import are_torchs, share


def unsupported(x: Tensor, options: FusedOptions) -> str | None:
    if options.pool is not None and options.pool.ties is not Ties.FIRST:
        return "the gradient goes to the first of equal pixels alone"
    return None


def fused_forward(x: Tensor, bias: Tensor | None, options: FusedOptions) -> tuple[Tensor, Tensor | None]:
    """The argmax is all zeros: the backward pass finds it again."""
    y = _fresh(result_shape(x, options), x)

    def compute(images: slice) -> None:
        result = _Normed.of(_activate(x[images], bias, options), options.lrn).maps
        if options.pool is not None:
            result, _ = _pool(result, options.pool)
        y[images] = result.relu() if options.relu_after else result

    _for_images(x, compute)
    if options.pool is None:
        return y, None
    return y, torch.zeros(y.shape, dtype=torch.uint8, device=x.device).contiguous(memory_format=argmax_format(x))


def fused_backward(
    grad_y: Tensor, x: Tensor, bias: Tensor | None, argmax: Tensor | None, options: FusedOptions
) -> tuple[Tensor, Tensor | None]:
    grad_x = _fresh(tuple(x.shape), x)
    sums = torch.zeros(x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)

    def compute(images: slice) -> None:
        activated = _activate(x[images], bias, options)
        normed = _Normed.of(activated, options.lrn)
        grad = grad_y[images].to(activated.dtype).contiguous(memory_format=torch.channels_last)
        if options.pool is not None:
            grad = _pool_gradient(grad, normed.maps, options.pool)
        if options.relu_after:
            grad = grad.where(normed.maps > 0, 0)
        grad = normed.gradient(grad)
        if options.relu_before:
            grad = grad.where(activated > 0, 0)
        grad_x[images] = grad
        if bias is not None:
            sums[images] = grad.sum(dim=(2, 3))

    _for_images(x, compute)
    return grad_x, None if bias is None else sums.sum(0).to(bias.dtype)


def _fresh(shape: tuple[int, ...], x: Tensor) -> Tensor:
    fresh = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    return in_huge_pages(fresh) if x.device.type == "cpu" else fresh


def _for_images(x: Tensor, compute: Callable[[slice], None]) -> None:
    """On the CPU one image at a time, by several threads: between torch's threads, every operator is a barrier."""
    if x.device.type != "cpu":
        compute(slice(0, x.shape[0]))
        return
    inference = torch.is_inference_mode_enabled()

    def work(first: int, last: int) -> None:
        # Threads have these modes each for itself.
        with torch.inference_mode(inference), torch.no_grad():
            for image in range(first, last):
                compute(slice(image, image + 1))

    if are_torchs():
        share(lambda: work, x.shape[0], 1)
    else:
        work(0, x.shape[0])


def _activate(x: Tensor, bias: Tensor | None, options: FusedOptions) -> Tensor:
    """In channels last, in float32 at least; may be x itself."""
    wide = torch.promote_types(x.dtype, torch.float32)
    maps = x.to(wide).contiguous(memory_format=torch.channels_last)
    if bias is not None:
        maps = maps + bias.to(wide)[:, None, None]
    return maps.relu() if options.relu_before else maps


@dataclass(frozen=True)
class _Normed:
    """Normalised maps, and what their gradient needs.

    The channels of each group are followed by `size - 1` zeros in `padded`, `denominators` and `powers`, all of them
    flat: a window is then a sum of shifted rows over the whole part, without a border.
    """

    maps: Tensor
    lrn: LRN | None
    padded: Tensor
    denominators: Tensor
    powers: Tensor

    @classmethod
    def of(cls, x: Tensor, lrn: LRN | None) -> _Normed:
        if lrn is None:
            return cls(x, None, x, x, x)
        padded = _pad(x, lrn, lrn.size // 2)
        squares = padded.square()
        denominators = _window_sums(squares, lrn.size).mul_(lrn.alpha / lrn.size).add_(lrn.k)
        powers = _power(denominators, lrn.beta)
        rows = _rows(x, lrn.groups)
        return cls(_maps(rows * _crop(powers, rows)), lrn, padded, denominators, powers)

    def gradient(self, grad: Tensor) -> Tensor:
        """`grad * powers - 2 * alpha/size * beta * x * sum of grad * x * powers / denominators` over the windows."""
        lrn = self.lrn
        if lrn is None:
            return grad
        lead = lrn.size // 2
        count = self.powers.numel()
        padded_grad = _pad(grad, lrn, 0)[:count]
        values = self.padded[lead : lead + count]
        shares = torch.zeros_like(self.padded)
        own = shares[lrn.size - 1 - lead :][:count]
        torch.mul(padded_grad, values, out=own)
        own.mul_(self.powers).div_(self.denominators)
        total = _window_sums(shares, lrn.size).mul_(-2 * lrn.alpha / lrn.size * lrn.beta).mul_(values)
        return _maps(_crop(total.addcmul_(padded_grad, self.powers), _rows(grad, lrn.groups)))


def _pad(x: Tensor, lrn: LRN, lead: int) -> Tensor:
    """Maps in channels last, each group between zeros, `lead` of them first; flat, with `size - 1` more behind."""
    rows = _rows(x, lrn.groups)
    spread = rows.shape[-1] + lrn.size - 1
    flat = x.new_zeros(rows[..., 0].numel() * spread + lrn.size - 1)
    whole = flat[: flat.numel() - lrn.size + 1].view(*rows.shape[:-1], spread)
    whole[..., lead : lead + rows.shape[-1]] = rows
    return flat


def _rows(x: Tensor, groups: int) -> Tensor:
    """Maps (N, C, H, W) in channels last as (N, H, W, groups, C/groups), the same memory."""
    cases, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).view(cases, height, width, groups, channels // groups)


def _crop(flat: Tensor, like: Tensor) -> Tensor:
    """The sums over the windows of what `_pad` made, without the zeros: (N, H, W, groups, C/groups)."""
    return flat.view(*like.shape[:-1], -1)[..., : like.shape[-1]]


def _maps(rows: Tensor) -> Tensor:
    return rows.flatten(3).permute(0, 3, 1, 2)


def _window_sums(x: Tensor, size: int) -> Tensor:
    """`sum of x[i + t] for t < size`, by halves: three additions for a window of five."""
    if size == 1:
        return x
    count, half = x.numel() - size + 1, size // 2
    sums = _window_sums(x, half)
    both = sums[:count] + sums[half : half + count]
    return both.add_(x[size - 1 :]) if size % 2 else both


def _power(x: Tensor, beta: float) -> Tensor:
    """`x ** -beta`; roots where they do."""
    if beta == 0.75:
        root = x.rsqrt()
        return root.sqrt().mul_(root)
    return x.rsqrt() if beta == 0.5 else x.pow(-beta)


def _pool(x: Tensor, pool: Pool) -> tuple[Tensor, Tensor]:
    """Largest pixels, and where they are on the framed map."""
    framed = reference.frame(x, *windows(x, pool), -torch.inf)
    result: tuple[Tensor, Tensor] = torch.ops.aten.max_pool2d_with_indices(
        framed, [pool.kernel_size] * 2, [pool.stride] * 2
    )
    return result


def _pool_gradient(grad: Tensor, x: Tensor, pool: Pool) -> Tensor:
    rows, columns = windows(x, pool)
    framed = reference.frame(x, rows, columns, -torch.inf)
    kernel_size, stride = [pool.kernel_size] * 2, [pool.stride] * 2
    _, where = torch.ops.aten.max_pool2d_with_indices(framed, kernel_size, stride)
    result: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        grad, framed, kernel_size, stride, [0, 0], [1, 1], False, where
    )
    if framed.shape == x.shape and not pool.start:
        return result
    inside = result[:, :, rows.before : result.shape[2] - rows.after, columns.before : result.shape[3] - columns.after]
    left, right = columns.seen.start, x.shape[3] - columns.seen.stop
    return F.pad(inside, (left, right, rows.seen.start, x.shape[2] - rows.seen.stop))


def augment(
    images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor, scale: float, y: Tensor
) -> None:
    """Write into `y` what `convspec_kernels.augment` computes, a picture at a time: a slice copies runs of bytes, where the
    reference gathers each of them. In float32, and rounded once where `y` is of a narrower type."""
    _, height, width, _ = images.shape
    size, whole = y.shape[2], y.permute(0, 2, 3, 1)
    narrow = None if y.dtype is torch.float32 else torch.empty(size, size, 3)
    for n, ((top, left), mirror) in enumerate(zip(offsets.tolist(), mirrors.tolist(), strict=True)):
        first_row, first_column = min(max(top, 0), height - size), min(max(left, 0), width - size)
        pixels = images[n, first_row : first_row + size, first_column : first_column + size]
        crop = whole[n] if narrow is None else narrow
        crop.copy_(pixels.flip(1) if mirror else pixels).sub_(mean).add_(colours[n]).mul_(scale)
        if narrow is not None:
            whole[n].copy_(narrow)

"""Augmentation of a batch of pictures on the device that trains: crop, mirror, mean, colours, in one pass.

`augment` checks its arguments and is one `torch.library` operator, so that it may stand in a compiled function;
`dispatch` chooses what computes it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convspec_kernels import dispatch
from convspec_kernels.library import define

TYPES = (torch.float32, torch.float16, torch.bfloat16)


def augment(
    images: Tensor,
    offsets: Tensor,
    mirrors: Tensor,
    colours: Tensor,
    mean: Tensor,
    *,
    size: int,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
) -> Tensor:
    """Cut a square out of each picture, mirror some, subtract the mean, shift the colours.

        y[n, :, i, j] = (images[n, offsets[n, 0] + i, offsets[n, 1] + j', :] - mean[i, j, :] + colours[n, :]) * scale
        j' = size - 1 - j where mirrors[n], else j

    The mean lies still under moved and mirrored crops, as in cuda-convnet.

    Args:
        images: (N, H, W, 3), uint8, contiguous; a picture has fewer than 2**31 bytes.
        offsets: (N, 2), int32: first row and column of each crop, which must lie inside the picture. They are not
            looked at, for that would wait for the device: what lies outside is moved to the nearest place inside.
        mirrors: (N,), bool.
        colours: (N, 3), float32, in units of a pixel's value: the shift along the principal components of the colours.
        mean: (size, size, 3) or (3,), float32.
        size: rows and columns of a crop, at least 1, at most H and W.
        scale: a factor over everything.
        dtype: of the result: float32, float16 or bfloat16.
        out: where the result goes, channels last; None for a new tensor. On a CPU fresh memory costs more than the
            pictures do, so that batch after batch is best written over the same tensor.

    Returns:
        (N, 3, size, size), channels last, contiguous in memory.

    Raises:
        ValueError: a shape, type or device is another than said above.
    """
    _check(images, offsets, mirrors, colours, mean, size, dtype)
    shape = (images.shape[0], 3, size, size)
    if out is None:
        out = torch.empty(shape, dtype=dtype, device=images.device, memory_format=torch.channels_last)
    _check_out(out, shape, dtype, images.device)
    torch.ops.convspec_kernels.augment(images, offsets, mirrors, colours, mean, scale, out)
    return out


def _augment(
    images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor, scale: float, y: Tensor
) -> None:
    dispatch.choose_augment(images.device.type).augment(images, offsets, mirrors, colours, mean, scale, y)
    torch.autograd.graph.increment_version(y)


def _nothing(*_: object) -> None:
    """`y` is there already."""


define(
    "augment(Tensor images, Tensor offsets, Tensor mirrors, Tensor colours, Tensor mean, float scale, Tensor(a!) y) -> ()",
    _augment,
    _nothing,
)


def _check_out(out: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    if tuple(out.shape) != shape or out.dtype != dtype or out.device != device:
        raise ValueError(
            f"out must be {shape}, {dtype}, on {device}; not {tuple(out.shape)}, {out.dtype}, {out.device}"
        )
    if not out.is_contiguous(memory_format=torch.channels_last):
        raise ValueError("out must be channels last, contiguous in memory")


def _check(
    images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor, size: int, dtype: torch.dtype
) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != torch.uint8 or not images.is_contiguous():
        raise ValueError(f"images are (N, H, W, 3), uint8, contiguous; not {tuple(images.shape)}, {images.dtype}")
    cases, height, width, _ = images.shape
    if height * width * 3 >= 2**31:
        raise ValueError(f"a picture must have fewer than 2**31 bytes, not {height}x{width}x3")
    if not 1 <= size <= min(height, width):
        raise ValueError(f"size must be from 1 to {min(height, width)}, not {size}")
    if dtype not in TYPES:
        raise ValueError(f"dtype must be float32, float16 or bfloat16, not {dtype}")
    whole: tuple[int, ...] = (size, size, 3)
    expected: dict[str, tuple[Tensor, torch.dtype, list[tuple[int, ...]]]] = {
        "offsets": (offsets, torch.int32, [(cases, 2)]),
        "mirrors": (mirrors, torch.bool, [(cases,)]),
        "colours": (colours, torch.float32, [(cases, 3)]),
        "mean": (mean, torch.float32, [whole, (3,)]),
    }
    for name, (tensor, kind, shapes) in expected.items():
        if tensor.dtype != kind or tuple(tensor.shape) not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise ValueError(f"{name} must be {wanted}, {kind}; not {tuple(tensor.shape)}, {tensor.dtype}")
        if tensor.device != images.device:
            raise ValueError(f"{name} is on {tensor.device}, the images are on {images.device}")

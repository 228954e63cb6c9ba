"""Augmentation of a batch of pictures on the device that trains: crop, mirror, mean, colours, in one pass.

`augment` checks its arguments and is one `torch.library` operator, so that it may stand in a compiled function. On a
GPU with Triton it is one kernel (`triton_augment`), elsewhere the reference below.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

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
) -> Tensor:
    """Cut a square out of each picture, mirror some, subtract the mean, shift the colours.

        y[n, :, i, j] = (images[n, offsets[n, 0] + i, offsets[n, 1] + j', :] - mean[i, j, :] + colours[n, :]) * scale
        j' = size - 1 - j where mirrors[n], else j

    The mean lies still under moved and mirrored crops, as in cuda-convnet.

    Args:
        images: (N, H, W, 3), uint8, contiguous.
        offsets: (N, 2), int32: first row and column of each crop, which must lie inside the picture. They are not
            looked at, for that would wait for the device: what lies outside is moved to the nearest place inside.
        mirrors: (N,), bool.
        colours: (N, 3), float32, in units of a pixel's value: the shift along the principal components of the colours.
        mean: (size, size, 3) or (3,), float32.
        size: rows and columns of a crop, at least 1, at most H and W.
        scale: a factor over everything.
        dtype: of the result: float32, float16 or bfloat16.

    Returns:
        (N, 3, size, size), channels last, contiguous in memory.

    Raises:
        ValueError: a shape, type or device is another than said above.
    """
    _check(images, offsets, mirrors, colours, mean, size, dtype)
    result: Tensor = torch.ops.convspec_kernels.augment(images, offsets, mirrors, colours, mean, size, scale, dtype)
    return result


def augment_reference(
    images: Tensor,
    offsets: Tensor,
    mirrors: Tensor,
    colours: Tensor,
    mean: Tensor,
    size: int,
    scale: float,
    dtype: torch.dtype,
) -> Tensor:
    """What `augment` computes, by indexing with torch."""
    cases, height, width, _ = images.shape
    steps = torch.arange(size, device=images.device)
    rows = offsets[:, :1].clamp(0, height - size) + steps
    columns = offsets[:, 1:].clamp(0, width - size) + torch.where(mirrors[:, None], size - 1 - steps, steps)
    case = torch.arange(cases, device=images.device)[:, None, None]
    pixels = images[case, rows[:, :, None], columns[:, None, :]].float()
    return ((pixels - mean + colours[:, None, None, :]) * scale).to(dtype).permute(0, 3, 1, 2)


@torch.library.custom_op("convspec_kernels::augment", mutates_args=())
def _augment(
    images: Tensor,
    offsets: Tensor,
    mirrors: Tensor,
    colours: Tensor,
    mean: Tensor,
    size: int,
    scale: float,
    dtype: torch.dtype,
) -> Tensor:
    if images.device.type == "cuda" and find_spec("triton"):
        from convspec_kernels import triton_augment

        return triton_augment.augment(images, offsets, mirrors, colours, mean, size, scale, dtype)
    return augment_reference(images, offsets, mirrors, colours, mean, size, scale, dtype)


@_augment.register_fake
def _fake(
    images: Tensor,
    offsets: Tensor,
    mirrors: Tensor,
    colours: Tensor,
    mean: Tensor,
    size: int,
    scale: float,
    dtype: torch.dtype,
) -> Tensor:
    return images.new_empty((images.shape[0], size, size, 3), dtype=dtype).permute(0, 3, 1, 2)


def _check(
    images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor, size: int, dtype: torch.dtype
) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != torch.uint8 or not images.is_contiguous():
        raise ValueError(f"images are (N, H, W, 3), uint8, contiguous; not {tuple(images.shape)}, {images.dtype}")
    cases, height, width, _ = images.shape
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

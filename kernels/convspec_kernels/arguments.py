"""What public functions check of their arguments before they hand on."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from convspec_kernels.options import Ties
from convspec_kernels.windows import Axes, Windows, as_axes

TieRule: TypeAlias = Literal["first", "all"]


TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_maps(x: Tensor) -> None:
    """Raises ValueError where `x` is not (N, C, H, W) of these types, each number in memory."""
    if x.ndim != 4:
        raise ValueError(f"maps are (N, C, H, W), this tensor has the shape {tuple(x.shape)}")
    if x.layout is not torch.strided:
        raise ValueError(f"maps are dense, this tensor is {x.layout}")
    if x.dtype not in TYPES:
        raise ValueError(f"maps are floating-point numbers of 16 bits or more, this tensor holds {x.dtype}")


def tie_rule(ties: TieRule) -> Ties:
    """Raises ValueError for another word."""
    if ties not in ("first", "all"):
        raise ValueError(f"ties must be 'first' or 'all', not {ties!r}")
    return Ties.FIRST if ties == "first" else Ties.ALL


def pool_windows(
    x: Tensor,
    kernel_size: int | Axes,
    stride: int | Axes,
    start: int | Axes,
    output_size: tuple[int, int] | None,
) -> tuple[Windows, Windows]:
    """Windows along rows and columns. Raises ValueError where there is none, or one without a pixel."""
    check_maps(x)
    counts = output_size if output_size is not None else (None, None)
    axes = zip(x.shape[2:], as_axes(kernel_size), as_axes(stride), as_axes(start), counts, strict=True)
    rows, columns = (Windows.along(*axis) for axis in axes)
    return rows, columns

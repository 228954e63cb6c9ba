"""The kernels as a person without them would write them: what `convspec bench` measures against.

An emitted module runs on these where its import of `convspec_kernels` is turned to this module. Whatever plain PyTorch
has no function for is the kernels' own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import convspec_kernels


def local_response_norm(x: Tensor, size: int, *, groups: int = 1, **numbers: Any) -> Tensor:
    """A tower after the other."""
    towers = [F.local_response_norm(tower, size, **numbers) for tower in x.chunk(groups, 1)]
    return towers[0] if groups == 1 else torch.cat(towers, 1)


def max_pool2d(x: Tensor, kernel_size: Any, stride: Any, **windows: Any) -> Tensor:
    if windows:
        return convspec_kernels.max_pool2d(x, kernel_size, stride, **windows)
    return F.max_pool2d(x, kernel_size, stride, ceil_mode=True)


def avg_pool2d(x: Tensor, kernel_size: Any, stride: Any, **windows: Any) -> Tensor:
    if windows:
        return convspec_kernels.avg_pool2d(x, kernel_size, stride, **windows)
    return F.avg_pool2d(x, kernel_size, stride, ceil_mode=True, count_include_pad=False)


def dropout(x: Tensor, p: float, training: bool, *_: object) -> Tensor:
    return F.dropout(x, p, training)


def __getattr__(name: str) -> Any:
    return getattr(convspec_kernels, name)

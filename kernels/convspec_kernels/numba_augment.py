"""Crop, mirror, mean, colours and the conversion from uint8 on the CPU: a loop over pictures, shared among threads."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convspec_kernels.numba_cache import compiled_outer
from convspec_kernels.numba_rows import Bytes, Floats
from convspec_kernels.threads import Work, share


def augment(
    images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor, scale: float, y: Tensor
) -> None:
    """Write into `y` what `convspec_kernels.augment` computes: in float32, and copied where `y` is of a narrower type."""
    cases, height, width, _ = images.shape
    size = y.shape[2]
    whole = y.permute(0, 2, 3, 1) if y.dtype is torch.float32 else torch.empty((cases, size, size, 3))
    rows = images.numpy().reshape(cases, height, width * 3)
    tensors = (rows, offsets.numpy(), mirrors.numpy(), colours.numpy())
    still = mean.expand(size, size, 3).contiguous().numpy().reshape(size, size * 3)
    result = whole.numpy().reshape(cases, size, size * 3)

    def worker() -> Work:
        turned, shifts = np.empty(size * 3, np.uint8), np.empty(size * 3, np.float32)
        arguments = (*tensors, still, np.float32(scale), turned, shifts, result)
        return lambda first, last: _augment(*arguments, first, last)

    share(worker, cases, 1)
    if y.dtype is not torch.float32:
        y.copy_(whole.permute(0, 3, 1, 2))


@compiled_outer
def _augment(
    images: Bytes,
    offsets: NDArray[np.int32],
    mirrors: NDArray[np.bool_],
    colours: Floats,
    mean: Floats,
    scale: np.float32,
    turned: Bytes,
    shifts: Floats,
    y: Floats,
    first: int,
    last: int,
) -> None:
    """Pictures `first` to `last`, in rows of size * 3 numbers. `turned` and `shifts` are rows to work in.

    A row of a crop is one run of bytes, so that it is one long loop; where it is mirrored, its pixels are turned first.
    """
    length = y.shape[2]
    size = length // 3
    for n in range(first, last):
        top = min(max(offsets[n, 0], 0), images.shape[1] - size)
        left = min(max(offsets[n, 1], 0), images.shape[2] // 3 - size)
        for k in range(length):
            shifts[k] = colours[n, k % 3]
        for i in range(size):
            row = images[n, top + i, 3 * left : 3 * left + length]
            if mirrors[n]:
                for k in range(0, length, 3):
                    turned[length - 3 - k] = row[k]
                    turned[length - 2 - k] = row[k + 1]
                    turned[length - 1 - k] = row[k + 2]
                row = turned
            for k in range(length):
                y[n, i, k] = (np.float32(row[k]) - mean[i, k] + shifts[k]) * scale

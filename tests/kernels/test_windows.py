"""Which windows torch's pooling has, against torch itself."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

from convspec_kernels.windows import Windows


def torch_count(length: int, size: int, stride: int, padding: int, *, ceil_mode: bool) -> int:
    """How many windows torch gives; 0 where it refuses."""
    try:
        pooled = F.max_pool1d(torch.empty(1, 1, length, device="meta"), size, stride, padding, ceil_mode=ceil_mode)
    except RuntimeError:
        return 0
    return pooled.shape[-1]


def test_is_torch_is_what_torch_counts() -> None:
    """All small windows that hold a pixel. Those that begin inside the map are never torch's, and those larger than the map
    and its padding are not asked of it."""
    agreed = 0
    for length, size, stride, start in product(range(1, 7), range(1, 6), range(1, 5), range(-4, 2)):
        for ceil_mode in (False, True):
            theirs = torch_count(length, size, stride, max(-start, 0), ceil_mode=ceil_mode)
            for count in range(1, 7):
                try:
                    windows = Windows.along(length, size, stride, start, count)
                except ValueError:
                    continue
                expected = start <= 0 and theirs == count and size <= length + 2 * windows.before
                assert windows.is_torch(ceil_mode=ceil_mode) == expected, (windows, ceil_mode)
                agreed += expected
    assert agreed > 300

"""The fused operator on the CPU, by `numba_loops`: which maps it takes, and torch tensors to and from NumPy arrays.

The loops compute in float32, on float32 or bfloat16 of either memory format, as it lies in memory. float16 is converted
before and after, which costs a copy of the maps each way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convspec_kernels import numba_loops
from convspec_kernels.layout import memory_format, result_shape
from convspec_kernels.numba_lanes import LANES
from convspec_kernels.numba_rows import Bytes, Floats, Maps, Norm, Pool
from convspec_kernels.options import FusedOptions, Ties
from convspec_kernels.pages import in_huge_pages
from convspec_kernels.threads import Work, share

_LEAST_ELEMENTS = 1 << 15
"""A range of fewer is not worth a thread: some 30 microseconds."""

_CACHE_LINE = 64


def unsupported(x: Tensor, options: FusedOptions) -> str | None:
    if x.device.type != "cpu":
        return f"numba's kernels run on the CPU, the maps are on {x.device}"
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"numba's kernels take float32, bfloat16 and float16, not {str(x.dtype).removeprefix('torch.')}"
    if options.lrn is not None and options.lrn.k <= 0:
        return f"numba's kernels take a k above 0, not {options.lrn.k}"
    if options.pool is not None and options.pool.kernel_size > 16:
        size = options.pool.kernel_size
        return f"the argmax of {size}x{size} pixels does not fit into a byte"
    if options.pool is not None and options.pool.ties is not Ties.FIRST:
        return "numba's kernels give the gradient of a window to one pixel, not to all that are equal"
    return None


def fused_forward(x: Tensor, bias: Tensor | None, options: FusedOptions) -> tuple[Tensor, Tensor | None]:
    y = _fresh(result_shape(x, options), x)
    argmax = None
    if options.pool is not None:
        argmax = torch.empty(y.shape, dtype=torch.uint8, memory_format=torch.channels_last)
    if y.numel():
        maps, result = _Maps.of(x, x), _Maps.of(y, x)
        shifts, constants = _bias(bias, x), _constants(x, options)
        elements = y.shape[1] * y.shape[3]
        taps = np.empty((0, 0), np.uint8) if argmax is None else _bytes(argmax).reshape(-1, elements)
        kernel_size = 0 if options.pool is None else options.pool.kernel_size

        def worker() -> Work:
            scratch = (maps.row(), *_rows(1, maps.elements)), tuple(_spread_rows(2, x, options))
            ring = _aligned(kernel_size, elements), np.empty((kernel_size, elements), np.uint8)
            own_y = result.rows if result.rows.size else result.row()[None]
            sources = maps.rows, maps.planes, shifts, *constants
            arguments: tuple[Any, ...] = (*sources, *scratch, *ring, own_y, result.planes, taps)
            return lambda first, last: numba_loops.forward(*arguments, first, last)

        _share_rows(worker, y)
    return y.to(x.dtype), argmax


def fused_backward(
    grad_y: Tensor, x: Tensor, bias: Tensor | None, argmax: Tensor | None, options: FusedOptions
) -> tuple[Tensor, Tensor | None]:
    grad_x = _fresh(tuple(x.shape), x)
    per_row = np.empty((0, 0), np.float32)
    if x.numel():
        grads, maps, result = (_Maps.of(tensor, x) for tensor in (grad_y, x, grad_x))
        shifts, constants = _bias(bias, x), _constants(x, options)
        taps = np.empty((0, 0), np.uint8) if argmax is None else _bytes(argmax).reshape(-1, grads.elements)
        if bias is not None:
            per_row = np.empty((x.shape[0] * x.shape[2], x.shape[1]), np.float32)

        def worker() -> Work:
            rows = maps.row(), grads.row(), *_rows(1, maps.elements)
            scratch = rows, tuple(_spread_rows(4, x, options))
            own_x = result.rows if result.rows.size else result.row()[None]
            sources = grads.rows, grads.planes, maps.rows, maps.planes, shifts, taps, *constants
            arguments: tuple[Any, ...] = (*sources, *scratch, own_x, result.planes, per_row)
            return lambda first, last: numba_loops.backward(*arguments, first, last)

        _share_rows(worker, grad_x)
    if bias is None:
        return grad_x.to(x.dtype), None
    sums = torch.from_numpy(per_row.sum(axis=0, dtype=np.float64)) if x.numel() else torch.zeros(x.shape[1])
    return grad_x.to(x.dtype), sums.to(bias.dtype)


@dataclass(frozen=True)
class _Maps:
    """A tensor (N, C, H, W) as the loops take it, bfloat16 as its bits. elements: of a row. rows: (N*H, W*C), of channels-last
    maps. planes: (N, C, H, W), of others."""

    elements: int
    rows: Maps
    planes: Maps

    @classmethod
    def of(cls, tensor: Tensor, x: Tensor) -> _Maps:
        """In the memory format and the type of x; the memory of `tensor` where it has both, and x is not float16."""
        cases, channels, height, width = tensor.shape
        maps = tensor.detach().to(_stored(x)).contiguous(memory_format=memory_format(x))
        array = maps.view(torch.int16).numpy().view(np.uint16) if maps.dtype is torch.bfloat16 else maps.numpy()
        if memory_format(x) is torch.channels_last:
            rows = array.transpose(0, 2, 3, 1).reshape(cases * height, width * channels)
            return cls(width * channels, rows, np.empty((0, 0, 0, 0), array.dtype))
        return cls(width * channels, np.empty((0, 0), array.dtype), array)

    def row(self) -> Maps:
        """One to work in."""
        return np.empty(self.elements, self.rows.dtype)


def _fresh(shape: tuple[int, ...], x: Tensor) -> Tensor:
    return in_huge_pages(torch.empty(shape, dtype=_stored(x), memory_format=memory_format(x)))


def _stored(x: Tensor) -> torch.dtype:
    """The type that the loops read and write for maps of such a type."""
    return x.dtype if x.dtype is torch.bfloat16 else torch.float32


def _share_rows(worker: Callable[[], Work], maps: Tensor) -> None:
    cases, channels, height, width = maps.shape
    share(worker, cases * height, max(1, _LEAST_ELEMENTS // (channels * width)))


def _bytes(argmax: Tensor) -> Bytes:
    array: NDArray[np.uint8] = argmax.permute(0, 2, 3, 1).contiguous().numpy()
    return array


def _bias(bias: Tensor | None, x: Tensor) -> Floats:
    if bias is None:
        return np.zeros(x.shape[1], np.float32)
    shifts: Floats = bias.detach().to(torch.float32).contiguous().numpy()
    return shifts


def _constants(x: Tensor, options: FusedOptions) -> tuple[tuple[bool, bool], Norm, Pool]:
    lrn, pool, height, channels = options.lrn, options.pool, x.shape[2], x.shape[1]
    return (
        (options.relu_before, options.relu_after),
        (0, np.float32(0), np.float32(0), np.float32(0), channels)
        if lrn is None
        else (
            lrn.size,
            np.float32(lrn.alpha / lrn.size),
            np.float32(lrn.beta),
            np.float32(lrn.k),
            channels // lrn.groups,
        ),
        (height, height, 0, 1, 0)
        if pool is None
        else (height, pool.out_height, pool.kernel_size, pool.stride, pool.start),
    )


def _aligned(rows: int, elements: int) -> Floats:
    """Zeros, each row from the beginning of a cache line on, so that no load of lanes crosses two; and as long as they take."""
    room = -(-4 * elements // _CACHE_LINE) * _CACHE_LINE
    memory = np.zeros(rows * room + _CACHE_LINE, np.uint8)
    lead = -memory.ctypes.data % _CACHE_LINE
    return memory[lead:][: rows * room].view(np.float32).reshape(rows, room // 4)


def _rows(rows: int, elements: int) -> Floats:
    return _aligned(rows, elements)[:, :elements]


def _spread_rows(count: int, x: Tensor, options: FusedOptions) -> Floats:
    """Rows with room for size - 1 zeros behind each group, and for the lanes and the window of the last pixel."""
    if options.lrn is None:
        return np.zeros((count, 0), np.float32)
    size, groups = options.lrn.size, options.lrn.groups
    return _aligned(count, x.shape[3] * (x.shape[1] + groups * (size - 1)) + 4 * LANES + size)

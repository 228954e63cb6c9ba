"""The fused operator on the CPU, by `numba_loops`: which maps it takes, and torch tensors to and from NumPy arrays.

The loops compute in float32, on maps of either memory format. Narrower types are converted before and after, which
costs a copy of the maps each way.
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
from convspec_kernels.numba_loops import Bytes, Constants, Floats
from convspec_kernels.options import FusedOptions, Ties
from convspec_kernels.threads import Work, share

_LEAST_ELEMENTS = 1 << 15
"""A range of fewer is not worth a thread: some 30 microseconds."""

_NO_ROWS, _NO_PLANES = np.empty((0, 0, 0, 0), np.float32), np.empty((0, 0, 0, 0, 0), np.float32)


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
    y = torch.empty(result_shape(x, options), memory_format=memory_format(x))
    argmax = None
    if options.pool is not None:
        argmax = torch.empty(y.shape, dtype=torch.uint8, memory_format=torch.channels_last)
    if y.numel():
        maps, result = _Maps.of(x, x, options), _Maps.of(y, x, options)
        shifts, constants = _bias(bias, maps.row), _constants(x, options)
        taps = np.empty((0, 0), np.uint8) if argmax is None else _bytes(argmax).reshape(-1, result.row_elements)

        def worker() -> Work:
            own = result.rows if result.rows.size else np.empty((1, *result.row), np.float32)
            results = (own, own.reshape(-1, result.row_elements), result.planes, taps)
            scratch = _forward_scratch(maps.row, result.row[0], options)
            arguments: tuple[Any, ...] = (maps.rows, maps.planes, shifts, *constants, *scratch, *results)
            return lambda first, last: numba_loops.forward(*arguments, first, last)

        _share_rows(worker, y)
    return y.to(x.dtype), argmax


def fused_backward(
    grad_y: Tensor, x: Tensor, bias: Tensor | None, argmax: Tensor | None, options: FusedOptions
) -> tuple[Tensor, Tensor | None]:
    grad_x = torch.empty(x.shape, memory_format=memory_format(x))
    per_row = np.zeros((0, 0, 0), np.float32)
    if x.numel():
        grads, maps, result = (_Maps.of(tensor, x, options) for tensor in (grad_y, x, grad_x))
        shifts, constants = _bias(bias, maps.row), _constants(x, options)
        taps = np.empty((0, 0, 0, 0), np.uint8) if argmax is None else _bytes(argmax).reshape(-1, *grads.row)
        if bias is not None:
            per_row = np.empty((x.shape[0] * x.shape[2], *maps.row[1:]), np.float32)

        def worker() -> Work:
            scratch = _backward_scratch(maps.row, grads.row[0], options)
            sources = (grads.rows, grads.planes, maps.rows, maps.planes, shifts, taps)
            arguments: tuple[Any, ...] = (*sources, *constants, *scratch, result.rows, result.planes, per_row)
            return lambda first, last: numba_loops.backward(*arguments, first, last)

        _share_rows(worker, grad_x)
    if bias is None:
        return grad_x.to(x.dtype), None
    sums = torch.from_numpy(per_row.sum(axis=0, dtype=np.float64).reshape(-1)) if x.numel() else torch.zeros(x.shape[1])
    return grad_x.to(x.dtype), sums.to(bias.dtype)


@dataclass(frozen=True)
class _Maps:
    """A tensor (N, C, H, W) as the loops take it.

    row: W, groups, C/groups. rows: (N*H, *row), of channels-last maps. planes: (N, groups, C/groups, H, W), of others.
    """

    row: tuple[int, int, int]
    rows: Floats
    planes: Floats

    @classmethod
    def of(cls, tensor: Tensor, x: Tensor, options: FusedOptions) -> _Maps:
        """In the memory format of x; the memory of `tensor` where it is in that format and float32."""
        cases, channels, height, width = tensor.shape
        groups = options.lrn.groups if options.lrn is not None else 1
        row = (width, groups, channels // groups)
        maps = tensor.detach().to(torch.float32).contiguous(memory_format=memory_format(x))
        if memory_format(x) is torch.channels_last:
            return cls(row, maps.permute(0, 2, 3, 1).numpy().reshape(cases * height, *row), _NO_PLANES)
        return cls(row, _NO_ROWS, maps.numpy().reshape(cases, *row[1:], height, width))

    @property
    def row_elements(self) -> int:
        return self.row[0] * self.row[1] * self.row[2]


def _share_rows(worker: Callable[[], Work], maps: Tensor) -> None:
    cases, channels, height, width = maps.shape
    share(worker, cases * height, max(1, _LEAST_ELEMENTS // (channels * width)))


def _bytes(argmax: Tensor) -> Bytes:
    array: NDArray[np.uint8] = argmax.permute(0, 2, 3, 1).contiguous().numpy()
    return array


def _bias(bias: Tensor | None, row: tuple[int, int, int]) -> Floats:
    if bias is None:
        return np.zeros(row[1:], np.float32)
    shifts: Floats = bias.detach().to(torch.float32).contiguous().numpy()
    return shifts.reshape(row[1:])


def _constants(x: Tensor, options: FusedOptions) -> Constants:
    lrn, pool, height = options.lrn, options.pool, x.shape[2]
    return (
        (options.relu_before, options.relu_after),
        (0, np.float32(0), 0.0, np.float32(0))
        if lrn is None
        else (lrn.size, np.float32(lrn.alpha / lrn.size), float(lrn.beta), np.float32(lrn.k)),
        (height, height, 0, 1, 0)
        if pool is None
        else (height, pool.out_height, pool.kernel_size, pool.stride, pool.start),
    )


def _spread_row(row: tuple[int, int, int], size: int, lead: int) -> tuple[Floats, Floats]:
    """A flat row of zeros with room for size - 1 behind each group, and the same without `lead` at its start."""
    width, groups, channels = row
    length = width * groups * (channels + max(size - 1, 0))
    flat = np.zeros(length + size, np.float32)
    return flat, flat[lead:][:length]


def _forward_scratch(row: tuple[int, int, int], columns: int, options: FusedOptions) -> tuple[object, ...]:
    """rows, spread_rows, flat_ring and ring of `numba_loops.forward`."""
    size = options.lrn.size if options.lrn is not None else 0
    kernel_size = options.pool.kernel_size if options.pool is not None else 0
    squares, own_squares = _spread_row(row, size, size // 2)
    own, rest, normed = np.zeros((3, own_squares.size), np.float32)
    ring = np.empty((kernel_size + 1, 2, columns, *row[1:]), np.float32)
    spread_rows = (own.reshape(*row[:2], -1), normed.reshape(*row[:2], -1))
    return (own, squares, own_squares, rest, normed), spread_rows, ring.reshape(kernel_size + 1, 2, -1), ring


def _backward_scratch(row: tuple[int, int, int], columns: int, options: FusedOptions) -> tuple[object, ...]:
    """rows, spread_rows and no_bias of `numba_loops.backward`."""
    size = options.lrn.size if options.lrn is not None else 0
    squares, own_squares = _spread_row(row, size, size // 2)
    shares, own_shares = _spread_row(row, size, max(size - 1, 0) - size // 2)
    own, rest, powers, grads = np.zeros((4, own_squares.size), np.float32)
    rows = (own, squares, own_squares, rest, powers, shares, own_shares, grads)
    grad_row = np.empty((columns, *row[1:]), np.float32)
    spread_rows = (own.reshape(*row[:2], -1), grads.reshape(*row[:2], -1), grad_row)
    return rows, spread_rows, np.zeros(row[1:], np.float32)

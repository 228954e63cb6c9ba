"""The fused operator as loops over float32 rows of pixels, sixteen channels at a time, compiled by numba when first called.

They work on one row of pixels at a time, so that everything between the maps and the result stays in the caches:

    maps row -> bias, ReLU, [LRN] -> largest of each window's columns -> largest of each window's rows -> result

A row is flat: (W, groups, channels), channels being those of a group. The paper's window of five needs no memory for its
squares and sums: the channels on either side are in the registers of the lanes before and behind. Other windows are read
from a row in which the channels of each group are followed by zeros, so that they need no border. Maps that are not
channels last are turned row by row, while the row is in the caches.

Every number is computed from its own row alone and in the same order whatever the range that a thread was given: the
bits do not depend on the number of threads. NaN spreads, as in torch: it wins its window.
"""

from __future__ import annotations

from convspec_kernels.numba_cache import compiled_inner, compiled_outer
from convspec_kernels.numba_norm import gradient, normalise
from convspec_kernels.numba_pool import give, largest_of_columns, largest_of_rows
from convspec_kernels.numba_rows import (
    LOWEST,
    ZERO,
    Bytes,
    Floats,
    Maps,
    Norm,
    Pool,
    clip_negative,
    copy_row,
    row_of,
    sum_pixels,
    turn_back,
)


@compiled_outer
def forward(
    x: Maps,
    x_planes: Maps,
    bias: Floats,
    relu: tuple[bool, bool],
    lrn: Norm,
    pool: Pool,
    rows: tuple[Maps, Floats],
    spread: tuple[Floats, Floats],
    ring: Floats,
    ring_columns: Bytes,
    y: Maps,
    y_planes: Maps,
    argmax: Bytes,
    first: int,
    last: int,
) -> None:
    """Compute the rows `first` to `last` of y, counted over the whole batch.

    Maps are either x (N*H, W*C) or x_planes (N, C, H, W), the other one is empty; results likewise: y (N*rows, columns*C),
    or y_planes, and then y has room for one row. bias: (C,). argmax: as y, empty without a pool. relu: before and after.
    rows: one to turn and one to normalise. spread: one of pixels and one of their squares. ring, ring_columns:
    (kernel_size, at least columns*C).
    """
    turned, normed = rows
    height, per_image, kernel_size, stride, start = pool
    image, ready = -1, 0
    for index in range(first, last):
        if index // per_image != image:
            image, ready = index // per_image, 0
        out = index % per_image
        top = start + out * stride if kernel_size else out
        bottom = min(top + kernel_size, height) if kernel_size else top + 1
        result = y[0] if x_planes.size else y[index]
        for h in range(max(ready, top, 0), bottom):
            source = row_of(x, image * height + h, x_planes, image, h, turned)
            normalise(source, bias, ZERO if relu[0] else LOWEST, lrn, spread, normed)
            if kernel_size:
                slot = h % kernel_size
                largest_of_columns(normed, bias.size, pool, ring[slot, : result.size], ring_columns[slot])
        ready = bottom
        if kernel_size == 0:
            copy_row(normed, result)
        else:
            largest_of_rows(ring, ring_columns, top, max(0, -top), bottom - top, result, argmax[index])
        if relu[1]:
            clip_negative(result)
        if x_planes.size:
            turn_back(result, y_planes[image], out)


@compiled_inner
def _collect(
    grad_y: Maps,
    planes: Maps,
    argmax: Bytes,
    image: int,
    h: int,
    channels: int,
    pool: Pool,
    turned: Maps,
    row: Floats,
) -> None:
    """What all windows give row h of an image."""
    _, per_image, kernel_size, stride, start = pool
    row[:] = ZERO
    top, bottom = (h - start - kernel_size) // stride + 1, (h - start) // stride + 1
    for out in range(max(0, top), min(per_image, bottom)):
        index, tap = image * per_image + out, (h - start - out * stride) * kernel_size
        give(row_of(grad_y, index, planes, image, out, turned), argmax[index], channels, tap, pool, row)


@compiled_outer
def backward(
    grad_y: Maps,
    grad_y_planes: Maps,
    x: Maps,
    x_planes: Maps,
    bias: Floats,
    argmax: Bytes,
    relu: tuple[bool, bool],
    lrn: Norm,
    pool: Pool,
    rows: tuple[Maps, Maps, Floats],
    scratch: tuple[Floats, Floats, Floats, Floats],
    grad_x: Maps,
    grad_x_planes: Maps,
    grad_bias: Floats,
    first: int,
    last: int,
) -> None:
    """Compute the rows `first` to `last` of grad_x, counted over the whole batch; arguments as in `forward`.

    rows: one of pixels and one of results to turn, and one of pixels in which what windows give is collected. scratch: see
    `_gradient_five` and `_gradient_spread`. grad_bias: (N*H, C), the sum over each row; nothing where it is empty.
    """
    turned, turned_grads, collected = rows
    height, _, kernel_size, _, _ = pool
    for index in range(first, last):
        image, h = index // height, index % height
        source = row_of(x, index, x_planes, image, h, turned)
        result = grad_x[0] if x_planes.size else grad_x[index]
        if kernel_size:
            _collect(grad_y, grad_y_planes, argmax, image, h, bias.size, pool, turned_grads, collected)
        else:
            copy_row(row_of(grad_y, index, grad_y_planes, image, h, turned_grads), collected)
        gradient(collected, source, bias, relu, lrn, scratch, result)
        if x_planes.size:
            turn_back(result, grad_x_planes[image], h)
        if grad_bias.size:
            sum_pixels(result, grad_bias[index])

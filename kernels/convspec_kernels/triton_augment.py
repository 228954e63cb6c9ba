"""Crop, mirror, mean, colours and the conversion from uint8 in one Triton kernel: each byte read and written once.

A program has a run of a crop's elements, the same of several pictures: what depends on the element alone (its row, its
channel, the mean, where it lies when the picture is mirrored) is computed and read once for all of them. Neighbouring
lanes have neighbouring elements, which are neighbours in the pictures too, forwards or backwards; all pictures are asked
for before the first is written, so that many reads are under way at once.
"""

from __future__ import annotations

from math import gcd

import triton
import triton.language as tl
from torch import Tensor

from convspec_kernels.triton_launch import Launch

PICTURES = 8
"""Of a program, where there are as many."""

WARPS = 4
BLOCK = 4 * 32 * WARPS
BYTES_OF_A_STORE = 16


@triton.jit
def _pixels(
    images, offsets, mirrors, forwards, backwards, exists, height, width, SIZE: tl.constexpr, PICTURES: tl.constexpr
):  # fmt: skip
    """Of PICTURES pictures the bytes that lie `forwards` or, mirrored, `backwards` of the corners of their crops."""
    pixels = ()
    for i in tl.static_range(PICTURES):
        top = tl.minimum(tl.maximum(tl.load(offsets + 2 * i), 0), height - SIZE)
        left = tl.minimum(tl.maximum(tl.load(offsets + 2 * i + 1), 0), width - SIZE)
        at = tl.where(tl.load(mirrors + i), backwards, forwards)
        pixels = pixels + (tl.load(images + (top * width + left) * 3 + at, mask=exists, other=0),)
        images += height * width * 3
    return pixels


@triton.jit
def _shifts(colours, PICTURES: tl.constexpr):
    """Of PICTURES pictures the colours, three numbers for each."""
    shifts = ()
    for i in tl.static_range(PICTURES):
        shifts = shifts + (tl.load(colours + 3 * i),)
    return shifts


@triton.jit
def augment_kernel(
    images,
    offsets,
    mirrors,
    colours,
    mean,
    y,
    cases,
    height,
    width,
    scale,
    SIZE: tl.constexpr,
    WHOLE_MEAN: tl.constexpr,
    RUNS: tl.constexpr,
    BLOCK: tl.constexpr,
    PICTURES: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """BLOCK elements of PICTURES crops; a crop is RUNS programs. mean is (SIZE, SIZE, 3) if WHOLE_MEAN, else (3,).

    VECTOR: neighbouring elements that one store may write in every picture.
    """
    LENGTH: tl.constexpr = SIZE * SIZE * 3
    element = tl.program_id(0) % RUNS * BLOCK + tl.arange(0, BLOCK)
    # Reads are no wider than writes, else elements would change lanes in between, through shared memory.
    element = tl.max_contiguous(element, VECTOR)
    exists = element < LENGTH
    row, across = element // (SIZE * 3), element % (SIZE * 3)
    channel = element % 3
    forwards = row * (width * 3) + across
    # The pixel as far from the right, and in it its own channel.
    backwards = forwards + (3 * SIZE - 3) + 2 * channel - 2 * across
    still = tl.load(mean + (element if WHOLE_MEAN else channel), mask=exists, other=0.0)

    # The last pictures are moved back: what two programs have is written twice, and equal.
    first = tl.minimum(tl.program_id(0) // RUNS * PICTURES, cases - PICTURES)
    images += first.to(tl.int64) * height * width * 3
    pixels = _pixels(
        images, offsets + 2 * first, mirrors + first, forwards, backwards, exists, height, width, SIZE, PICTURES
    )
    shifts = _shifts(colours + 3 * first + channel, PICTURES)
    y += first.to(tl.int64) * LENGTH
    for i in tl.static_range(PICTURES):
        value = (pixels[i].to(tl.float32) - still + shifts[i]) * scale
        tl.store(y + element, value.to(y.dtype.element_ty), mask=exists)
        y += LENGTH


def augment(
    images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor, scale: float, y: Tensor
) -> None:
    """Write into `y` what `convspec_kernels.augment` computes."""
    augment_launch(images, offsets, mirrors, colours, mean, y.permute(0, 2, 3, 1), scale).run()


def augment_launch(
    images: Tensor,
    offsets: Tensor,
    mirrors: Tensor,
    colours: Tensor,
    mean: Tensor,
    y: Tensor,
    scale: float,
    block: int = BLOCK,
) -> Launch:
    """What `augment` runs: y is (N, size, size, 3), contiguous. `block` elements a program, a power of two."""
    cases, height, width, _ = images.shape
    size = y.shape[1]
    length = size * size * 3
    runs = -(-length // block)
    pictures = next(n for n in (PICTURES, 4, 2, 1) if n <= max(cases, 1))
    arguments: dict[str, Tensor | int | float | None] = {
        "images": images,
        "offsets": offsets.contiguous(),
        "mirrors": mirrors.contiguous(),
        "colours": colours.contiguous(),
        "mean": mean.contiguous(),
        "y": y,
        "cases": cases,
        "height": height,
        "width": width,
        "scale": scale,
    }
    constants: dict[str, int | float | bool] = {
        "SIZE": size,
        "WHOLE_MEAN": mean.ndim == 3,
        "RUNS": runs,
        "BLOCK": block,
        "PICTURES": pictures,
        "VECTOR": gcd(length * y.element_size(), BYTES_OF_A_STORE) // y.element_size(),
    }
    return Launch(augment_kernel, -(-cases // pictures) * runs, arguments, constants, WARPS, images.device)

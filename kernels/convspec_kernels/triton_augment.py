"""Crop, mirror, mean, colours and the conversion from uint8 in one Triton kernel: each byte read and written once.

Channels last, a row of a crop is a run of bytes of its picture. So a program takes a run of one picture's output, and
finds its bytes with one division; mirrored, the run goes backwards while the channels of a pixel keep their order.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from convspec_kernels.triton_launch import Launch

BYTES_OF_A_THREAD = 16
WARPS = 4


@triton.jit
def augment_kernel(
    images,
    offsets,
    mirrors,
    colours,
    mean,
    y,
    height,
    width,
    scale,
    SIZE: tl.constexpr,
    WHOLE_MEAN: tl.constexpr,
    RUNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """BLOCK elements of one picture's crop; a picture is RUNS programs. mean is (SIZE, SIZE, 3) if WHOLE_MEAN, else (3,)."""
    LENGTH: tl.constexpr = SIZE * SIZE * 3
    case = tl.program_id(0) // RUNS
    element = tl.program_id(0) % RUNS * BLOCK + tl.arange(0, BLOCK)
    exists = element < LENGTH
    row, across = element // (SIZE * 3), element % (SIZE * 3)
    channel = element % 3

    top = tl.minimum(tl.maximum(tl.load(offsets + 2 * case), 0), height - SIZE)
    left = tl.minimum(tl.maximum(tl.load(offsets + 2 * case + 1), 0), width - SIZE)
    # One sign for the whole picture: forwards it is `across`, backwards the pixel from the right and its own channel.
    mirrored = tl.load(mirrors + case).to(tl.int32)
    across += mirrored * (3 * SIZE - 3 + 2 * channel - 2 * across)
    picture = images + case.to(tl.int64) * height * width * 3
    pixel = tl.load(picture + ((top + row) * width + left) * 3 + across, mask=exists, other=0).to(tl.float32)

    red, green, blue = tl.load(colours + 3 * case), tl.load(colours + 3 * case + 1), tl.load(colours + 3 * case + 2)
    if WHOLE_MEAN:
        pixel -= tl.load(mean + element, mask=exists, other=0.0)
    else:
        red, green, blue = red - tl.load(mean), green - tl.load(mean + 1), blue - tl.load(mean + 2)
    pixel += tl.where(channel == 0, red, tl.where(channel == 1, green, blue))
    tl.store(y + case.to(tl.int64) * LENGTH + element, (pixel * scale).to(y.dtype.element_ty), mask=exists)


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
    block: int | None = None,
) -> Launch:
    """What `augment` runs: y is (N, size, size, 3), contiguous. `block` elements a program, a power of two."""
    cases, height, width, _ = images.shape
    size = y.shape[1]
    block = block or 32 * WARPS * BYTES_OF_A_THREAD // y.element_size()
    runs = -(-size * size * 3 // block)
    arguments: dict[str, Tensor | int | float | None] = {
        "images": images,
        "offsets": offsets.contiguous(),
        "mirrors": mirrors.contiguous(),
        "colours": colours.contiguous(),
        "mean": mean.contiguous(),
        "y": y,
        "height": height,
        "width": width,
        "scale": scale,
    }
    constants = {"SIZE": size, "WHOLE_MEAN": mean.ndim == 3, "RUNS": runs, "BLOCK": block}
    return Launch(augment_kernel, cases * runs, arguments, dict(constants), WARPS, images.device)

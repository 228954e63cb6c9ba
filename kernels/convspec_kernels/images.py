"""What is done to images before a network learns from them: blur, resizing, colours. All of them have true gradients.

Formulas and constants are those of cuda-convnet2 (cudaconv3/src/conv_util.cu), to the digit where it rounds a constant.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convspec_kernels.arguments import check_maps
from convspec_kernels.library import define
from convspec_kernels.noise import Noise, present, uniforms

# The clamp of a source coordinate lies this far inside the last pixel, so that the pixel after it can be read.
_LAST = 1.01


def gaussian_blur(x: Tensor, size: int, *, stdev: float) -> Tensor:
    """Blur each map, first along rows, then along columns (conv_util.cu:478-575).

        tap[i] = exp(-(size//2 - i)**2 / (2 * stdev**2)), divided by their sum

    What lies outside the map is zero, and nothing makes up for it: borders darken.

    Args:
        x: maps (N, C, H, W).
        size: pixels that a tap reaches over, at least 1.
        stdev: of the bell, pixels, above 0.

    Returns:
        (N, C, H, W), of x's type.

    Raises:
        ValueError: x is not 4-dimensional or not floating-point, or a number is out of its range.
    """
    check_maps(x)
    if size < 1 or stdev <= 0:
        raise ValueError(f"size must be at least 1 and stdev above 0, not {size} and {stdev}")
    offsets = size // 2 - torch.arange(size, dtype=torch.float64)
    taps = torch.exp(-offsets.square() / (2 * stdev**2))
    taps = (taps / taps.sum()).to(x.device, x.dtype)
    channels = x.shape[1]
    before, after = size // 2, (size - 1) // 2
    rows = F.conv2d(F.pad(x, (before, after, 0, 0)), taps.expand(channels, 1, 1, size), groups=channels)
    columns = taps[:, None].expand(channels, 1, size, 1)
    return F.conv2d(F.pad(rows, (0, 0, before, after)), columns, groups=channels)


def resize_bilinear(x: Tensor, size: tuple[int, int], *, scale: float) -> Tensor:
    """Read maps at points `scale` pixels apart, the middle one in the middle, between the four pixels around each.

        source(t) = t*scale + (length - size*scale) / 2, clamped to [0, length - 1.01]

    along rows and columns alike (conv_util.cu:410-466, 2646-2663). The grids of indices have a common centre; there is
    no half pixel, unlike `torch.nn.functional.interpolate`.

    Args:
        x: maps (N, C, H, W).
        size: (height, width) of the result, at least 1.
        scale: pixels of x for a pixel of the result, above 0.

    Returns:
        (N, C, height, width), of x's type.

    Raises:
        ValueError: x is not 4-dimensional or not floating-point, or a number is out of its range.
    """
    check_maps(x)
    if min(size) < 1 or scale <= 0:
        raise ValueError(f"size must be at least 1 and scale above 0, not {size} and {scale}")
    for axis, count in ((3, size[1]), (2, size[0])):
        length = x.shape[axis]
        points = torch.arange(count, dtype=torch.float64) * scale + (length - count * scale) / 2
        x = _read(x, axis, points.clamp(max=length - _LAST).clamp(min=0))
    return x


def _read(x: Tensor, axis: int, points: Tensor) -> Tensor:
    """Maps at points along an axis, each between the two pixels beside it. points: (count,), float64, inside the map."""
    first = points.floor()
    share = (points - first).to(x.device, x.dtype).view(-1, *[1] * (3 - axis))
    low = first.to(torch.int64).to(x.device)
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)


class Rescaling(NamedTuple):
    """What `random_rescale` does to a batch. side: of the rescaled map. scale: pixels for one of its pixels. top, left: of
    the crop."""

    side: int
    scale: float
    top: int
    left: int


def draw_rescaling(length: int, size: int, max_scale: float, noise: Noise, layer: str) -> Rescaling:
    """The choice of a layer at a step (cuda-convnet2 layer.cu:1730-1786).

    With n = length - int(length / max_scale) + 1, the side is size + s for s in 0 ... n-1, with a probability that grows
    as (s+1)**2: as the number of crops that it has. The scale is uniform between max(1, length / (1 + side)) and length
    / side.
    """
    count = length - int(length / max_scale) + 1
    of_step, of_scale, of_top, of_left = uniforms(noise, layer, 4)
    sums = list(accumulate((step + 1) ** 2 for step in range(count)))
    step = bisect_right(sums, of_step * sums[-1])
    side = size + step
    nearest, furthest = max(1.0, length / (1 + side)), length / side
    scale = nearest + of_scale * (furthest - nearest)
    return Rescaling(side, scale, int(of_top * (step + 1)), int(of_left * (step + 1)))


def random_rescale(
    x: Tensor, size: int, *, max_scale: float, training: bool, noise: Noise | None = None, layer: str = ""
) -> Tensor:
    """Make square maps smaller: in training by a random scale and to a random crop of it, one for the whole batch; at test
    to the whole image by `max_scale`.

    Args:
        x: square maps (N, C, L, L).
        size: rows and columns of the result, from int(L / max_scale) to L.
        max_scale: the strongest reduction, in [1, 2] in cuda-convnet2.
        training: whether to draw, see `draw_rescaling`.
        noise: of this step, in training.
        layer: whose choice it is.

    Returns:
        (N, C, size, size), of x's type.

    Raises:
        ValueError: x is not square maps, a number is out of its range, or noise is missing in training.
    """
    check_maps(x)
    length = x.shape[2]
    if x.shape[3] != length or max_scale < 1 or not int(length / max_scale) <= size <= length:
        raise ValueError(f"cannot rescale {tuple(x.shape)} by up to {max_scale} to {size} pixels a side")
    if training:
        return _at_random_scale(x, size, max_scale, present(noise), layer)
    return resize_bilinear(x, (size, size), scale=max_scale)


def _at_random_scale(x: Tensor, size: int, max_scale: float, noise: Noise, layer: str) -> Tensor:
    """The crop is read out of x at once: its shape depends on nothing that was drawn, so that a graph need not break."""
    length = x.shape[2]
    drawn = torch.ops.convspec_kernels.draw_rescaling(noise.seed, length, size, max_scale, layer)
    side, scale, top, left = drawn.unbind()
    for axis, start in ((3, left), (2, top)):
        pixels = start + torch.arange(size, dtype=torch.float64)
        points = pixels * scale + (length - side * scale) / 2
        x = _read(x, axis, torch.where(side == length, pixels, points.clamp(max=length - _LAST).clamp(min=0)))
    return x


def _draw(seed: Tensor, length: int, size: int, max_scale: float, layer: str) -> Tensor:
    """A `Rescaling`, (4,), float64 on the CPU."""
    return torch.tensor(draw_rescaling(length, size, max_scale, Noise(seed), layer), dtype=torch.float64)


# An operator, so that compiled functions need not know the seed to be compiled.
define(
    "draw_rescaling(Tensor seed, SymInt length, SymInt size, float max_scale, str layer) -> Tensor",
    _draw,
    lambda seed, *_: seed.new_empty(4, dtype=torch.float64),
)


def rgb_to_yuv(x: Tensor) -> Tensor:
    """Turn red, green and blue into luminance and two colour differences (conv_util.cu:292-313).

        Y =  0.2126  R + 0.7152  G + 0.0722  B
        U = -0.09991 R - 0.33609 G + 0.436   B
        V =  0.615   R - 0.55861 G - 0.05639 B

    Args:
        x: maps (N, 3, H, W).

    Returns:
        (N, 3, H, W), of x's type.

    Raises:
        ValueError: x is not 4-dimensional, not floating-point, or has not 3 channels.
    """
    return _mixed(x, ((0.2126, 0.7152, 0.0722), (-0.09991, -0.33609, 0.436), (0.615, -0.55861, -0.05639)))


def rgb_to_lab(x: Tensor, *, center: bool = False) -> Tensor:
    """Turn red, green and blue into CIE L*a*b* (conv_util.cu:317-388).

        X = 0.49 R + 0.31 G + 0.2 B,  Y = 0.17697 R + 0.8124 G + 0.01063 B,  Z = 0.01 G + 0.99 B
        f(t) = t**0.3333 if t > 0.0088564517, else 7.787037 t + 0.13793103
        L = 116 f(Y) - 16,  a = 500 (f(X) - f(Y)),  b = 200 (f(Y) - f(Z))

    Args:
        x: maps (N, 3, H, W), numbers in [0, 1].
        center: take 50 off L, so that it lies in [-50, 50].

    Returns:
        (N, 3, H, W), of x's type.

    Raises:
        ValueError: x is not 4-dimensional, not floating-point, or has not 3 channels.
    """
    xyz = _mixed(x, ((0.49, 0.31, 0.2), (0.17697, 0.8124, 0.01063), (0.0, 0.01, 0.99)))
    is_bright = xyz > 0.0088564517
    # The root of what is not bright is not read, and must not give an infinite gradient.
    roots = torch.where(is_bright, xyz, 1).pow(0.3333)
    of_x, of_y, of_z = torch.where(is_bright, roots, 7.787037 * xyz + 0.13793103).unbind(1)
    lightness = 116 * of_y - (66 if center else 16)
    return torch.stack([lightness, 500 * (of_x - of_y), 200 * (of_y - of_z)], dim=1)


def _mixed(x: Tensor, rows: tuple[tuple[float, float, float], ...]) -> Tensor:
    check_maps(x)
    if x.shape[1] != 3:
        raise ValueError(f"colours are 3 channels, this tensor has the shape {tuple(x.shape)}")
    red, green, blue = x.unbind(1)
    return torch.stack([r * red + g * green + b * blue for r, g, b in rows], dim=1)

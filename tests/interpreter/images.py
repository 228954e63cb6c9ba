"""Layers over images. Those that are linear are computed as matrices along rows and along columns, and back by their
transposes."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

import numpy as np

from convspec.layers.images import (
    Blur,
    Crop,
    HorizontalReflection,
    Nailbed,
    RandomScale,
    ResizeLayer,
    RGBToLab,
    RGBToYUV,
)
from tests.interpreter.tape import Array, Pullback, Tape, interprets
from tests.interpreter.windows import as_maps


def _linear(x: Array, rows: Array, columns: Array) -> tuple[Array, Pullback]:
    """Rows @ x @ columns.T for each map; both are (outputs, pixels)."""

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        return [np.einsum("ih,ncij,jw->nchw", rows, gradient, columns)], {}

    return np.einsum("ih,nchw,jw->ncij", rows, x, columns), pull


def _picked(side: int, pixels: Sequence[int]) -> Array:
    return np.eye(side)[list(pixels)]


@interprets(Nailbed)
def nailbed(layer: Nailbed, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Pixels start, start + stride, ... with ceil(side / stride) of them, start = (side - stride (count - 1)) // 2."""
    x = as_maps(sources[0], layer.channels)
    matrices = []
    for side in x.shape[2:]:
        count = int(np.ceil(side / layer.stride))
        start = (side - layer.stride * (count - 1)) // 2
        matrices.append(_picked(side, [start + i * layer.stride for i in range(count)]))
    return _linear(x, *matrices)


@interprets(Crop)
def crop(layer: Crop, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    x = as_maps(sources[0], layer.channels)
    top = layer.start_x if layer.start_y is None else layer.start_y
    starts = zip(x.shape[2:], (top, layer.start_x), strict=True)
    return _linear(x, *(_picked(side, range(start, start + layer.size)) for side, start in starts))


@interprets(HorizontalReflection)
def mirror(layer: HorizontalReflection, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    x = as_maps(sources[0], layer.channels)
    height, width = x.shape[2:]
    return _linear(x, np.eye(height), _picked(width, range(width - 1, -1, -1)))


@interprets(Blur)
def blur(layer: Blur, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """exp(-(pixel - centre)^2 / (2 stdev^2)) over filterSize pixels, the whole bell normalised, the part outside lost."""
    x = as_maps(sources[0], layer.channels)
    reach = layer.filter_size // 2
    bell = {i: np.exp(-(i**2) / (2 * layer.stdev**2)) for i in range(-reach, reach + 1)}
    total = sum(bell.values())
    return _linear(
        x, *(np.array([[bell.get(p - o, 0) / total for p in range(side)] for o in range(side)]) for side in x.shape[2:])
    )


def _between(side: int, count: int, scale: float) -> Array:
    """Each output between the two pixels around t scale + (side/2 - count/2 scale), clamped to [0, side - 1.01]."""
    matrix = np.zeros((count, side))
    for t in range(count):
        point = max(0.0, min(side - 1.01, t * scale + side / 2 - count / 2 * scale))
        low = floor(point)
        matrix[t, low] += 1 - (point - low)
        matrix[t, min(low + 1, side - 1)] += point - low
    return matrix


@interprets(ResizeLayer)
def resize(layer: ResizeLayer, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    x = as_maps(sources[0], layer.channels)
    return _linear(x, *(_between(side, floor(side / layer.scale), layer.scale) for side in x.shape[2:]))


@interprets(RandomScale)
def random_scale(layer: RandomScale, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """A crop of the map at the scale that was drawn, or the whole at maxScale."""
    x = as_maps(sources[0], layer.channels)
    side = x.shape[2]
    target = layer.target_size or floor(side / layer.max_scale)
    if layer.name not in tape.rescalings:
        matrix = _between(side, target, layer.max_scale)
        return _linear(x, matrix, matrix)
    drawn, scale, top, left = tape.rescalings[layer.name]
    whole = np.eye(side) if drawn == side else _between(side, drawn, scale)
    return _linear(x, whole[top : top + target], whole[left : left + target])


def _mixed(x: Array, matrix: Sequence[Sequence[float]]) -> Array:
    return np.einsum("ij,njhw->nihw", np.array(matrix), x)


@interprets(RGBToYUV)
def rgb_to_yuv(layer: RGBToYUV, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    x = as_maps(sources[0], 3)
    matrix = [[0.2126, 0.7152, 0.0722], [-0.09991, -0.33609, 0.436], [0.615, -0.55861, -0.05639]]
    return _mixed(x, matrix), lambda gradient: ([_mixed(gradient, np.transpose(matrix).tolist())], {})


@interprets(RGBToLab)
def rgb_to_lab(layer: RGBToLab, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Through XYZ, f(t) = t^0.3333 above 0.0088564517 and a line below."""
    x = as_maps(sources[0], 3)
    to_xyz = [[0.49, 0.31, 0.2], [0.17697, 0.8124, 0.01063], [0, 0.01, 0.99]]
    to_lab = [[0, 116, 0], [500, -500, 0], [0, 200, -200]]
    t = _mixed(x, to_xyz)
    is_bright = t > 0.0088564517
    roots = np.where(is_bright, t, 1)
    f = np.where(is_bright, roots**0.3333, 7.787037 * t + 0.13793103)
    slope = np.where(is_bright, 0.3333 * roots ** (0.3333 - 1), 7.787037)
    value = _mixed(f, to_lab)
    value[:, 0] -= 66 if layer.center else 16

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_t = _mixed(gradient, np.transpose(to_lab).tolist()) * slope
        return [_mixed(of_t, np.transpose(to_xyz).tolist())], {}

    return value, pull

"""Operators that treat maps as pictures: they cut, mirror, blur and resize each, or change its colours."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from convspec.program.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(Operator):
    """Zeros around each map; `padding` is (left, right, top, bottom), pixels, each at least 0."""

    padding: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick2d(Operator):
    """Pixels of each map: rows and columns of half-open ranges (start, stop, step), mirrored left to right if asked."""

    rows: tuple[int, int, int]
    columns: tuple[int, int, int]
    mirrored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianBlur(Operator):
    """Convolution of each map with a bell of `size` taps, along rows and along columns; zeros around the map."""

    size: int
    stdev: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Operator):
    """Bilinear resizing by `scale`, pixels for a pixel of the result.

    is_random: in training, a scale of at most that, drawn once a batch, and a crop of the result.
    """

    scale: float
    is_random: bool = False


class ColorSpace(Enum):
    """What red, green and blue become."""

    YUV = "yuv"
    LAB = "lab"
    CENTERED_LAB = "centered lab"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertColors(Operator):
    """Red, green and blue in another space, pixel by pixel."""

    space: ColorSpace

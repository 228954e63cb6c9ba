"""The size of one value: a stack of maps (channels, height, width) or a flat vector of features.

The batch axis is never part of a shape. The originals keep every activity as one flat row of features in
channel-major order (FORMAT of cuda-convnet: row = c*H*W + y*W + x), which is PyTorch's `flatten(1)` of NCHW, so a map
and the vector of its features are the same numbers in the same order.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple


class Shape(NamedTuple):
    """`dims` is `(channels, height, width)` for maps and `(features,)` for a vector; every entry is at least 1."""

    dims: tuple[int, ...]

    @classmethod
    def of_maps(cls, channels: int, height: int, width: int) -> Shape:
        return cls((channels, height, width))

    @classmethod
    def of_vector(cls, features: int) -> Shape:
        return cls((features,))

    @property
    def is_map(self) -> bool:
        return len(self.dims) == 3

    @property
    def features(self) -> int:
        """Numbers a case: channels * height * width."""
        product = 1
        for dim in self.dims:
            product *= dim
        return product

    @property
    def channels(self) -> int:
        """Length of the axis that is concatenated, split and grouped: maps by channel, vectors by feature."""
        return self.dims[0]

    @property
    def height(self) -> int:
        return self.dims[1] if self.is_map else 1

    @property
    def width(self) -> int:
        return self.dims[2] if self.is_map else 1

    def with_channels(self, channels: int) -> Shape:
        return Shape((channels, *self.dims[1:]))

    def flat(self) -> Shape:
        return Shape((self.features,))

    def as_square_maps(self, channels: int) -> Shape | None:
        """These features read as `channels` square maps, or None where they do not divide so."""
        side = isqrt(self.features // channels)
        return Shape((channels, side, side)) if side and channels * side * side == self.features else None

    def __str__(self) -> str:
        return "x".join(map(str, self.dims))

"""Mean image and principal components of the colours of a training split, both from one pass over it.

Sums of bytes and of their products are whole numbers and are kept as such, so that the result depends neither on the
order of the pictures nor on how they were divided among readers; they become floats once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from convspec.data.dataset import ColorPca, Dataset, Pictures, Split
from convspec.data.draws import Indices
from convspec.data.readers import Readers, Work
from convspec.machine import usable_cores

MOST_PICTURES = 10_000
"""Statistics are taken over at most this many training pictures, evenly spaced: the error of the mean is then below one
grey level. `convspec data prepare` takes them over all."""

_CHUNK_PICTURES = 64
_CHUNK_BYTES = 32 << 20
_BLOCK_PIXELS = 1 << 13
"""Products of this many pixels are added up in float64, where whole numbers below 2^53 are exact: 2^13 * 255^2 < 2^30."""

_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


@dataclass(frozen=True, slots=True)
class Statistics:
    """mean: of the pictures, (H, W, C), 0 to 255. color_pca: None for grey pictures."""

    mean: NDArray[np.float64]
    color_pca: ColorPca | None

    def mean_by(self, kind: str) -> NDArray[np.float32]:
        """What is subtracted from a picture, (H, W, C): "image" by pixel, "channel" one number a channel, "none" zero."""
        match kind:
            case "none":
                mean = np.zeros_like(self.mean)
            case "channel":
                mean = np.broadcast_to(self.mean.mean(axis=(0, 1)), self.mean.shape)
            case _:
                mean = self.mean
        return mean.astype(np.float32)


class Sums:
    """Exact sums over pictures of one shape: of the pixels by place, and of the products of the channels."""

    def __init__(self, shape: tuple[int, int, int], *, colors: bool = True) -> None:
        """shape: (H, W, C). colors: whether the products are wanted; only pictures of 3 channels have them."""
        self.count = 0
        self._total = np.zeros(shape, np.int64)
        # of the channels i <= j
        self._products = np.zeros((3, 3), np.int64) if colors and shape[2] == 3 else None

    def add(self, pictures: Pictures) -> None:
        """Add (N, H, W, C), uint8."""
        # uint32 holds the sum of 2^24 bytes, and adds up faster than int64
        self._total += pictures.sum(axis=0, dtype=np.uint32)
        self.count += len(pictures)
        if self._products is None:
            return
        pixels = pictures.reshape(-1, 3)
        planes = np.empty((3, min(_BLOCK_PIXELS, len(pixels))))
        for start in range(0, len(pixels), _BLOCK_PIXELS):
            block = pixels[start : start + _BLOCK_PIXELS]
            part = planes[:, : len(block)]
            part[...] = block.T
            for i, j in _PAIRS:
                self._products[i, j] += int(np.dot(part[i], part[j]))

    def numbers(self) -> NDArray[np.int64]:
        """All sums in a row, to be kept until others are added."""
        products = np.empty(0, np.int64) if self._products is None else self._products.reshape(-1)
        return np.concatenate([[self.count], self._total.reshape(-1), products])

    def add_numbers(self, numbers: NDArray[np.int64]) -> None:
        """Add what `numbers` gave for other pictures of the same shape."""
        size = self._total.size
        self.count += int(numbers[0])
        self._total += numbers[1 : size + 1].reshape(self._total.shape)
        if self._products is not None:
            self._products += numbers[size + 1 :].reshape(3, 3)

    def statistics(self) -> Statistics:
        """Of all that was added, at least one picture."""
        return Statistics(self._total / self.count, None if self._products is None else self._color_pca(self._products))

    def _color_pca(self, products: NDArray[np.int64]) -> ColorPca:
        """Of the covariance (n sum(xy) - sum(x) sum(y)) / (n (n - 1)), n pixels: Python's whole numbers lose nothing."""
        height, width, _ = self._total.shape
        pixels = self.count * height * width
        sums = [int(each) for each in self._total.sum(axis=(0, 1))]
        covariance = np.empty((3, 3))
        for i, j in _PAIRS:
            numerator = pixels * int(products[i, j]) - sums[i] * sums[j]
            covariance[i, j] = covariance[j, i] = numerator / (pixels * max(1, pixels - 1))
        return principal_components(covariance)


def principal_components(covariance: NDArray[np.float64]) -> ColorPca:
    """Deviations, (3,), the largest first, and directions, (3, 3), one a column, of a covariance of colours, (3, 3).

    A direction and its opposite are both right: the first component that is at least half the largest is positive.
    """
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1], directions[:, ::-1]
    sizes = np.abs(directions)
    leading = np.argmax(sizes >= sizes.max(axis=0) / 2, axis=0)
    directions = directions * np.where(directions[leading, np.arange(3)] < 0, -1, 1)
    return np.sqrt(np.maximum(variances, 0)).astype(np.float32), directions.astype(np.float32)


def statistics_of(dataset: Dataset, *, colors: bool = True, most: int = MOST_PICTURES) -> Statistics:
    """What the dataset brings along; what it does not, taken over at most `most` training pictures, evenly spaced.

    colors: whether the principal components are wanted; without, `color_pca` is what the dataset brings.
    """
    takes_colors = colors and dataset.color_pca is None and dataset.shape[2] == 3
    if dataset.mean is not None and not takes_colors:
        return Statistics(dataset.mean.astype(np.float64), dataset.color_pca)
    taken = _taken(dataset, most, colors=takes_colors)
    mean = taken.mean if dataset.mean is None else dataset.mean.astype(np.float64)
    return Statistics(mean, taken.color_pca if takes_colors else dataset.color_pca)


def mean_image(dataset: Dataset, kind: str) -> NDArray[np.float32]:
    """Mean of the training pictures, (H, W, C); for `kind` see `Statistics.mean_by`."""
    if kind == "none":
        return np.zeros(dataset.shape, np.float32)
    return statistics_of(dataset, colors=False).mean_by(kind)


def _taken(dataset: Dataset, most: int, *, colors: bool) -> Statistics:
    sums = Sums(dataset.shape, colors=colors)
    indices = _evenly_spaced(dataset.count(Split.TRAIN), most)
    chunk = max(1, min(_CHUNK_PICTURES, len(indices), _CHUNK_BYTES // int(np.prod(dataset.shape))))
    threads = min(usable_cores(), -(-len(indices) // chunk))

    def plan(part: Indices, buffer: Pictures) -> Work[Pictures]:
        pictures = buffer[: len(part)]
        return Work([lambda: dataset.read(Split.TRAIN, part, epoch=0, out=pictures)], lambda: pictures)

    plans = (partial(plan, indices[start : start + chunk]) for start in range(0, len(indices), chunk))
    buffers = [np.empty((chunk, *dataset.shape), np.uint8) for _ in range(threads + 1)]
    with Readers(plans, buffers, threads=threads) as chunks:
        for pictures in chunks:
            sums.add(pictures)
    return sums.statistics()


def _evenly_spaced(count: int, most: int) -> Indices:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))

"""What a dataset is: two splits of square uint8 pictures with labels, and the mean over the training split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from convspec.data.draws import Indices
from convspec.diagnostics import Diagnostic

Pictures = NDArray[np.uint8]
Notify = Callable[[Diagnostic], None]

MEAN_PICTURES = 10_000
"""The mean is taken over at most this many training pictures, evenly spaced: its error is then below one grey level."""

_CHUNK = 64


class Split(Enum):
    TRAIN = "train"
    TEST = "test"


class Dataset(ABC):
    """Pictures of one stored size, (height, width, channels), and the names of their classes.

    name: as the user would type it for `--data`.
    shape: of every stored picture, (H, W, C); the network's input is cropped from it.
    fingerprint: changes when the pictures, their labels or their order change; a resumed run compares it.
    mean: of the training pictures, (H, W, C), where the data bring it along; else it is taken.
    color_pca: deviations, (3,), and directions, (3, 3), one a column, in which the colours of the training pictures
        vary, where the data bring them along.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    fingerprint: str
    mean: NDArray[np.float32] | None = None
    color_pca: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @abstractmethod
    def count(self, split: Split) -> int:
        """Pictures in one epoch of a split; at least 1."""

    @abstractmethod
    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        """Write the pictures into `out`, (N, H, W, C), and return their labels, (N,). Called from one thread at a time.

        `epoch` matters to datasets that draw their training pictures anew in each epoch; tests are always the same.
        """

    def label_sets(self, split: Split, indices: Indices) -> NDArray[np.uint8] | None:
        """All labels of the pictures that `read` gave last for these indices, (N, classes) of 0 and 1; None where each
        has the one."""
        return None

    def close(self) -> None:
        """Give back threads and files."""
        return


def mean_image(dataset: Dataset, kind: str) -> NDArray[np.float32]:
    """Mean of the training pictures, (H, W, C): "image" by pixel, "channel" one number a channel, "none" zero."""
    if kind == "none":
        return np.zeros(dataset.shape, np.float32)
    mean: NDArray[np.floating] = _taken_mean(dataset) if dataset.mean is None else dataset.mean
    if kind == "channel":
        mean = np.broadcast_to(mean.mean(axis=(0, 1)), dataset.shape)
    return mean.astype(np.float32)


def _taken_mean(dataset: Dataset) -> NDArray[np.float64]:
    total = np.zeros(dataset.shape, np.float64)
    indices = _evenly_spaced(dataset.count(Split.TRAIN), MEAN_PICTURES)
    buffer = np.empty((min(_CHUNK, len(indices)), *dataset.shape), np.uint8)
    for start in range(0, len(indices), _CHUNK):
        chunk = indices[start : start + _CHUNK]
        dataset.read(Split.TRAIN, chunk, epoch=0, out=buffer[: len(chunk)])
        total += buffer[: len(chunk)].sum(axis=0, dtype=np.uint32)
    return total / len(indices)


def center_crop(picture: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The middle of a picture, (height, width, C). The originals subtract this from a crop at any position."""
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def _evenly_spaced(count: int, most: int) -> Indices:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))

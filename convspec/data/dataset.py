"""What a dataset is: two splits of uint8 pictures of one size, with labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convspec.data.draws import Indices
from convspec.diagnostics import Diagnostic

if TYPE_CHECKING:
    from convspec.data.augmentation import Augmentation

Pictures = NDArray[np.uint8]
Notify = Callable[[Diagnostic], None]

ColorPca = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Deviations, (3,), in units of a pixel's value, and directions, (3, 3), one a column, in which colours vary (section 4.1 of the
paper)."""

_CHUNK = 64


class Split(Enum):
    TRAIN = "train"
    TEST = "test"


class Dataset(ABC):
    """Pictures of one stored size, (height, width, channels), and the names of their classes.

    name: as the user would type it for `--data`.
    shape: of every stored picture, (H, W, C); the network's input is cropped from it.
    fingerprint: changes when the pictures, their labels or their order change; a resumed run compares it, by `is_that_of`.
    mean: of the training pictures, (H, W, C), where the data bring it along; else it is taken.
    color_pca: of the training pictures, where the data bring it along; else it is taken (see `statistics`).
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    fingerprint: str
    mean: NDArray[np.float32] | None = None
    color_pca: ColorPca | None = None

    @abstractmethod
    def count(self, split: Split) -> int:
        """Pictures in one epoch of a split; at least 1."""

    @abstractmethod
    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        """Write the pictures into `out`, (N, H, W, C), and return their labels, (N,).

        Several threads call it at the same time, each with an `out` of its own; what it waits for should let the others
        run, and it should not start threads itself.

        `epoch` matters to datasets that draw their training pictures anew in each epoch; tests are always the same.
        """

    def read_crops(self, split: Split, indices: Indices, where: Augmentation, *, epoch: int, out: Pictures) -> Indices:
        """As `read`, and of each picture only what `where` cuts out of it, (N, height, width, C). For datasets that can do
        so with less work to override."""
        stored = np.empty((len(indices), *self.shape), np.uint8)
        labels = self.read(split, indices, epoch=epoch, out=stored)
        where.cut(stored, out)
        return labels

    def labels(self, split: Split) -> Indices:
        """The label of each picture, (N,), as `read` gives them in epoch 0. All are read where nothing else tells."""
        indices = np.arange(self.count(split), dtype=np.int64)
        out = np.empty((min(_CHUNK, len(indices)), *self.shape), np.uint8)
        parts = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
        return np.concatenate([self.read(split, part, epoch=0, out=out[: len(part)]) for part in parts])

    def label_sets(self, split: Split, indices: Indices) -> NDArray[np.uint8] | None:
        """All labels of the pictures that `read` gave last for these indices, (N, classes) of 0 and 1; None where each
        has the one."""
        return None

    def picture_name(self, split: Split, index: int) -> str | None:
        """The file of the picture that `read` gave last for an index, relative to the data; None for one without a file."""
        return None

    def is_that_of(self, fingerprint: str | None) -> bool:
        """Whether these are the pictures that were recorded by a fingerprint, of this version or of an earlier one."""
        return fingerprint == self.fingerprint

    def close(self) -> None:
        """Give back threads and files."""
        return


def center_crop(picture: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The middle of a picture, (height, width, C). The originals subtract this from a crop at any position."""
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])

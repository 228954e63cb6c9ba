"""A dataset under the classes of another: labels are those of the classes of the same name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convspec.data.augmentation import Augmentation
from convspec.data.dataset import Dataset, Pictures, Split
from convspec.data.draws import Indices


class Relabelled(Dataset):
    """The pictures of `dataset` with the labels that a network knows, which was trained on `classes`.

    Raises ValueError where the dataset has a class whose name is not among them.
    """

    def __init__(self, dataset: Dataset, classes: Sequence[str]) -> None:
        self._dataset = dataset
        self.name, self.shape, self.fingerprint = dataset.name, dataset.shape, dataset.fingerprint
        self.mean, self.color_pca = dataset.mean, dataset.color_pca
        self.classes = tuple(classes)
        self._labels = np.array([self.classes.index(name) for name in dataset.classes], np.int64)

    def count(self, split: Split) -> int:
        return self._dataset.count(split)

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        found: Indices = self._labels[self._dataset.read(split, indices, epoch=epoch, out=out)]
        return found

    def read_crops(self, split: Split, indices: Indices, where: Augmentation, *, epoch: int, out: Pictures) -> Indices:
        found: Indices = self._labels[self._dataset.read_crops(split, indices, where, epoch=epoch, out=out)]
        return found

    def labels(self, split: Split) -> Indices:
        found: Indices = self._labels[self._dataset.labels(split)]
        return found

    def label_sets(self, split: Split, indices: Indices) -> NDArray[np.uint8] | None:
        found = self._dataset.label_sets(split, indices)
        if found is None:
            return None
        sets = np.zeros((len(found), len(self.classes)), np.uint8)
        sets[:, self._labels[: found.shape[1]]] = found
        return sets

    def picture_name(self, split: Split, index: int) -> str | None:
        return self._dataset.picture_name(split, index)

    def is_that_of(self, fingerprint: str | None) -> bool:
        return self._dataset.is_that_of(fingerprint)

    def close(self) -> None:
        self._dataset.close()

"""Which classes are taken for which."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Mistake(NamedTuple):
    """`pictures` of the `total` of class `label` were taken for class `prediction`."""

    label: int
    prediction: int
    pictures: float
    total: int


class Confusion:
    """Counts by class and predicted class. Where several classes share the first place, each gets its part of the picture,
    so that the sum of the diagonal is what top-1 has right. A prediction that is not a number counts nowhere."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._counts: defaultdict[tuple[int, int], float] = defaultdict(float)
        self._totals: defaultdict[int, int] = defaultdict(int)

    def add(self, probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        """probabilities: (N, classes), of which the largest is the prediction. labels: (N,)."""
        is_first = probabilities == probabilities.max(1, keepdims=True)
        shares = 1.0 / np.maximum(is_first.sum(1), 1)
        for label in labels.tolist():
            self._totals[label] += 1
        rows, predictions = np.nonzero(is_first)
        for label, prediction, share in zip(
            labels[rows].tolist(), predictions.tolist(), shares[rows].tolist(), strict=True
        ):
            self._counts[label, prediction] += share

    def mistakes(self) -> list[Mistake]:
        """Those that were made, the most frequent first."""
        found = [
            Mistake(label, prediction, count, self._totals[label])
            for (label, prediction), count in self._counts.items()
            if label != prediction
        ]
        return sorted(found, key=lambda mistake: (-mistake.pictures, mistake.label, mistake.prediction))

    def rows(self) -> Iterator[NDArray[np.float64]]:
        """For each class, how many of its pictures were taken for each class, (classes,)."""
        predicted: defaultdict[int, dict[int, float]] = defaultdict(dict)
        for (label, prediction), count in self._counts.items():
            predicted[label][prediction] = count
        for label in range(len(self.classes)):
            row = np.zeros(len(self.classes))
            for prediction, count in predicted[label].items():
                row[prediction] = count
            yield row

    def write_csv(self, file: IO[bytes]) -> None:
        """A row a class, a column for each class that it was taken for, names at the top and at the left."""
        text = TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class", *self.classes])
        for name, row in zip(self.classes, self.rows(), strict=True):
            writer.writerow([name, *(f"{count:.6g}" for count in row)])
        text.detach()

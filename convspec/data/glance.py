"""How many pictures each class of a source has, and a few of them, evenly spaced among all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convspec.data.dataset import Pictures, Split
from convspec.data.pictures import BrokenPicture
from convspec.data.sources import Source


def class_counts(source: Source) -> dict[Split, list[int]]:
    """Pictures of each class, broken ones among them."""
    return {split: np.bincount(source.labels[split], minlength=len(source.classes)).tolist() for split in Split}


def some_of_each(
    source: Source, split: Split, classes: int, most: int, on_broken: Callable[[str, str], None]
) -> list[list[Pictures | None]]:
    """For each of the first `classes` classes at most `most` pictures, (H, W, C); None for a broken one.

    on_broken: is told the name of a broken picture, and why it is.
    """
    labels = source.labels[split]
    chosen: dict[int, tuple[int, int]] = {}
    for label in range(classes):
        of_class = np.flatnonzero(labels == label)
        places = np.unique(np.linspace(0, len(of_class) - 1, min(most, len(of_class))).round().astype(np.int64))
        chosen |= {int(index): (label, column) for column, index in enumerate(of_class[places])}
    counts = np.bincount([label for label, _ in chosen.values()], minlength=classes)
    rows: list[list[Pictures | None]] = [[None] * int(count) for count in counts]
    for job in source.jobs(lambda of, index: of is split and index in chosen):
        label, column = chosen[job.index]
        try:
            rows[label][column] = job.read()
        except BrokenPicture as error:
            on_broken(source.name_of(split, job.index), str(error))
        except OSError as error:
            on_broken(source.name_of(split, job.index), error.strerror or str(error))
    return rows

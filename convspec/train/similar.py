"""Which pictures of a gallery are nearest to others, by their features or by short codes of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convspec.data.gallery import Gallery
from convspec.train.code_search import CodeFigures, learn_and_measure
from convspec.train.codes import nearest_codes
from convspec.train.features import Features
from convspec.train.nearest import Neighbours, nearest


class Hit(NamedTuple):
    """A picture of a gallery, its class or `UNKNOWN`, and how far it is from the query: a distance, or a number of bits."""

    gallery: Gallery
    place: int
    label: int
    distance: float = 0.0

    @property
    def class_name(self) -> str | None:
        """None where it is not known."""
        return self.gallery.class_of(self.label)


Answer = tuple[Hit, list[Hit]]
"""A query, and what is nearest to it."""


def is_alike(query: Hit, hit: Hit) -> bool:
    """Whether both are known to be of one class, by its name."""
    return query.class_name is not None and query.class_name == hit.class_name


class Finder:
    """Searches a gallery, given its features. figures: of the codes, which are learned first; None for exact search."""

    def __init__(self, gallery: Gallery, features: Features, top: int, bits: int | None = None) -> None:
        """top: pictures to find for each query. bits: of the codes; None to search the features themselves."""
        self._gallery, self._features, self._top, self._codes = gallery, features, top, None
        self.figures: CodeFigures | None = None
        if bits is not None:
            self._encoder, self._codes, self.figures = learn_and_measure(features.rows, bits, top)

    def answers(self, asking: Gallery, queries: Features) -> list[Answer]:
        """What is nearest to each of the pictures of `asking`, themselves excepted: files are known by their paths."""
        found = self._find(queries.rows, self._themselves(asking, queries))
        answers = []
        for place, label, rows, distances in zip(
            queries.places.tolist(), queries.labels.tolist(), found.indices, found.distances.tolist(), strict=True
        ):
            places, labels = self._features.places[rows].tolist(), self._features.labels[rows].tolist()
            hits = [Hit(self._gallery, *each) for each in zip(places, labels, distances, strict=True)]
            answers.append((Hit(asking, place, label), hits))
        return answers

    def _find(self, queries: NDArray[np.float32], passed_over: NDArray[np.int64] | None) -> Neighbours:
        if self._codes is None:
            return nearest(queries, self._features.rows, self._top, passed_over=passed_over)
        return nearest_codes(self._encoder.encode(queries), self._codes, self._top, passed_over=passed_over)

    def _themselves(self, asking: Gallery, queries: Features) -> NDArray[np.int64] | None:
        """The row of each query among those that are searched, -1 where it is none; None where none of them is."""
        paths = [asking.path(place) for place in queries.places.tolist()]
        if all(path is None for path in paths):
            return None
        rows = {
            path.absolute(): row
            for row, place in enumerate(self._features.places.tolist())
            if (path := self._gallery.path(place)) is not None
        }
        found = np.array([-1 if path is None else rows.get(path.absolute(), -1) for path in paths], np.int64)
        return found if (found >= 0).any() else None

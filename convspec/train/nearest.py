"""Exact search: the rows of a matrix that are nearest to given ones by Euclidean distance (paper, section 6.1).

One blocked matrix product in float32 finds out who can be among the nearest: |a - b|^2 = |a|^2 - 2ab + |b|^2. What it
loses to rounding is bounded, and whoever is within the bound is measured in float64, difference by difference. So the
answer is that of a loop in float64, also where all rows lie close together and far from zero, at the price of one
product. Rounding to float32 without the second look was rejected: it mixes up what is nearly equally far.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating]

BLOCK_BYTES = 128 << 20
"""About how much memory a search takes beside its rows and its answer."""

_UNIT = 2.0**-24  # the rounding of float32
_SMALLEST = 2.0**-149
_CENTRED_ON = 1024
_NOBODY = -1


class Neighbours(NamedTuple):
    """indices: of rows, int64 (queries, k), nearest first; of equally far ones the first. distances: float64, likewise."""

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]


def nearest(
    queries: Matrix,
    rows: Matrix,
    k: int,
    *,
    passed_over: NDArray[np.int64] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Neighbours:
    """The k rows nearest to each query, or all where there are fewer than k.

    queries: (M, D). rows: (N, D), in memory or mapped into it; D at least 1. All numbers must be finite.
    passed_over: (M,), a row that is no neighbour of this query, itself perhaps; -1 for none. With it, k is N - 1 at most.
    """
    k = max(0, min(k, len(rows) - (passed_over is not None)))
    found = Neighbours(np.empty((len(queries), k), np.int64), np.empty((len(queries), k)))
    if k == 0:
        return found
    if passed_over is None:
        passed_over = np.full(len(queries), _NOBODY, np.int64)
    # a third of the memory for rows and their differences, one for queries, one for four numbers a query and row
    most = max(1, block_bytes // (3 * 16 * rows.shape[1]))
    height = min(len(rows), most)
    center = _center(rows, most)
    for part in blocks(len(queries), min(most, max(1, block_bytes // (3 * 32 * height)))):
        search = _Search(np.asarray(queries[part], np.float64), center, k, passed_over[part], height)
        for block in blocks(len(rows), height):
            search.add(rows[block], block.start)
        found.indices[part], found.distances[part] = search.indices, np.sqrt(search.squares)
    return found


def recall(found: NDArray[np.int64], exact: Neighbours, queries: Matrix, rows: Matrix) -> float:
    """Which share of the k nearest is among those found, in [0, 1]; one that is as near as the k-th counts as much.

    found: (M, n), all different for a query. exact: of `nearest`, (M, k), for the same queries and rows.
    """
    k: int = exact.indices.shape[1]
    right = 0
    for query, indices, limit in zip(queries, found, exact.distances[:, -1], strict=True):
        right += min(k, int((np.sqrt(_squares(query.astype(np.float64), rows[indices])) <= limit).sum()))
    return right / (k * len(found))


def blocks(count: int, height: int) -> Iterator[slice]:
    """Slices of `height` that cover `count` rows; the last may be shorter."""
    return (slice(start, min(start + height, count)) for start in range(0, count, height))


def _center(rows: Matrix, most: int) -> NDArray[np.float32]:
    """A point amid the rows, (D,), by some of them: the closer they are to it, the less the product loses. Any is right."""
    step = -(-len(rows) // min(most, _CENTRED_ON))
    with np.errstate(over="ignore"):
        middle: NDArray[np.float32] = np.asarray(rows[::step], np.float64).mean(axis=0).astype(np.float32)
    return middle


class _Search:
    """What is known so far of the neighbours of a few queries."""

    def __init__(
        self,
        queries: NDArray[np.float64],
        center: NDArray[np.float32],
        k: int,
        passed_over: NDArray[np.int64],
        height: int,
    ) -> None:
        """height: rows that may be measured at once."""
        self._queries, self._center, self._k, self._passed_over, self._height = queries, center, k, passed_over, height
        self._centred, self._norms = _centred(queries, center)
        self.squares = np.full((len(queries), k), np.inf)
        self.indices = np.full((len(queries), k), np.iinfo(np.int64).max)

    def add(self, rows: Matrix, first: int) -> None:
        """Take in the rows `first`, `first + 1`, ..."""
        least, most = self._bounds(rows)
        here = self._passed_over - first
        inside = np.flatnonzero((here >= 0) & (here < len(rows)))
        least[inside, here[inside]] = most[inside, here[inside]] = np.inf
        limits = self.squares[:, -1]
        if self._k <= len(rows):
            limits = np.minimum(limits, np.partition(most, self._k - 1, axis=1)[:, self._k - 1])
        for i, limit in enumerate(limits):
            candidates = np.flatnonzero((least[i] <= limit) & (least[i] < np.inf))
            if len(candidates):
                self._take_in(i, self._measured(i, rows, candidates), candidates + first)

    def _bounds(self, rows: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Between what two numbers the squared distances lie: both (queries, rows).

        With u the rounding of float32 and s = |a| + |b|: rounding a and b moves |a - b|^2 by 2us^2 + u^2s^2 at most, and a
        product of D terms, in whatever order, by D u / (1 - D u) |a||b| (Higham, Accuracy and Stability, section 3.1).
        Where float32 cannot hold the numbers, nothing is known.
        """
        centred, norms = _centred(rows, self._center)
        with np.errstate(over="ignore", invalid="ignore"):
            least = (self._centred @ centred.T).astype(np.float64)
            least *= -2
            least += np.square(self._norms)[:, None]
            least += np.square(norms)
        unknown = ~np.isfinite(least)
        dimensions = rows.shape[1]
        growth = dimensions * _UNIT / (1 - dimensions * _UNIT) if dimensions * _UNIT < 1 else np.inf
        slack = np.square(np.add.outer(self._norms, norms))
        slack *= growth + 4 * _UNIT
        slack += dimensions * _SMALLEST
        slack[unknown], least[unknown] = np.inf, 0
        most = least + slack
        least -= slack
        return least, most

    def _measured(self, query: int, rows: Matrix, candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        """Squared distances of some rows from a query, in float64."""
        found = np.empty(len(candidates))
        for part in blocks(len(candidates), self._height):
            found[part] = _squares(self._queries[query], rows[candidates[part]])
        return found

    def _take_in(self, query: int, squares: NDArray[np.float64], indices: NDArray[np.int64]) -> None:
        squares = np.concatenate([self.squares[query], squares])
        indices = np.concatenate([self.indices[query], indices])
        order = np.lexsort((indices, squares))[: self._k]
        self.squares[query], self.indices[query] = squares[order], indices[order]


def _squares(query: NDArray[np.float64], rows: Matrix) -> NDArray[np.float64]:
    """Squared distances of rows from a query, each by the same sum: equal rows are equally far."""
    differences = rows.astype(np.float64) - query
    squares: NDArray[np.float64] = np.square(differences, out=differences).sum(axis=1)
    return squares


def _centred(points: Matrix, center: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Points seen from `center`, each number rounded once to float32; and how far they are from it, float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        if points.dtype == np.float32:
            centred = points - center
        else:
            centred = (points - center.astype(np.float64)).astype(np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", centred, centred, dtype=np.float64))
    return centred, norms

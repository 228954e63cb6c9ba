"""Exact search against a loop in float64, also where the product alone would be wrong; and what counts as recalled."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from convspec.train.nearest import Neighbours, nearest, recall

Rows = NDArray[np.floating]


def loop(queries: Rows, rows: Rows, k: int, passed_over: NDArray[np.int64] | None = None) -> Neighbours:
    """One query and one row after the other, in float64; sorted by distance, then by index."""
    found = []
    for i, query in enumerate(queries.astype(np.float64)):
        distances = [(float(np.linalg.norm(row.astype(np.float64) - query)), j) for j, row in enumerate(rows)]
        if passed_over is not None:
            distances = [pair for pair in distances if pair[1] != passed_over[i]]
        found.append(sorted(distances)[:k])
    return Neighbours(
        np.array([[j for _, j in row] for row in found]), np.array([[d for d, _ in row] for row in found])
    )


def assert_exact(found: Neighbours, queries: Rows, rows: Rows, k: int) -> None:
    wanted = loop(queries, rows, k)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_allclose(found.distances, wanted.distances, rtol=1e-12)


def cloud(count: int, size: int, seed: int, offset: float = 0.0, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(offset, scale, (count, size))).astype(np.float32)


# few bytes: several blocks of rows and of queries; one row at a time
@pytest.mark.parametrize("block_bytes", [1, 3000, 1 << 20])
@pytest.mark.parametrize(
    ("offset", "scale"),
    [(0, 1), (1e4, 1), (1e6, 1), (3e7, 4), (0, 1e-20), (0, 1e25), (1e30, 1e28), (0, 5e37)],
    ids=str,
)
def test_as_a_loop_in_float64(offset: float, scale: float, block_bytes: int) -> None:
    """At 1e6 float32 numbers lie 0.06 apart, and |a|^2 is 1e13 times as large as the differences that count."""
    rows, queries = cloud(90, 12, 1, offset, scale), cloud(5, 12, 2, offset, scale)
    assert_exact(nearest(queries, rows, 7, block_bytes=block_bytes), queries, rows, 7)


def test_the_product_alone_would_not_do() -> None:
    """Clusters far from each other and from zero, each narrow: centring does not help, and rounding decides who is near."""
    centers = cloud(4, 32, 3, 0, 1000)
    rows = (centers.repeat(25, 0) + cloud(100, 32, 4, 0, 1e-3)).astype(np.float32)
    queries = (centers + cloud(4, 32, 5, 0, 1e-3)).astype(np.float32)
    product = np.square(rows).sum(1) - 2 * queries @ rows.T
    wanted = loop(queries, rows, 10).indices
    assert (np.argsort(product, axis=1, kind="stable")[:, :10] != wanted).any()
    assert_exact(nearest(queries, rows, 10), queries, rows, 10)


def test_equal_distances_come_in_order() -> None:
    """Whole numbers, so that sums are exact: many rows are as far as others, and many are the same."""
    randomness = np.random.default_rng(6)
    rows = randomness.integers(-1, 2, (300, 3)).astype(np.float32)
    queries = randomness.integers(-1, 2, (20, 3)).astype(np.float32)
    for k in (1, 5, 299):
        assert_exact(nearest(queries, rows, k, block_bytes=4000), queries, rows, k)


def test_the_same_row_many_times() -> None:
    rows = np.full((50, 8), 1e8, np.float32)
    found = nearest(rows[:2], rows, 4, block_bytes=2000)
    assert found.indices.tolist() == [[0, 1, 2, 3]] * 2
    assert not found.distances.any()


def test_more_than_there_are_and_none() -> None:
    rows = cloud(3, 4, 7)
    found = nearest(rows, rows, 10)
    assert found.indices.shape == found.distances.shape == (3, 3)
    assert sorted(found.indices[0].tolist()) == [0, 1, 2]
    assert nearest(rows, rows, 0).indices.shape == (3, 0)
    assert nearest(rows[:0], rows, 2).indices.shape == (0, 2)
    assert nearest(rows[:1], rows[:1], 3, passed_over=np.array([0])).indices.shape == (1, 0)


def test_rows_that_are_passed_over() -> None:
    rows = cloud(40, 6, 8)
    passed_over = np.array([3, -1, 0])
    queries = rows[[3, 5, 0]]
    found = nearest(queries, rows, 39, passed_over=passed_over, block_bytes=1000)
    np.testing.assert_array_equal(found.indices, loop(queries, rows, 39, passed_over).indices)
    assert 3 not in found.indices[0]
    assert found.indices[1, 0] == 5


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_width_of_floats(dtype: type[np.floating]) -> None:
    rows = np.random.default_rng(9).normal(50, 1, (60, 5)).astype(dtype)
    queries = rows[:4] + dtype(0.01)
    assert_exact(nearest(queries, rows, 6), queries, rows, 6)


def test_numbers_that_float32_cannot_hold() -> None:
    rows = np.random.default_rng(10).normal(0, 1, (30, 4)) * 1e120
    assert_exact(nearest(rows[:3], rows, 5), rows[:3], rows, 5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 40),
    st.integers(1, 8),
    st.sampled_from([0.0, 1e3, 1e7]),
    st.integers(0, 2**32),
    st.integers(1, 5000),
)
def test_any_size(count: int, size: int, k: int, offset: float, seed: int, block_bytes: int) -> None:
    """Numbers of eighths, that float64 adds up without rounding, so that equal distances are equal in the loop as well."""
    randomness = np.random.default_rng(seed)
    rows, queries = ((randomness.integers(-9, 9, (n, size)) / 8 + offset).astype(np.float32) for n in (count, 3))
    assert_exact(nearest(queries, rows, k, block_bytes=block_bytes), queries, rows, min(k, count))


@pytest.mark.parametrize(("count", "size"), [(30_000, 64), (100, 20_000)], ids=str)
def test_memory_is_bounded(count: int, size: int, tmp_path: Path) -> None:
    """Rows that are mapped from a file are never in memory as a whole, be they many or long, nor are queries."""
    np.save(tmp_path / "rows.npy", np.random.default_rng(11).integers(0, 9, (count, size)).astype(np.float32))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    queries = rows[:20]
    block_bytes = 1 << 20
    assert min(rows.nbytes, 20 * count * 8 + 20 * size * 8) > 3 * block_bytes
    tracemalloc.start()
    found = nearest(queries, rows, 3, block_bytes=block_bytes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * block_bytes
    assert found.indices[:, 0].tolist() == list(range(20))


def test_recall() -> None:
    rows = np.array([[0.0], [1.0], [2.0], [3.0], [3.0], [9.0]], np.float32)
    query = np.array([[0.1]], np.float32)
    exact = nearest(query, rows, 4)
    assert exact.indices.tolist() == [[0, 1, 2, 3]]
    assert recall(np.array([[0, 1, 2, 3]]), exact, query, rows) == 1
    assert recall(np.array([[4, 2, 1, 0]]), exact, query, rows) == 1, "row 4 is as near as row 3"
    assert recall(np.array([[0, 1, 2, 3, 4, 5]]), exact, query, rows) == 1
    assert recall(np.array([[5, 0]]), exact, query, rows) == 0.25

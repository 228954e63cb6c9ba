"""Short codes: bits against Python's integers, learning that finds clusters, and figures that are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from convspec.train.code_search import learn_and_measure
from convspec.train.codes import hamming, learn_codes, nearest_codes, packed
from convspec.train.nearest import nearest


def bits(count: int, width: int, seed: int) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random((count, width)) < 0.5


def as_integer(row: NDArray[np.bool_]) -> int:
    return int("".join("1" if bit else "0" for bit in row), 2)


@pytest.mark.parametrize("width", [1, 7, 64, 65, 200])
def test_distances_are_those_of_integers(width: int) -> None:
    one, other = bits(9, width, 1), bits(30, width, 2)
    wanted = [[(as_integer(a) ^ as_integer(b)).bit_count() for b in other] for a in one]
    assert hamming(packed(one), packed(other)).tolist() == wanted
    assert packed(one).shape == (9, -(-width // 64))


@pytest.mark.parametrize("block_bytes", [1, 2000, 1 << 20])
@pytest.mark.parametrize("width", [3, 70])
def test_nearest_codes_in_order(width: int, block_bytes: int) -> None:
    """Few bits, so that many codes are equally far: the first come first, whatever the blocks."""
    queries, rows = bits(6, width, 3), bits(80, width, 4)
    found = nearest_codes(packed(queries), packed(rows), 11, block_bytes=block_bytes)
    for query, indices, distances in zip(queries, found.indices.tolist(), found.distances.tolist(), strict=True):
        wanted = sorted(((as_integer(query) ^ as_integer(row)).bit_count(), j) for j, row in enumerate(rows))[:11]
        assert list(zip(distances, indices, strict=True)) == wanted


def test_codes_that_are_passed_over_and_too_few() -> None:
    rows = packed(bits(5, 64, 5))
    found = nearest_codes(rows, rows, 9, passed_over=np.arange(5), block_bytes=1)
    assert found.indices.shape == (5, 4)
    assert all(i not in row for i, row in enumerate(found.indices.tolist()))
    assert nearest_codes(rows[:0], rows, 2).indices.shape == (0, 2)
    assert nearest_codes(rows, rows, 0).indices.shape == (5, 0)


def clusters(offset: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """300 rows of 40 numbers about 20 centres, and which centre each is about."""
    randomness = np.random.default_rng(7)
    of = np.arange(300) % 20
    rows = randomness.normal(0, 3, (20, 40))[of] + randomness.normal(0, 0.5, (300, 40)) + offset
    return rows.astype(np.float32), of


def test_codes_tell_clusters_apart() -> None:
    """Of the 14 others of its cluster a row finds nearly all among 299, also far from zero; by chance it would find 5 %."""
    for offset in (0.0, 1e4):
        rows, of = clusters(offset)
        left_out = np.arange(0, 300, 7)
        encoder = learn_codes(rows, 24, left_out=left_out, steps=120)
        codes = encoder.encode(rows)
        found = nearest_codes(codes[left_out], codes, 14, passed_over=left_out)
        assert (of[found.indices] == of[left_out][:, None]).mean() > 0.9


def test_bits_are_balanced() -> None:
    """No bit is the same for all rows: it would tell nothing."""
    randomness = np.random.default_rng(3)
    middles = randomness.normal(-1, 3, (20, 40))[np.arange(300) % 20]
    rows = np.maximum(middles + randomness.normal(0, 0.5, (300, 40)), 0).astype(np.float32)
    rows[:, 0] *= 20
    codes = learn_codes(rows, 24, steps=60).encode(rows)
    on = np.unpackbits(codes.view(np.uint8), axis=1)[:, :24].mean(0)
    assert on.min() > 0.1
    assert on.max() < 0.9


def test_the_same_codes_each_time_and_no_trace() -> None:
    rows, _ = clusters()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (learn_codes(rows, 16, steps=30).encode(rows) for _ in range(2))
    assert np.array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert not np.array_equal(first, learn_codes(rows, 16, steps=30, seed=1).encode(rows))


def test_rows_left_out_are_not_seen() -> None:
    rows, _ = clusters()
    left_out = np.arange(0, 300, 5)
    spoilt = rows.copy()
    spoilt[left_out] = np.nan
    kept = np.setdiff1d(np.arange(300), left_out)
    codes = [learn_codes(each, 16, left_out=left_out, steps=20).encode(rows[kept]) for each in (rows, spoilt)]
    assert np.array_equal(*codes)


def test_figures() -> None:
    """Few bits, so that not everything is found and each row looked for takes a place from another."""
    rows, _ = clusters()
    encoder, codes, figures = learn_and_measure(rows, 3, 5, steps=40)
    assert (figures.bits, figures.k, figures.queries, figures.short_list) == (3, 5, 60, 50)
    assert (figures.exact_bytes, figures.code_bytes) == (160, 8)
    assert figures.exact_seconds > 0
    assert figures.code_seconds > 0
    assert np.array_equal(encoder.encode(rows), codes)
    # the same shares, counted by sets
    asked = np.arange(0, 300, 5)
    exact = nearest(rows[asked], rows, 5, passed_over=asked).indices
    for count, stated in ((5, figures.recall), (50, figures.short_list_recall)):
        found = nearest_codes(codes[asked], codes, count, passed_over=asked).indices
        shares = [len({*a} & {*b}) / 5 for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
        assert stated == pytest.approx(np.mean(shares))
    assert figures.recall > 0.05, "by chance 1.7 %"
    assert 0.3 < figures.short_list_recall < 1, "by chance 17 %"


def test_few_and_equal_rows() -> None:
    rows = np.ones((10, 3), np.float32)
    _, codes, figures = learn_and_measure(rows, 8, 6, steps=5)
    assert len(np.unique(codes)) == 1
    assert figures.recall == 1

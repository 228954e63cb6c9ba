"""Random numbers that can be drawn again one by one."""

from __future__ import annotations

import numpy as np

from convspec.data import draws
from convspec.data.draws import Stream

MANY = np.arange(20_000, dtype=np.int64)


def test_a_number_does_not_depend_on_its_neighbours() -> None:
    whole = draws.integers(MANY, 1000, 7, 3, Stream.CROP_ROW)
    assert draws.integers(MANY[123:124], 1000, 7, 3, Stream.CROP_ROW)[0] == whole[123]
    backwards = draws.integers(MANY[::-1].copy(), 1000, 7, 3, Stream.CROP_ROW)
    assert np.array_equal(backwards[::-1], whole)


def test_every_part_of_the_key_matters() -> None:
    keys = [(0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2), (1, 1, 1), (-1, 0, 1), (2**63, 0, 1)]
    drawn = {draws.bits(MANY[:4], *key).tobytes() for key in keys}
    assert len(drawn) == len(keys)


def test_these_numbers_never_change() -> None:
    """Runs of earlier versions are gone on with: their order and crops must stay what they were."""
    assert draws.integers(MANY[:8], 100, 0, 0, Stream.ORDER).tolist() == [85, 18, 45, 99, 47, 31, 77, 63]


def test_uniform_and_independent() -> None:
    rows = draws.integers(MANY, 30, 0, 0, Stream.CROP_ROW)
    columns = draws.integers(MANY, 30, 0, 0, Stream.CROP_COLUMN)
    next_epoch = draws.integers(MANY, 30, 0, 1, Stream.CROP_ROW)
    expected = len(MANY) / 30
    for values in (rows, columns, next_epoch):
        counts = np.bincount(values, minlength=30)
        assert ((counts - expected) ** 2 / expected).sum() < 60  # chi-square, 29 degrees: p = 0.0006
    for other in (columns, next_epoch, np.roll(rows, 1)):
        assert abs(np.corrcoef(rows, other)[0, 1]) < 0.03


def test_bounds_may_differ() -> None:
    bounds = MANY % 7 + 1
    values = draws.integers(MANY, bounds, 5)
    assert (values >= 0).all()
    assert (values < bounds).all()
    assert all((values[bounds == bound] == bound - 1).any() for bound in range(1, 8))


def test_permutation_holds_each_once() -> None:
    order = draws.permutation(1000, 1, 2)
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != list(range(1000))
    assert draws.permutation(0, 1).tolist() == []

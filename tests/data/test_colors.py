"""Colour noise: the shifts of section 4.1 against a computation of their own, and what they depend on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from convspec.data import BatchStream, Split, draws
from convspec.data.colors import ColorNoise
from convspec.data.draws import Stream
from tests.data.numbered import Numbered

INDICES = np.arange(40_000, dtype=np.int64)
DEVIATIONS = np.array([60.0, 9.0, 2.0], np.float32)
# a turn of no symmetry: rows and columns, and signs, cannot be mistaken for each other
DIRECTIONS = np.linalg.qr(np.array([[1.0, 2.0, 0.5], [0.3, -1.0, 4.0], [2.0, 1.0, 1.0]]))[0].astype(np.float32)
PCA = (DEVIATIONS, DIRECTIONS)


def drawn(strength: float = 0.1, *, seed: int = 3, epoch: int = 5) -> NDArray[np.float32]:
    return ColorNoise.of(PCA, strength).shifts(INDICES, seed=seed, epoch=epoch)


def test_a_shift_is_the_formula_of_the_paper() -> None:
    """[p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T, picture by picture, l the deviations."""
    shifts = drawn()
    for index in (0, 17, 39_999):
        alphas = [0.1 * draws.normals(INDICES[index : index + 1], 3, 5, Stream.COLOR, i)[0] for i in range(3)]
        total = sum(DIRECTIONS[:, i].astype(float) * alphas[i] * float(DEVIATIONS[i]) for i in range(3))
        np.testing.assert_allclose(shifts[index], total, rtol=1e-6)


def covariance_error(shifts: NDArray[np.float32], strength: float = 0.1) -> float:
    """Of the shifts' covariance in the basis of the components, against diag((strength deviation)^2), relative."""
    turned = shifts.astype(np.float64) @ DIRECTIONS.astype(np.float64)
    expected = strength * DEVIATIONS.astype(np.float64)
    return float(np.abs(np.cov(turned.T) / np.outer(expected, expected) - np.eye(3)).max())


def test_shifts_vary_as_the_colours_do() -> None:
    assert covariance_error(drawn()) < 0.03
    assert np.abs(drawn().mean(axis=0)).max() < 0.1


@pytest.mark.parametrize(
    "pca", [(DEVIATIONS**2, DIRECTIONS), (DEVIATIONS, DIRECTIONS.T.copy()), (DEVIATIONS[::-1].copy(), DIRECTIONS)]
)
def test_eigenvalues_or_rows_for_columns_would_be_seen(pca: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    """The broken twins of the test above."""
    shifts = ColorNoise.of(pca, 0.1).shifts(INDICES, seed=3, epoch=5)
    assert covariance_error(shifts) > 0.3


def test_a_shift_belongs_to_its_seed_epoch_and_picture() -> None:
    noise, whole = ColorNoise.of(PCA, 0.1), drawn()
    for part in (slice(7, 8), slice(100, 117), slice(None, None, -1)):
        assert np.array_equal(noise.shifts(INDICES[part], seed=3, epoch=5), whole[part])
    assert not np.array_equal(drawn(seed=4), whole)
    assert not np.array_equal(drawn(epoch=6), whole)
    assert len(np.unique(whole[:, 0])) > 39_000


def test_the_original_programs_divide_by_one_more() -> None:
    assert ColorNoise.of(PCA, 0.25, rescales=True).scale == 0.8
    assert ColorNoise.of(PCA, 0.25).scale == 1.0


@pytest.mark.parametrize("batch_size", [8, 50])
def test_a_stream_gives_each_training_picture_its_shift(batch_size: int) -> None:
    noise = ColorNoise.of(PCA, 0.1, rescales=True)
    expected = noise.shifts(np.arange(50), seed=2, epoch=1)
    options = {"batch_size": batch_size, "seed": 2, "epoch": 1, "start": 1 if batch_size == 8 else 0}
    with BatchStream(Numbered(), Split.TRAIN, crop=(9, 7), colors=noise, **options) as stream:  # type: ignore[arg-type]
        for batch in stream:
            assert batch.shifts is not None
            assert np.array_equal(batch.shifts, expected[batch.labels])
            assert batch.scale == noise.scale


def test_test_pictures_keep_their_colours() -> None:
    noise = ColorNoise.of(PCA, 0.1, rescales=True)
    with BatchStream(Numbered(), Split.TEST, batch_size=8, crop=(9, 7), colors=noise) as stream:
        assert all(batch.shifts is None and batch.scale == 1 for batch in stream)

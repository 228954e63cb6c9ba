"""Mean and colours against NumPy's own, over all pictures at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from convspec.data import Dataset, Split, statistics_of
from convspec.data.dataset import Pictures
from convspec.data.draws import Indices
from convspec.data.statistics import Statistics, Sums, mean_image, principal_components


class Kept(Dataset):
    """Pictures that lie in memory."""

    name = "kept"
    classes = ("a", "b")
    fingerprint = "k"

    def __init__(self, pictures: Pictures) -> None:
        self.pictures, self.shape = pictures, pictures.shape[1:]
        self.largest_read = 0

    def count(self, split: Split) -> int:
        return len(self.pictures)

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        assert split is Split.TRAIN
        self.largest_read = max(self.largest_read, out.nbytes)
        out[...] = self.pictures[indices]
        return indices


def colorful(count: int, side: int = 9, seed: int = 0) -> Pictures:
    """Channels that depend on one another, each in its own way."""
    draw = np.random.default_rng(seed)
    hidden = draw.normal(size=(count, side, side, 3)) @ np.array([[30, 25, 10], [0, 12, -9], [5, 0, 6]])
    return np.clip(hidden + [120, 100, 90] + 5 * np.arange(side)[:, None, None], 0, 255).astype(np.uint8)


def covariance_of(pictures: Pictures) -> NDArray[np.float64]:
    return np.cov(pictures.reshape(-1, 3).astype(np.float64), rowvar=False)


@pytest.mark.parametrize("count", [1, 64, 65, 200])
def test_equal_to_numpy(count: int) -> None:
    pictures = colorful(count)
    found = statistics_of(Kept(pictures))
    np.testing.assert_allclose(found.mean, pictures.mean(axis=0, dtype=np.float64), rtol=1e-14)
    variances, directions = np.linalg.eigh(covariance_of(pictures))
    assert found.color_pca is not None
    np.testing.assert_allclose(found.color_pca[0], np.sqrt(variances[::-1]), rtol=1e-6)
    along = np.abs((found.color_pca[1] * directions[:, ::-1]).sum(axis=0))
    np.testing.assert_allclose(along, 1, rtol=1e-6)


def test_the_components_give_the_covariance_back() -> None:
    pictures = colorful(30)
    color_pca = statistics_of(Kept(pictures)).color_pca
    assert color_pca is not None
    deviations, directions = color_pca
    np.testing.assert_allclose(directions * deviations**2 @ directions.T, covariance_of(pictures), rtol=1e-4, atol=1e-2)


def test_a_great_mean_costs_no_digits() -> None:
    """Nearly white pictures: sums of squares in floats would lose the small variance below the large mean."""
    pictures = np.full((500, 64, 64, 3), 254, np.uint8)
    pictures[0, 0, 0] = 255, 253, 254
    color_pca = statistics_of(Kept(pictures)).color_pca
    assert color_pca is not None
    pixels = 500 * 64 * 64
    # the variance along (1, -1, 0): sum of squares 2, less the mean of it
    np.testing.assert_allclose(color_pca[0][0], np.sqrt((2 - 2 / pixels) / (pixels - 1)), rtol=1e-7)
    np.testing.assert_allclose(color_pca[1][:, 0], np.array([1, -1, 0]) / np.sqrt(2), atol=1e-6)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.sampled_from([1, 3]), st.booleans(), st.randoms())
def test_parts_and_order_do_not_matter(sizes: list[int], channels: int, colors: bool, random: object) -> None:
    """Neither where the pictures are added up as they come, nor where the sums of each part are kept and joined."""
    pictures = colorful(sum(sizes), side=3)[..., :channels]
    whole, passing, joined = (Sums(pictures.shape[1:], colors=colors) for _ in range(3))
    whole.add(pictures)
    parts = np.split(pictures, np.cumsum(sizes)[:-1])
    random.shuffle(parts)  # type: ignore[attr-defined]
    for part in parts:
        passing.add(part)
        alone = Sums(pictures.shape[1:], colors=colors)
        alone.add(part)
        joined.add_numbers(alone.numbers())
    expected = whole.statistics()
    assert (expected.color_pca is not None) == (colors and channels == 3)
    for sums in (passing, joined):
        found = sums.statistics()
        assert found.mean.tobytes() == expected.mean.tobytes()
        assert [each.tobytes() for each in found.color_pca or ()] == [
            each.tobytes() for each in expected.color_pca or ()
        ]


def test_a_direction_points_the_same_way_whatever_its_neighbourhood() -> None:
    """Two components of nearly equal size and other sign: neither the larger nor the sum decides."""
    for nudge in (-1e-9, 0, 1e-9):
        direction = np.array([1 + nudge, -1, 0]) / np.sqrt(2)
        for sign in (1, -1):
            directions = principal_components(np.outer(sign * direction, sign * direction))[1]
            np.testing.assert_allclose(directions[:, 0], direction, atol=1e-6)


def test_grey_pictures_have_no_colors() -> None:
    pictures = colorful(10)[..., :1]
    found = statistics_of(Kept(pictures))
    assert found.color_pca is None
    np.testing.assert_allclose(found.mean, pictures.mean(axis=0, dtype=np.float64), rtol=1e-14)


def test_equal_channels_vary_along_grey_alone() -> None:
    color_pca = statistics_of(Kept(np.repeat(colorful(10)[..., :1], 3, axis=3))).color_pca
    assert color_pca is not None
    assert color_pca[0][0] > 10
    assert (color_pca[0][1:] < 1e-5).all()
    np.testing.assert_allclose(color_pca[1][:, 0], np.full(3, np.sqrt(1 / 3)), rtol=1e-6)


def test_many_pictures_are_sampled_evenly_and_little_is_held_at_once() -> None:
    dataset = Kept(colorful(301))
    found = statistics_of(dataset, most=101)
    np.testing.assert_allclose(found.mean, dataset.pictures[::3].mean(axis=0, dtype=np.float64), rtol=1e-14)
    assert dataset.largest_read == 64 * dataset.pictures[0].nbytes
    large = Kept(np.zeros((3, 4096, 2048, 3), np.uint8))
    statistics_of(large)
    assert large.largest_read == large.pictures[0].nbytes


def test_what_the_data_bring_along_is_not_taken() -> None:
    dataset = Kept(colorful(4))
    dataset.mean = np.full(dataset.shape, 7, np.float32)
    taken = statistics_of(dataset)
    assert (taken.mean == 7).all()
    assert taken.color_pca is not None
    dataset.color_pca = np.ones(3, np.float32), np.eye(3, dtype=np.float32)
    dataset.largest_read = 0
    assert statistics_of(dataset).color_pca is dataset.color_pca
    assert dataset.largest_read == 0


def test_the_mean_alone_leaves_the_colors() -> None:
    dataset = Kept(colorful(4))
    assert statistics_of(dataset, colors=False).color_pca is None
    assert (mean_image(dataset, "image") == statistics_of(dataset).mean.astype(np.float32)).all()


def test_means_by_kind() -> None:
    """An image that differs by place and by channel, with sides that differ: (1, 2, 3)."""
    means = Statistics(np.array([[[1.0, 5.0, 9.0], [3.0, 7.0, 200.0]]]), None)
    assert means.mean_by("image").tolist() == means.mean.tolist()
    assert means.mean_by("channel").tolist() == [[[2.0, 6.0, 104.5]] * 2]
    assert means.mean_by("none").tolist() == [[[0.0] * 3] * 2]
    pictures = Kept(colorful(2))
    for kind in ("none", "channel"):
        assert mean_image(pictures, kind).tolist() == statistics_of(pictures).mean_by(kind).tolist()
        assert mean_image(pictures, kind).dtype == np.float32

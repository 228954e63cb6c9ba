"""The built-in photographs: 16 classes, and no test pixel in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convspec.data import Split
from convspec.data.photos import PHOTOGRAPHS, Photos, halves_of
from convspec.data.requirements import package_folder

FOLDER = package_folder("skimage", "scikit-image", "the tests") / "data"


def photos(size: int = 64, channels: int = 3, seed: int = 0) -> Photos:
    return Photos(size=size, channels=channels, samples=6, test_samples=3, seed=seed)


def read(dataset: Photos, split: Split, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
    indices = np.arange(dataset.count(split))
    out = np.empty((len(indices), *dataset.shape), np.uint8)
    return out, dataset.read(split, indices, epoch=epoch, out=out)


def test_sixteen_photographs_of_300_pixels_or_more() -> None:
    assert len(PHOTOGRAPHS) == 16
    for file in PHOTOGRAPHS.values():
        with Image.open(FOLDER / file) as image:
            assert min(image.size) >= 300, file


@pytest.mark.parametrize("channels", [1, 3])
def test_all_classes_in_both_splits(channels: int) -> None:
    dataset = photos(channels=channels)
    for split, each in ((Split.TRAIN, 6), (Split.TEST, 3)):
        pictures, labels = read(dataset, split)
        assert pictures.shape == (16 * each, 64, 64, channels)
        assert np.bincount(labels).tolist() == [each] * 16


def numbered(tmp_path: Path, width: int, height: int) -> Path:
    """A photograph in which red is the column and green the row, each within its half."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 2] = 255
    if width >= height:
        pixels[:, width // 2 :, 2] = 0
    else:
        pixels[height // 2 :, :, 2] = 0
    Image.fromarray(pixels).save(tmp_path / "numbered.png")
    return tmp_path / "numbered.png"


@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 401), (512, 512), (1411, 1411), (300, 300)])
@pytest.mark.parametrize("size", [32, 64, 150, 256, 400])
def test_the_halves_share_no_pixel(tmp_path: Path, width: int, height: int, size: int) -> None:
    """Blue is 255 in the first half and 0 in the second: one pixel of the other side, even filtered, would show."""
    first, second = halves_of(numbered(tmp_path, width, height), size, 3)
    assert (first[:, :, 2] == 255).all()
    assert (second[:, :, 2] == 0).all()
    for half in (first, second):
        assert size <= min(half.shape[:2])
        assert min(half.shape[:2]) <= max(2 * size, 1), "a crop covers half of the shorter side at least"


def test_crops_lie_in_their_half_and_reach_its_corners() -> None:
    dataset = Photos(size=64, channels=3, samples=3000, test_samples=3000, seed=0)
    for split in Split:
        labels, tops, lefts = dataset.positions(split, np.arange(dataset.count(split)), epoch=0)
        for label in range(16):
            height, width = dataset._halves[split][label].shape[:2]
            chosen = labels == label
            assert (tops[chosen].min(), lefts[chosen].min()) == (0, 0)
            assert (tops[chosen].max(), lefts[chosen].max()) == (height - 64, width - 64)


def test_training_crops_are_new_in_each_epoch_and_test_crops_are_not() -> None:
    dataset = photos()
    assert not np.array_equal(read(dataset, Split.TRAIN, 0)[0], read(dataset, Split.TRAIN, 1)[0])
    assert np.array_equal(read(dataset, Split.TEST, 0)[0], read(dataset, Split.TEST, 1)[0])


def test_the_seed_moves_training_crops_alone() -> None:
    assert not np.array_equal(read(photos(seed=0), Split.TRAIN)[0], read(photos(seed=1), Split.TRAIN)[0])
    assert np.array_equal(read(photos(seed=0), Split.TEST)[0], read(photos(seed=1), Split.TEST)[0])
    assert np.array_equal(read(photos(seed=1), Split.TRAIN)[0], read(photos(seed=1), Split.TRAIN)[0])


def test_fingerprint() -> None:
    assert photos().fingerprint == photos().fingerprint
    assert photos().fingerprint != photos(size=65).fingerprint

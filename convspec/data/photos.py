"""The built-in dataset: photographs that come with scikit-image, a class a photograph.

Each photograph is cut in two across its longer side. Training crops are drawn at random from the first half, test crops
from the second: no test pixel is ever seen in training, and recognising one means having learned what the photograph is
made of. Both halves are scaled alike, so that a crop covers at least half of the shorter side (texture alone would tell
too little) and never more than the half holds.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from convspec.data import draws
from convspec.data.dataset import Dataset, Pictures, Split
from convspec.data.draws import TEST_SEED, Indices, Stream
from convspec.data.pictures import BrokenPicture, read_upright, resized
from convspec.data.requirements import INSTALL, package_folder
from convspec.diagnostics import Diagnostic, DiagnosticError

PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "cameraman": "camera.png",
    "cat": "chelsea.png",
    "cell": "cell.png",
    "clock": "clock_motion.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "galaxies": "hubble_deep_field.jpg",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "tissue": "ihc.png",
}
"""Class to file. All shorter sides are at least 300 pixels. Left out: drawings, pages of text, and the second view of
the motorcycle."""

LARGEST_HALF = 2
"""A half is reduced until its shorter side is at most this many crops."""


class Photos(Dataset):
    """`samples` crops of `size` x `size` a class and epoch for training, `test_samples` a class for testing."""

    name = "photos"

    def __init__(self, *, size: int, channels: int, samples: int, test_samples: int, seed: int) -> None:
        self.classes = tuple(PHOTOGRAPHS)
        self.shape = (size, size, channels)
        self._seed = seed
        self._samples = {Split.TRAIN: samples, Split.TEST: test_samples}
        folder = package_folder("skimage", "scikit-image", "the dataset 'photos'") / "data"
        halves = [halves_of(_find(folder, file), size, channels) for file in PHOTOGRAPHS.values()]
        self._halves = {Split.TRAIN: [half[0] for half in halves], Split.TEST: [half[1] for half in halves]}
        # free crop positions along (rows, columns) of each half, (classes, 2)
        self._room = {
            split: np.array([[half.shape[0] - size + 1, half.shape[1] - size + 1] for half in self._halves[split]])
            for split in Split
        }
        content = hashlib.sha256(repr((size, channels, samples, test_samples, self.classes)).encode())
        for half in (half for split in Split for half in self._halves[split]):
            content.update(half.tobytes())
        self.fingerprint = content.hexdigest()

    def count(self, split: Split) -> int:
        return len(self.classes) * self._samples[split]

    def labels(self, split: Split) -> Indices:
        return np.arange(self.count(split), dtype=np.int64) // self._samples[split]

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        labels, tops, lefts = self.positions(split, indices, epoch=epoch)
        size, halves = self.shape[0], self._halves[split]
        for i, (label, top, left) in enumerate(zip(labels.tolist(), tops.tolist(), lefts.tolist(), strict=True)):
            out[i] = halves[label][top : top + size, left : left + size]
        return labels

    def positions(self, split: Split, indices: Indices, *, epoch: int) -> tuple[Indices, Indices, Indices]:
        """Labels, and the top left corners of the crops within their halves: three of (N,)."""
        labels = indices // self._samples[split]
        room = self._room[split][labels]
        seed, epoch = (self._seed, epoch) if split is Split.TRAIN else (TEST_SEED, 0)
        tops = draws.integers(indices, room[:, 0], seed, epoch, Stream.REGION_ROW)
        lefts = draws.integers(indices, room[:, 1], seed, epoch, Stream.REGION_COLUMN)
        return labels, tops, lefts


def halves_of(path: Path, size: int, channels: int) -> tuple[Pictures, Pictures]:
    """The training half and the test half of a photograph, scaled alike, each at least `size` on both sides.

    The halves are cut before they are scaled, so that no filter carries pixels across the cut.
    """
    try:
        image = read_upright(path, channels)
    except BrokenPicture as error:
        raise _unusable(path, str(error)) from error
    width, height = image.size
    middle_x, middle_y = (width // 2, height) if width >= height else (width, height // 2)
    cut_x, cut_y = (middle_x, 0) if width >= height else (0, middle_y)
    boxes = ((0, 0, middle_x, middle_y), (cut_x, cut_y, cut_x + middle_x, cut_y + middle_y))
    shorter = min(middle_x, middle_y)
    scale = min(max(1.0, size / shorter), LARGEST_HALF * size / shorter)
    target = max(size, round(middle_y * scale)), max(size, round(middle_x * scale))
    first, second = (np.ascontiguousarray(resized(image.crop(box), *target)) for box in boxes)
    return first, second


def _find(folder: Path, file: str) -> Path:
    path = folder / file
    if not path.is_file():
        raise _unusable(path, "it is not in the installed scikit-image")
    return path


def _unusable(path: Path, why: str) -> DiagnosticError:
    message = f"the photograph {path.name} of scikit-image cannot be used: {why}"
    return DiagnosticError(Diagnostic("CS801", message, help=f"type: {INSTALL} --force-reinstall"))

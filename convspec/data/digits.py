"""Handwritten digits: the 1,797 of scikit-learn, 8x8 with 17 grey levels, brought to the input size of the network."""

from __future__ import annotations

import hashlib

import numpy as np

from convspec.data.dataset import Dataset, Pictures, Split
from convspec.data.draws import Indices
from convspec.data.pictures import resized
from convspec.data.requirements import INSTALL, missing, package_folder
from convspec.diagnostics import Diagnostic, DiagnosticError

TEST_EVERY = 5
"""Every fifth digit is a test digit: 1,438 for training, 359 for testing."""


class Digits(Dataset):
    """Bright strokes (255) on black (0), (height, width, channels); 3 channels are three times the same."""

    name = "digits"

    def __init__(self, *, height: int, width: int, channels: int) -> None:
        self.classes = tuple(str(digit) for digit in range(10))
        self.shape = (height, width, channels)
        pixels, labels = _load()
        pictures = np.stack([_scaled(digit, height, width) for digit in pixels])
        is_test = np.arange(len(labels)) % TEST_EVERY == TEST_EVERY - 1
        self._pictures = {Split.TRAIN: pictures[~is_test], Split.TEST: pictures[is_test]}
        self._labels: dict[Split, Indices] = {Split.TRAIN: labels[~is_test], Split.TEST: labels[is_test]}
        self.fingerprint = hashlib.sha256(pictures.tobytes() + repr(self.shape).encode()).hexdigest()

    def count(self, split: Split) -> int:
        return len(self._labels[split])

    def labels(self, split: Split) -> Indices:
        return self._labels[split]

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        out[...] = self._pictures[split][indices]
        labels: Indices = self._labels[split][indices]
        return labels


def _load() -> tuple[Pictures, Indices]:
    """Grey pictures 0 to 255, (1797, 8, 8), and labels, (1797,), from the file: importing sklearn takes seconds."""
    file = package_folder("sklearn", "scikit-learn", "the dataset 'digits'") / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        message = "the digits are not in the installed scikit-learn"
        raise DiagnosticError(Diagnostic("CS801", message, help=f"type: {INSTALL} --force-reinstall"))
    table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    grey = (table[:, :-1] * 255 / 16).round().astype(np.uint8)
    labels: Indices = table[:, -1]
    return grey.reshape(-1, 8, 8), labels


def _scaled(digit: Pictures, height: int, width: int) -> Pictures:
    try:
        from PIL import Image
    except ImportError:
        raise missing("Pillow", "the dataset 'digits'") from None
    return resized(Image.fromarray(digit), height, width)

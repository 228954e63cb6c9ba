"""Batches of pictures as matrices: CIFAR, and whatever else has its form.

`data` is uint8, planes of red, green and blue row by row. In the batches that CIFAR's authors publish for Python each
picture is a row, (cases, 3072); in those of cuda-convnet it is a column, (3072, cases). All are kept in memory, a byte a
number, batch by batch, each picture in one piece.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from convspec.data.batch_folders import Batches, misfit, read_batch
from convspec.data.dataset import Dataset, Pictures, Split
from convspec.data.draws import Indices
from convspec.data.pickles import describe

LABELS = ("labels", "fine_labels")
LABEL_NAMES = ("label_names", "fine_label_names")


class MatrixBatches(Dataset):
    """Pictures of one size, with one label each; the mean is that of `batches.meta`, if it has one."""

    def __init__(self, batches: Batches) -> None:
        self.name = str(batches.root)
        self._pictures: dict[Split, list[Pictures]] = {}
        self._names: dict[Split, list[str | None]] = {}
        labels: dict[Split, Indices] = {}
        shapes: dict[Path, tuple[int, int, int]] = {}
        for split, files in batches.files.items():
            parts = [_read(path, batches) for path in files]
            shapes |= {path: part.shape[1:] for path, (part, _, _) in zip(files, parts, strict=True)}
            self._pictures[split] = [part for part, _, _ in parts]
            labels[split] = np.concatenate([found for _, found, _ in parts])
            self._names[split] = [name for _, _, names in parts for name in names]
        first = next(iter(shapes))
        for path, shape in shapes.items():
            if shape != shapes[first]:
                raise misfit(
                    path, f"its pictures are {_shown(shape)}, and those of {first.name} {_shown(shapes[first])}"
                )
        self.shape = shapes[first]
        self._labels = labels
        self._starts = {split: np.cumsum([0, *map(len, parts)])[:-1] for split, parts in self._pictures.items()}
        self.classes = batches.classes(max(int(of_split.max()) for of_split in labels.values()), *LABEL_NAMES)
        self.mean = batches.mean(self.shape)
        self.fingerprint = self._digest()

    def count(self, split: Split) -> int:
        return len(self._labels[split])

    def labels(self, split: Split) -> Indices:
        return self._labels[split]

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        of_part = np.searchsorted(self._starts[split], indices, side="right") - 1
        for i, (part, index) in enumerate(zip(of_part.tolist(), indices.tolist(), strict=True)):
            out[i] = self._pictures[split][part][index - self._starts[split][part]]
        found: Indices = self._labels[split][indices]
        return found

    def picture_name(self, split: Split, index: int) -> str | None:
        return self._names[split][index]

    def _digest(self) -> str:
        content = hashlib.sha256(repr((self.shape, self.classes)).encode())
        for split in Split:
            content.update(self._labels[split].tobytes())
            for part in self._pictures[split]:
                content.update(part.data)
        return content.hexdigest()


def _read(path: Path, batches: Batches) -> tuple[Pictures, Indices, Sequence[str | None]]:
    """Pictures, (N, H, W, C), labels, (N,), and the names of their files where the batch tells them."""
    batch = read_batch(path)
    labels = _labels(path, batch)
    data = batch.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.dtype != np.uint8:
        raise misfit(path, f"'data' is {describe(data)}, not a matrix of bytes")
    return _as_pictures(path, data, len(labels), batches), labels, _names(batch, len(labels))


def _names(batch: dict[str, Any], cases: int) -> Sequence[str | None]:
    names = batch.get("filenames")
    if not isinstance(names, list) or len(names) != cases or not all(isinstance(name, str | bytes) for name in names):
        return [None] * cases
    return [name if isinstance(name, str) else name.decode("latin-1") for name in names]


def _as_pictures(path: Path, data: Pictures, cases: int, batches: Batches) -> Pictures:
    rows, columns = data.shape
    if cases not in (rows, columns):
        raise misfit(
            path, f"it has {cases} labels, and 'data' is {rows}x{columns}: neither rows nor columns are pictures"
        )
    is_column_each = cases != rows or (rows == columns and "data_mean" in batches.meta)
    features = rows if is_column_each else columns
    channels = batches.integer("num_colors") or (3 if features % 3 == 0 and _is_square(features // 3) else 1)
    side = isqrt(features // channels) if channels > 0 else 0
    if side < 1 or channels * side * side != features:
        raise misfit(path, f"pictures of {features} numbers are not {channels} square planes")
    planes = data.T if is_column_each else data
    return np.ascontiguousarray(planes.reshape(cases, channels, side, side).transpose(0, 2, 3, 1))


def _labels(path: Path, batch: dict[str, Any]) -> Indices:
    value = next((batch[name] for name in LABELS if name in batch), None)
    if isinstance(value, list) and value and all(type(each) is int and abs(each) < 1 << 31 for each in value):
        value = np.array(value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or not value.size:
        raise misfit(path, f"'labels' is {describe(value)}, not a list of whole numbers")
    labels = value.reshape(-1).astype(np.int64)
    if (labels != value.reshape(-1)).any() or labels.min() < 0:
        raise misfit(path, "'labels' holds what is no whole number from 0 on")
    return labels


def _is_square(number: int) -> bool:
    return isqrt(number) ** 2 == number


def _shown(shape: tuple[int, int, int]) -> str:
    return "{2}x{0}x{1}".format(*shape)

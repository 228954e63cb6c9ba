"""One shard while it is written, and how it gets its place."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from convspec.data.dataset import Pictures, Split
from convspec.data.durable import replace_file
from convspec.data.manifest import WORK, FileEntry
from convspec.data.statistics import Sums
from convspec.data.target import Done

_CHUNK = 64


class OpenShard:
    """A shard that is being written, one picture after the other."""

    def __init__(self, root: Path, split: Split, number: int, planned: int, shape: tuple[int, int, int]) -> None:
        self.planned, self.broken = planned, list[tuple[str, str]]()
        self._root, self._split, self._number, self._shape = root, split, number, shape
        self._labels: list[int] = []
        self._name = shard_name(split, number)
        self._part = root / WORK / f"{self._name}.part"
        self._file = self._part.open("w+b")
        self._start = write_header(self._file, (planned, *shape))

    def add(self, picture: Pictures, label: int) -> None:
        self._file.write(np.ascontiguousarray(picture).data)
        self._labels.append(label)

    def close(self) -> None:
        self._file.close()

    def seal(self) -> Done:
        """Give the shard its place. In a thread of its own."""
        labels, broken = tuple(self._labels), tuple(self.broken)
        with self._file as file:
            if not labels:
                return Done(self._split, self._number, None, labels, broken)
            if len(labels) < self.planned:
                file.seek(0)
                start = write_header(file, (len(labels), *self._shape))
                assert start == self._start, "numpy leaves room for another length"
            entry = self._hash_and_sum(file)
            file.flush()
            os.fsync(file.fileno())
        self._part.replace(self._root / entry.name)
        return Done(self._split, self._number, entry, labels, broken)

    def _hash_and_sum(self, file: IO[bytes]) -> FileEntry:
        """Read the shard once, for its checksum, and its sums if it is for training, which are kept in a file."""
        sums = Sums(self._shape)
        file.seek(0)
        digest = hashlib.sha256(file.read(self._start))
        left = len(self._labels)
        chunk = np.empty((min(_CHUNK, left), *self._shape), np.uint8)
        while left:
            pictures = chunk[: min(left, len(chunk))]
            if file.readinto(pictures.data.cast("B")) != pictures.nbytes:  # type: ignore[attr-defined]
                raise OSError(f"{self._part} is shorter than what was written to it")
            digest.update(pictures.data)
            if self._split is Split.TRAIN:
                sums.add(pictures)
            left -= len(pictures)
        if self._split is Split.TRAIN:
            replace_file(sums_file(self._root, self._number), npy_bytes(sums.numbers()))
        size = self._start + len(self._labels) * int(np.prod(self._shape))
        return FileEntry(self._name, size, digest.hexdigest())


def shard_name(split: Split, number: int) -> str:
    return f"{split.value}-{number:05d}.npy"


def sums_file(root: Path, number: int) -> Path:
    return root / WORK / f"{Split.TRAIN.value}-{number:05d}.sums.npy"


def write_header(file: IO[bytes], shape: tuple[int, ...]) -> int:
    """The header of a `.npy` file of bytes; returns where they begin."""
    npy.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "|u1"})
    return file.tell()


def npy_bytes(array: NDArray[Any]) -> bytes:
    file = BytesIO()
    npy.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()

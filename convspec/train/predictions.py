"""Predictions as files, picture by picture: `.npz` for programs, `.csv` for people. Nothing is kept until the end but
labels and names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from typing import IO, Protocol
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Guesses:
    """Of some pictures. probabilities: (N, classes). labels: (N,). sets: uint8 (N, classes), 1 for each label of a picture
    that may have several, or None. names: of their files, None for one without a file of its own.
    """

    probabilities: NDArray[np.floating]
    labels: NDArray[np.int64]
    sets: NDArray[np.uint8] | None
    names: Sequence[str | None]


class PredictionsFile(Protocol):
    """Takes predictions in the order of the pictures; `close` when all are there."""

    def add(self, guesses: Guesses) -> None: ...

    def close(self) -> None: ...

    def discard(self) -> None:
        """Let go of the file, whatever is in it; does nothing after `close`."""


class NpzPredictions:
    """probabilities float32 (N, classes), labels int64 (N,), classes; where the pictures have them, names, and sets, uint8
    (N, classes), of all their labels. `numpy.load(file)` reads it, without pickles.
    """

    def __init__(self, file: IO[bytes], count: int, classes: Sequence[str]) -> None:
        self._zip, self._classes = ZipFile(file, "w"), classes
        self._labels: list[NDArray[np.int64]] = []
        self._sets: list[NDArray[np.uint8]] = []
        self._names: list[str | None] = []
        self._rows = self._zip.open(ZipInfo("probabilities.npy"), "w", force_zip64=True)
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, len(classes))}
        np.lib.format.write_array_header_1_0(self._rows, header)

    def add(self, guesses: Guesses) -> None:
        self._rows.write(np.ascontiguousarray(guesses.probabilities, "<f4").tobytes())
        self._labels.append(guesses.labels.copy())
        self._sets += [] if guesses.sets is None else [guesses.sets.copy()]
        self._names += guesses.names

    def close(self) -> None:
        self._rows.close()
        self._write("labels", np.concatenate(self._labels).astype("<i8"))
        self._write("classes", np.array(self._classes, dtype=np.str_))
        if self._sets:
            self._write("sets", np.concatenate(self._sets))
        if any(name is not None for name in self._names):
            self._write("names", np.array([name or "" for name in self._names], dtype=np.str_))
        self._zip.close()

    def discard(self) -> None:
        with suppress(OSError, ValueError):  # of a full disk, that has been told
            self._rows.close()
        with suppress(OSError, ValueError):
            self._zip.close()

    def _write(self, name: str, array: NDArray[np.generic]) -> None:
        with self._zip.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)


class CsvPredictions:
    """A row a picture: its file if it has one, its class, the prediction and its probability, then those of all classes."""

    def __init__(self, file: IO[bytes], count: int, classes: Sequence[str]) -> None:
        self._classes = classes
        self._text = TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="", write_through=True)
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._writer.writerow(["picture", "class", "prediction", "probability", *classes])
        self._number = 0

    def add(self, guesses: Guesses) -> None:
        for i, (row, name) in enumerate(zip(guesses.probabilities, guesses.names, strict=True)):
            own = guesses.labels[i : i + 1] if guesses.sets is None else np.flatnonzero(guesses.sets[i])
            best = int(row.argmax())
            numbers = [f"{number:.8g}" for number in (row[best], *row.tolist())]
            picture = str(self._number) if name is None else name
            label = "; ".join(self._classes[each] for each in own.tolist())
            self._writer.writerow([picture, label, self._classes[best], *numbers])
            self._number += 1

    def close(self) -> None:
        self._text.detach()

    def discard(self) -> None:
        with suppress(OSError, ValueError):
            self._text.detach()

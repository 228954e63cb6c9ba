"""Folders of data batches: what is in them, and which batches are for training.

    batches.meta  data_batch_1  ...  data_batch_6       cuda-convnet; a batch may be a folder of data_batch_1.0, ...
    batches.meta  data_batch_1  ...  test_batch         CIFAR-10 as its authors publish it for Python
    meta  train  test                                   CIFAR-100, the same

Batches are pickles of pictures as matrices (`matrix_batches`) or as JPEG files (`jpeg_batches`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convspec.data.dataset import Split
from convspec.data.pickles import describe, open_pickle, read_pickle
from convspec.diagnostics import Diagnostic, DiagnosticError

META_NAMES = ("batches.meta", "meta")
_BATCH = re.compile(r"data_batch_(\d{1,9})")
_SUB_BATCH = re.compile(r"data_batch_\d+\.(\d{1,9})")
_RANGE = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?")


@dataclass(frozen=True, slots=True)
class Batches:
    """A folder of batches. meta: what its description says. files: of each split, in order."""

    root: Path
    meta: dict[str, Any]
    files: dict[Split, tuple[Path, ...]]

    def texts(self, *names: str) -> tuple[str, ...] | None:
        """The first of these entries of the description that is a list of texts."""
        for name in names:
            value = self.meta.get(name)
            value = value.tolist() if isinstance(value, np.ndarray) else value
            if isinstance(value, list) and value and all(isinstance(each, str | bytes) for each in value):
                return tuple(each if isinstance(each, str) else each.decode("latin-1") for each in value)
        return None

    def classes(self, most: int, *names: str) -> tuple[str, ...]:
        """Names of the classes, from the first of these entries that is a list of texts, else the numbers of all labels up
        to `most`. Raises CS723 where there are fewer names than labels."""
        found = self.texts(*names) or tuple(map(str, range(min(most, 1 << 20) + 1)))
        if most >= len(found):
            raise misfit(self.root, f"a picture has label {most}, and there are {len(found)} names of classes")
        return found

    def integer(self, name: str) -> int | None:
        value = self.meta.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def mean(self, shape: tuple[int, int, int]) -> NDArray[np.float32] | None:
        """`data_mean`, (H, W, C), or None where the description has none. Raises CS723 where it is of another size."""
        height, width, channels = shape
        value = self.meta.get("data_mean")
        if value is None:
            return None
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind not in "fiu"
            or value.size != height * width * channels
        ):
            raise misfit(
                self.root, f"data_mean is {describe(value)}, and pictures have {height * width * channels} numbers"
            )
        mean = value.astype(np.float32).reshape(channels, height, width).transpose(1, 2, 0)
        if not np.isfinite(mean).all():
            raise misfit(self.root, "data_mean holds numbers that are not finite")
        return np.ascontiguousarray(mean)


def is_batch_folder(root: Path) -> bool:
    """Whether a folder holds batches rather than pictures."""
    return (root / "batches.meta").is_file() or all((root / name).is_file() for name in ("meta", "train", "test"))


def open_batches(root: Path, train: str, test: str) -> Batches:
    """The batches of a folder. train, test: numbers as in `1-5` and `6,8-9`; empty: what the folder tells.

    Without numbers, `test_batch` or `test` is for testing, else the last batch; all others are for training.
    Raises DiagnosticError: CS701 (no such folder), CS720 (a description that is no pickle), CS723.
    """
    meta_file = next((root / name for name in META_NAMES if (root / name).is_file()), None)
    if meta_file is None:
        raise _no_batches(root)
    meta = read_pickle(meta_file)
    if not isinstance(meta, dict):
        raise misfit(root, f"{meta_file.name} holds {describe(meta)}, not a dictionary")
    numbered = _numbered(root)
    files = {Split.TRAIN: _chosen(root, numbered, train, "train"), Split.TEST: _chosen(root, numbered, test, "test")}
    alone = [path for name in ("test_batch", "test") if (path := root / name).is_file()]
    if not files[Split.TEST]:
        left = [path for path in numbered.values() if path not in files[Split.TRAIN]]
        files[Split.TEST] = tuple(alone[:1] or left[-1:])
    if not files[Split.TRAIN]:
        whole = [*numbered.values()] or [path for path in [root / "train"] if path.is_file()]
        files[Split.TRAIN] = tuple(path for path in whole if path not in files[Split.TEST])
    for split in Split:
        if not files[split]:
            help = "name batches under [@data], as in train=1-5 and test=6"
            raise misfit(root, f"no batch is left for {split.value}ing", help)
    return Batches(root, meta, {split: tuple(p for path in files[split] for p in _parts(path)) for split in Split})


def provider_of(batches: Batches) -> str:
    """`cifar` for matrices, `jpeg` for strings: what the first batch holds. Raises CS720 and CS723."""
    first = batches.files[Split.TRAIN][0]
    with open_pickle(first) as file:
        match file.value(slices=True):
            case {"data": np.ndarray()}:
                return "cifar"
            case {"data": list()} | (list(), _, list()):
                return "jpeg"
            case value:
                raise misfit(first, f"it holds {describe(value)}, without pictures under 'data'")


def read_batch(path: Path) -> dict[str, Any]:
    """The dictionary in a batch file. Raises CS720 and CS723."""
    value = read_pickle(path)
    if not isinstance(value, dict):
        raise misfit(path, f"it holds {describe(value)}, not a dictionary with 'data' and 'labels'")
    return value


def misfit(path: Path, why: str, help: str | None = None) -> DiagnosticError:
    help = help or "compare it with docs/old-files.md, which says what each kind of batch holds"
    return DiagnosticError(Diagnostic("CS723", f"{path}: {why}", help=help))


def _numbered(root: Path) -> dict[int, Path]:
    """Batches by number: files and folders named data_batch_N."""
    try:
        found = [(int(match[1]), path) for path in root.iterdir() if (match := _BATCH.fullmatch(path.name))]
    except OSError as error:
        raise DiagnosticError(Diagnostic("CS701", f"{root} cannot be read: {error.strerror or error}")) from error
    return dict(sorted(found))


def _chosen(root: Path, numbered: dict[int, Path], text: str, key: str) -> tuple[Path, ...]:
    numbers = parse_numbers(text, key)
    missing = [number for number in numbers if number not in numbered]
    if missing:
        known = f"{min(numbered)} to {max(numbered)}" if numbered else "none"
        raise misfit(root, f"there is no data_batch_{missing[0]}", f"{key}= names batches by number; there are {known}")
    return tuple(numbered[number] for number in numbers)


def parse_numbers(text: str, key: str) -> tuple[int, ...]:
    """`1-3,5` as 1, 2, 3, 5. Raises CS723."""
    numbers: list[int] = []
    for part in text.split(",") if text.strip() else []:
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + 1_000_000:
            message = f"{key}={text} under [@data] names no batches"
            raise DiagnosticError(Diagnostic("CS723", message, help=f"write {key}=1-5 or {key}=1,3,7, say"))
        numbers += range(first, last + 1)
    return tuple(dict.fromkeys(numbers))


def _parts(batch: Path) -> Sequence[Path]:
    """A batch that is a folder, file by file."""
    if not batch.is_dir():
        return [batch]
    parts = [(int(match[1]), path) for path in batch.iterdir() if (match := _SUB_BATCH.fullmatch(path.name))]
    if not parts:
        raise misfit(batch, "it is a folder without files named data_batch_N.0, data_batch_N.1, ...")
    return [path for _, path in sorted(parts)]


def _no_batches(root: Path) -> DiagnosticError:
    if not root.is_dir():
        what = "is a file, not a folder of batches" if root.exists() else "is not there"
        return DiagnosticError(Diagnostic("CS701", f"{root} {what}", help="name a folder with batches.meta in it"))
    return misfit(root, "there is no batches.meta in it")

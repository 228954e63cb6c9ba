"""Pictures to look at one by one: files as the user names them, or a split of a dataset. Each has a name, and perhaps a label.

A dataset gives batches that are all alike; here a file that cannot be read is left out and named, and the others keep
their places.
"""

from __future__ import annotations

import hashlib
import os
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convspec.data.dataset import Dataset, Notify, Pictures, Split
from convspec.data.draws import Indices
from convspec.data.layout import EXTENSIONS
from convspec.data.pictures import BrokenPicture, read_middle
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity

STDIN = "-"
MOST_NAMED = 20
"""Files that are named one by one where many cannot be read."""

UNKNOWN = -1
"""The label of a picture of which nobody says what it shows."""


class Chunk(NamedTuple):
    """Some pictures of a gallery: their places in it, (N,), pixels (N, H, W, C), and labels, (N,), `UNKNOWN` perhaps."""

    indices: Indices
    pictures: Pictures
    labels: Indices


class Gallery(ABC):
    """Pictures of one size, one after another.

    title: of them all. shape: in which they are read, (H, W, C). fingerprint: changes when any of them does.
    classes: whose numbers the labels are.
    """

    title: str
    classes: Sequence[str]
    shape: tuple[int, int, int]
    fingerprint: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """As it is shown, and unlike those of the others."""

    @abstractmethod
    def label(self, index: int) -> int:
        """Its class, or `UNKNOWN`."""

    @abstractmethod
    def chunks(self, size: int) -> Iterator[Chunk]:
        """All pictures that can be read, in order, `size` at a time and now and then fewer."""

    @abstractmethod
    def shown(self, index: int, side: int) -> Pictures:
        """One picture for people, (H, W, 1 or 3), about `side` pixels on its longer side. Raises BrokenPicture."""

    def class_of(self, label: int) -> str | None:
        """The name of a class; None for `UNKNOWN`."""
        return None if label == UNKNOWN else self.classes[label]

    def path(self, index: int) -> Path | None:
        """The file that a picture lies in by itself."""
        return None

    def close(self) -> None:
        """Give back threads and files."""
        return


@dataclass(frozen=True, slots=True)
class PictureFile:
    """source: the file, or what came through a pipe. name: as it is shown. label: its class, or `UNKNOWN`."""

    source: Path | bytes
    name: str
    label: int = UNKNOWN

    def opened(self) -> Path | BytesIO:
        return BytesIO(self.source) if isinstance(self.source, bytes) else self.source


class Files(Gallery):
    """Picture files of any size and mode; of each the middle is seen, as in training."""

    def __init__(
        self,
        files: Sequence[PictureFile],
        classes: Sequence[str],
        shape: tuple[int, int, int],
        notify: Notify,
        *,
        title: str = "files",
    ) -> None:
        """notify: is told CS703 of files that cannot be read: of each of the first `MOST_NAMED`, of the others how many."""
        self.files, self.classes, self.shape, self._notify, self.title = files, classes, shape, notify, title
        self.fingerprint = _fingerprint(files, classes)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return self.files[index].name

    def label(self, index: int) -> int:
        return self.files[index].label

    def path(self, index: int) -> Path | None:
        source = self.files[index].source
        return source if isinstance(source, Path) else None

    def chunks(self, size: int) -> Iterator[Chunk]:
        self._skipped = 0
        workers = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="convspec-decode")
        with workers:
            waiting = deque[tuple[int, Iterator[Pictures | str]]]()
            for first in range(0, len(self.files), size):
                waiting.append((first, workers.map(self._try_read, self.files[first : first + size])))
                if len(waiting) > 1:
                    yield self._chunk(*waiting.popleft())
            while waiting:
                yield self._chunk(*waiting.popleft())
        if self._skipped > MOST_NAMED:
            self._warn(f"skipped {self._skipped - MOST_NAMED:,} more files of {len(self.files):,} that cannot be read")

    def shown(self, index: int, side: int) -> Pictures:
        height, width, _ = self.shape
        scale = side / max(height, width)
        return _read(self.files[index], max(1, round(height * scale)), max(1, round(width * scale)), 3)

    def _try_read(self, file: PictureFile) -> Pictures | str:
        """Its pixels, or why there are none."""
        try:
            return _read(file, *self.shape)
        except BrokenPicture as error:
            return str(error)

    def _warn(self, message: str) -> None:
        self._notify(Diagnostic("CS703", message, severity=Severity.WARNING))

    def _chunk(self, first: int, read: Iterator[Pictures | str]) -> Chunk:
        good, pictures = [], []
        for index, found in enumerate(read, first):
            if isinstance(found, str):
                self._skipped += 1
                if self._skipped <= MOST_NAMED:
                    self._warn(f"skipped {self.files[index].name}: {found}")
            else:
                good.append(index)
                pictures.append(found)
        stacked = np.stack(pictures) if pictures else np.empty((0, *self.shape), np.uint8)
        labels = np.array([self.files[index].label for index in good], np.int64)
        return Chunk(np.array(good, np.int64), stacked, labels)


class SplitGallery(Gallery):
    """Pictures of a split of a dataset, all or evenly spaced ones; of training pictures those of the first epoch."""

    def __init__(self, dataset: Dataset, split: Split, most: int | None = None) -> None:
        """most: how many; None for all."""
        self._dataset, self._split, self.classes = dataset, split, dataset.classes
        self.title, self.shape = f"{dataset.name}:{split.value}", dataset.shape
        self._places = evenly_spaced(dataset.count(split), most)
        self.fingerprint = hashlib.sha256(
            f"{dataset.fingerprint} {dataset.classes} {split.value} {self._places.size}".encode()
        ).hexdigest()

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        self._dataset.close()

    def name(self, index: int) -> str:
        return f"{self.title}:{self._places[index]}"

    def label(self, index: int) -> int:
        return int(self._read(self._places[index : index + 1]).labels[0])

    def chunks(self, size: int) -> Iterator[Chunk]:
        for first in range(0, len(self), size):
            chunk = self._read(self._places[first : first + size])
            yield chunk._replace(indices=np.arange(first, first + len(chunk.labels), dtype=np.int64))

    def shown(self, index: int, side: int) -> Pictures:
        picture: Pictures = self._read(self._places[index : index + 1]).pictures[0]
        return picture

    def _read(self, places: Indices) -> Chunk:
        pictures = np.empty((len(places), *self.shape), np.uint8)
        labels = self._dataset.read(self._split, places, epoch=0, out=pictures)
        return Chunk(places, pictures, labels)


def evenly_spaced(count: int, most: int | None) -> Indices:
    """So many of the numbers from 0 to `count` - 1, all of them where `most` is None."""
    chosen = count if most is None else min(most, count)
    return np.arange(chosen, dtype=np.int64) * count // max(1, chosen)


def list_pictures(names: Sequence[str], classes: Sequence[str], *, label: int = UNKNOWN) -> list[PictureFile]:
    """The files that names stand for: a file, all pictures in a folder and below, or `-`, what standard input gives.

    A picture that lies in a folder with the name of a class is taken to show it, the closest such folder of those that
    `names` lead through; label: what all of them show, else.

    Raises DiagnosticError CS101 for names that lead nowhere, each of them, and CS702 for a folder without pictures.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    missing = [name for name in names if name != STDIN and not Path(name).expanduser().exists()]
    if missing:
        help = "name picture files, folders of them, or - for standard input"
        raise DiagnosticError(
            *(Diagnostic("CS101", f"there is no file or folder {name}", help=help) for name in missing)
        )
    files: list[PictureFile] = []
    for name in names:
        path = Path(name).expanduser()
        if name == STDIN:
            files.append(PictureFile(_standard_input(), "standard input", label))
        elif path.is_dir():
            files.extend(_pictures_below(path, numbers, label))
        else:
            of_folder = numbers.get(path.absolute().parent.name, UNKNOWN)
            files.append(PictureFile(path, name, of_folder if label == UNKNOWN else label))
    return files


def _pictures_below(folder: Path, numbers: dict[str, int], label: int) -> list[PictureFile]:
    def refuse(error: OSError) -> None:
        raise DiagnosticError(Diagnostic("CS101", f"{error.filename} cannot be read: {error.strerror}")) from error

    files, top = [], folder.absolute().name
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = [top, *Path(parent).relative_to(folder).parts]
        of_folder = next((numbers[name] for name in reversed(inside) if name in numbers), UNKNOWN)
        files += [
            PictureFile(Path(parent, name), str(Path(parent, name)), of_folder if label == UNKNOWN else label)
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS
        ]
    if not files:
        known = " ".join(sorted(EXTENSIONS))
        raise DiagnosticError(Diagnostic("CS702", f"there is no picture in {folder}", help=f"pictures end in {known}"))
    return files


def _standard_input() -> bytes:
    return sys.stdin.buffer.read()


def _read(file: PictureFile, height: int, width: int, channels: int) -> Pictures:
    return read_middle(file.opened(), height, width, channels)


def _fingerprint(files: Sequence[PictureFile], classes: Sequence[str]) -> str:
    """Of which files they are, of what classes, and when they were last written to: pixels are not read."""
    digest = hashlib.sha256(os.fsencode(repr(tuple(classes))))
    for file in files:
        digest.update(f"{file.label} ".encode())
        if isinstance(file.source, bytes):
            digest.update(hashlib.sha256(file.source).digest())
            continue
        try:
            stat = file.source.stat()
            state = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            state = "gone"
        digest.update(os.fsencode(file.source.absolute()) + f"\0{state}\n".encode())
    return digest.hexdigest()

"""A folder of class folders, ImageNet's layout: ROOT/train/CLASS and ROOT/val/CLASS, or ROOT/CLASS alone.

Without a folder for testing, a fifth of each class is kept for it, chosen by a hash of the file names. A set that fits
`CACHE_BYTES` is decoded once, at the start, and broken files are left out; a larger one is decoded as it is read, and
the next readable picture stands in for a broken one, so that the order of the others never depends on what was found.
Either way each is named in a warning, and more than a few are an error.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from convspec.data.dataset import Dataset, Notify, Pictures, Split
from convspec.data.draws import Indices
from convspec.data.pictures import BrokenPicture, read_square
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity

TRAIN_FOLDER = "train"
TEST_FOLDERS = ("val", "test", "valid", "validation")
TEST_SHARE = 5
"""One picture in this many is kept for testing where there is no test folder."""

CACHE_BYTES = 512 << 20
"""Decoded pictures are kept in memory up to this many bytes."""

EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


@dataclass(frozen=True, slots=True)
class Sample:
    """path: as it is opened. name: relative to the root, with slashes. label: index of its class."""

    path: Path
    name: str
    label: int


class BrokenFiles:
    """Counts the files that are skipped, names each in a warning, and ends the run when they are too many."""

    def __init__(self, root: str, files: int, notify: Notify) -> None:
        self.limit = max(10, files // 100)
        self._root, self._files, self._notify = root, files, notify
        self._names: set[str] = set()
        self._lock = Lock()

    def add(self, name: str, why: str) -> None:
        """Raises CS703 when more than `limit` were added."""
        with self._lock:
            if name in self._names:
                return
            self._names.add(name)
            count = len(self._names)
        message = f"{name}: {why}"
        if count > self.limit:
            raise DiagnosticError(
                Diagnostic(
                    "CS703",
                    f"more than {self.limit} of {self._files} files under {self._root} are broken; the last: {message}",
                    help="repair or remove the files that were named, or point --data at another folder",
                )
            )
        self._notify(Diagnostic("CS703", f"skipped {message}", severity=Severity.WARNING))

    def all_of(self, split: str, count: int) -> DiagnosticError:
        """CS703 for a split none of whose files can be read, so that none can stand in for another."""
        message = f"all {count} pictures of the {split} split under {self._root} are broken"
        return DiagnosticError(Diagnostic("CS703", message, help="point --data at another folder"))


class Folder(Dataset):
    """Pictures as size x size squares: the shorter side resized, the middle cut out (paper, section 2)."""

    def __init__(self, root: str, *, size: int, channels: int, notify: Notify, cache_bytes: int = CACHE_BYTES) -> None:
        self.name = root
        self.shape = (size, size, channels)
        self.classes, samples, strangers = _listed(root)
        total = sum(map(len, samples.values())) + len(strangers)
        self._broken = BrokenFiles(root, total, notify)
        for name in strangers:
            self._broken.add(name, "not a picture")
        self._workers = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="convspec-decode")
        self._cache: dict[Split, Pictures] = {}
        self._samples = samples
        if sum(map(len, samples.values())) * size * size * channels <= cache_bytes:
            self._decode_all()
        for split in Split:
            if not self._samples[split]:
                raise _no_pictures(f"no {split.value} picture under {root} can be read")
        self._labels = {split: np.array([s.label for s in self._samples[split]], np.int64) for split in Split}
        self.fingerprint = _fingerprint(self.shape, self.classes, self._samples)

    def count(self, split: Split) -> int:
        return len(self._samples[split])

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        if split in self._cache:
            np.take(self._cache[split], indices, axis=0, out=out, mode="clip")
            return self._labels[split][indices]
        used = list(self._workers.map(lambda job: self._read_one(split, job[1], out[job[0]]), enumerate(indices)))
        return self._labels[split][np.array(used, np.int64)]

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _read_one(self, split: Split, index: int, out: Pictures) -> int:
        """Write the picture at `index`, or the first readable one after it, and return whose it is."""
        samples = self._samples[split]
        for _ in samples:
            sample = samples[index]
            try:
                out[...] = read_square(sample.path, self.shape[0], self.shape[2])
                return int(index)
            except BrokenPicture as error:
                self._broken.add(sample.name, str(error))
            index = (index + 1) % len(samples)
        raise self._broken.all_of(split.value, len(samples))

    def _decode_all(self) -> None:
        """Fill the cache, and keep the samples that could be read."""
        try:
            self._samples = {split: self._decode(split, samples) for split, samples in self._samples.items()}
        except BaseException:
            self.close()
            raise

    def _decode(self, split: Split, samples: Sequence[Sample]) -> list[Sample]:
        pictures = np.empty((len(samples), *self.shape), np.uint8)
        good: list[Sample] = []
        for sample, picture in zip(samples, self._workers.map(self._try_read, samples), strict=True):
            if picture is not None:
                pictures[len(good)] = picture
                good.append(sample)
        self._cache[split] = pictures[: len(good)]
        return good

    def _try_read(self, sample: Sample) -> Pictures | None:
        try:
            return read_square(sample.path, self.shape[0], self.shape[2])
        except BrokenPicture as error:
            self._broken.add(sample.name, str(error))
            return None


def _listed(root: str) -> tuple[tuple[str, ...], dict[Split, list[Sample]], list[str]]:
    if not root:
        raise DiagnosticError(
            Diagnostic("CS701", "no folder was named", help="write path=DIR under [@data], or --data DIR")
        )
    try:
        return list_samples(Path(root).expanduser())
    except OSError as error:
        message = f"{error.filename or root} cannot be read: {error.strerror or error}"
        raise DiagnosticError(Diagnostic("CS701", message, help="name a folder that can be read")) from error


def list_samples(root: Path) -> tuple[tuple[str, ...], dict[Split, list[Sample]], list[str]]:
    """Class names in order, the samples of both splits, and the names of files that cannot be pictures.

    Raises CS701 where `root` is no folder, CS702 where no class folder or no picture is in it.
    """
    if not root.is_dir():
        raise _no_folder(root)
    train_root = root / TRAIN_FOLDER
    if not train_root.is_dir():
        classes, samples, strangers = _list_classes(root, root, None)
        train, test = split_off_tests(samples)
        if not test:
            raise _no_pictures(f"each class under {root} has a single picture, so that none is left for testing")
        return classes, {Split.TRAIN: train, Split.TEST: test}, strangers
    test_root = next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    classes, train, strangers = _list_classes(root, train_root, None)
    if test_root is None:
        train, test = split_off_tests(train)
    else:
        _, test, more = _list_classes(root, test_root, classes)
        strangers += more
    if not test:
        raise _no_pictures(f"{test_root or train_root} holds no pictures to test with")
    return classes, {Split.TRAIN: train, Split.TEST: test}, strangers


def split_off_tests(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """A fifth of each class, rounded, but at least one where there are two, for testing. Order is kept."""
    chosen: set[str] = set()
    for label in sorted({sample.label for sample in samples}):
        names = sorted(
            (s.name for s in samples if s.label == label), key=lambda name: hashlib.sha256(os.fsencode(name)).digest()
        )
        tests = min(max(1, round(len(names) / TEST_SHARE)), len(names) - 1)
        chosen.update(names[:tests])
    return [s for s in samples if s.name not in chosen], [s for s in samples if s.name in chosen]


def _list_classes(
    root: Path, folder: Path, known: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[Sample], list[str]]:
    """As `list_samples`, for one folder of class folders. With `known`, other classes are passed over."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise _no_pictures(f"{folder} holds no class folders")
    files = {name: sorted(_files_below(folder / name)) for name in names if known is None or name in known}
    pictures = {name: [path for path in paths if path.suffix.lower() in EXTENSIONS] for name, paths in files.items()}
    classes = known or tuple(name for name in names if pictures[name])
    if not any(pictures.values()):
        raise _no_pictures(
            f"no pictures under {folder}: {len(names)} folders, {sum(map(len, files.values()))} other files"
        )
    samples = [
        Sample(path, path.relative_to(root).as_posix(), label)
        for label, name in enumerate(classes)
        for path in pictures.get(name, ())
    ]
    strangers = [
        path.relative_to(root).as_posix()
        for name, paths in files.items()
        for path in paths
        if path.suffix.lower() not in EXTENSIONS
    ]
    return classes, samples, strangers


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _no_folder(root: Path) -> DiagnosticError:
    message = f"{root} is a file, not a folder of class folders" if root.exists() else f"there is no folder {root}"
    help = "--data takes photos, digits, or a folder: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg"
    return DiagnosticError(Diagnostic("CS701", message, help=help))


def _no_pictures(message: str) -> DiagnosticError:
    help = "lay the pictures out as DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or as DIR/CLASS/*.jpg"
    return DiagnosticError(Diagnostic("CS702", message, help=help))


def _fingerprint(shape: tuple[int, ...], classes: Sequence[str], samples: dict[Split, list[Sample]]) -> str:
    digest = hashlib.sha256(repr(shape).encode() + b"".join(os.fsencode(name) + b"\0" for name in classes))
    for split in Split:
        for sample in samples[split]:
            digest.update(os.fsencode(f"{split.value}\0{sample.name}\0{sample.label}\n"))
    return digest.hexdigest()

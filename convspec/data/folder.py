"""A folder of class folders (see `layout`), decoded.

A set that fits `CACHE_BYTES` is decoded once, at the start, and broken files are left out; a larger one is decoded as
it is read, and the next readable picture stands in for a broken one, so that the order of the others never depends on
what was found. Either way each is named in a warning, and more than a few are an error.

The fingerprint of a set that is decoded at the start has the hash of each file; of a larger one, which is not read then, the
size of each: a million pictures are asked for theirs within ten seconds, and their bytes would take minutes. When a file was
written would tell more, and also of each copy of the folder that nothing was changed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from threading import Lock

import numpy as np

from convspec.data.augmentation import Augmentation, Place
from convspec.data.dataset import Dataset, Notify, Pictures, Split
from convspec.data.draws import Indices
from convspec.data.layout import TEST_SHARE, Sample, no_pictures, read_folder, split_off_tests
from convspec.data.pictures import BrokenPicture, read_into, read_square
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.machine import usable_cores

CACHE_BYTES = 512 << 20
"""Decoded pictures are kept in memory up to this many bytes."""


class BrokenFiles:
    """Counts the files that are skipped, names each in a warning, and ends the run when they are too many."""

    def __init__(
        self,
        root: str,
        files: int,
        notify: Notify,
        *,
        limit: int | None = None,
        help: str = "repair or remove the files that were named, or point --data at another folder",
    ) -> None:
        """files: how many there are. limit: how many may be broken; None for one in a hundred, or 10 if that is more."""
        self.limit = max(10, files // 100) if limit is None else limit
        self._help = help
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
                    help=self._help,
                )
            )
        self._notify(Diagnostic("CS703", f"skipped {message}", severity=Severity.WARNING))

    def recall(self, name: str) -> None:
        """Count a file that was named before this process began."""
        self._names.add(name)

    def all_of(self, split: str, count: int) -> DiagnosticError:
        """CS703 for a split none of whose files can be read, so that none can stand in for another."""
        message = f"all {count} pictures of the {split} split under {self._root} are broken"
        return DiagnosticError(Diagnostic("CS703", message, help="point --data at another folder"))


class Folder(Dataset):
    """Pictures as size x size squares: the shorter side resized, the middle cut out (paper, section 2)."""

    def __init__(
        self,
        root: str,
        *,
        size: int,
        channels: int,
        notify: Notify,
        cache_bytes: int = CACHE_BYTES,
        test_share: float = TEST_SHARE,
    ) -> None:
        """test_share: see `read_layout`."""
        self.name = root
        self.shape = (size, size, channels)
        tree, layout = read_folder(root, test_share)
        self._root, self.classes, self._samples = tree.root, layout.classes, layout.samples
        self._broken = BrokenFiles(root, layout.files, notify)
        for name in layout.strangers:
            self._broken.add(name, "not a picture")
        self._cache: dict[Split, Pictures] = {}
        self._told: dict[str, int | str] = {}
        self._stands_for: dict[tuple[Split, int], int] = {}
        if sum(map(len, layout.samples.values())) * size * size * channels <= cache_bytes:
            self._decode_all()
        else:
            self._told.update(tree.sizes(layout.names()))
        for split in Split:
            if not self._samples[split]:
                raise no_pictures(f"no {split.value} picture under {root} can be read")
        self._labels = {split: np.array([s.label for s in self._samples[split]], np.int64) for split in Split}
        self._layout = layout
        self.fingerprint, self._by_names = self._fingerprints(self._samples)

    def is_that_of(self, fingerprint: str | None) -> bool:
        return fingerprint in (self.fingerprint, self._by_names)

    def is_whole_of(self, fingerprint: str | None) -> bool:
        """Whether these are the same pictures, all of them in both splits, as have the fingerprint with the usual share."""
        layout = self._layout
        if layout.samples[Split.TRAIN] is not layout.samples[Split.TEST]:
            return False
        good = {sample.name for sample in self._samples[Split.TEST]}
        parts = zip(Split, split_off_tests(layout.samples[Split.TEST]), strict=True)
        samples = {split: [sample for sample in part if sample.name in good] for split, part in parts}
        return fingerprint in self._fingerprints(samples)

    def _fingerprints(self, samples: dict[Split, list[Sample]]) -> tuple[str, str]:
        """Of the pictures, and of their names alone."""
        layout, shape = replace(self._layout, samples=samples), repr(self.shape).encode()
        return layout.digest(shape, self._told), layout.digest(shape)

    def count(self, split: Split) -> int:
        return len(self._samples[split])

    def labels(self, split: Split) -> Indices:
        """Of all files, also of broken ones where they are not looked at before they are read."""
        return self._labels[split]

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        if split in self._cache:
            np.take(self._cache[split], indices, axis=0, out=out, mode="clip")
            return self._labels[split][indices]
        return self._decoded(split, indices, repeat(None), out)

    def picture_name(self, split: Split, index: int) -> str:
        return self._samples[split][self._stands_for.get((split, index), index)].name

    def read_crops(self, split: Split, indices: Indices, where: Augmentation, *, epoch: int, out: Pictures) -> Indices:
        if split in self._cache:
            return super().read_crops(split, indices, where, epoch=epoch, out=out)
        return self._decoded(split, indices, where.places(), out)

    def _decoded(self, split: Split, indices: Indices, places: Iterable[Place | None], out: Pictures) -> Indices:
        jobs = zip(indices.tolist(), places, out, strict=False)
        return self._labels[split][np.array([self._read_one(split, *job) for job in jobs], np.int64)]

    def _read_one(self, split: Split, index: int, place: Place | None, out: Pictures) -> int:
        """Write the picture at `index`, or the first readable one after it, and return whose it is."""
        samples, used = self._samples[split], index
        for _ in samples:
            sample = samples[used]
            try:
                read_into(self._root / sample.name, self.shape[0], place, out)
                return used
            except BrokenPicture as error:
                self._check_folder(sample)
                self._broken.add(sample.name, str(error))
            used = (used + 1) % len(samples)
            self._stands_for[split, index] = used
        raise self._broken.all_of(split.value, len(samples))

    def _check_folder(self, sample: Sample) -> None:
        """Raises CS701 where the folder of a file that cannot be read is gone: no other file could stand in for all of it."""
        folder = (self._root / sample.name).parent
        if not folder.is_dir():
            message = f"the folder {folder} was there when {self.name} was opened, and is gone"
            help = "put it back; a run goes on from its last checkpoint with --resume"
            raise DiagnosticError(Diagnostic("CS701", message, help=help))

    def _decode_all(self) -> None:
        """Fill the cache, and keep the samples that could be read."""
        workers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="convspec-decode")
        try:
            train, test = self._samples[Split.TRAIN], self._samples[Split.TEST]
            good = {Split.TEST: self._decode(Split.TEST, test, workers)}
            if train is test:
                self._cache[Split.TRAIN], good[Split.TRAIN] = self._cache[Split.TEST], good[Split.TEST]
            else:
                good[Split.TRAIN] = self._decode(Split.TRAIN, train, workers)
            self._samples = good
        finally:
            workers.shutdown(wait=False, cancel_futures=True)

    def _decode(self, split: Split, samples: Sequence[Sample], workers: ThreadPoolExecutor) -> list[Sample]:
        pictures = np.empty((len(samples), *self.shape), np.uint8)
        good: list[Sample] = []
        for sample, picture in zip(samples, workers.map(self._try_read, samples), strict=True):
            if picture is not None:
                pictures[len(good)] = picture
                good.append(sample)
        self._cache[split] = pictures[: len(good)]
        return good

    def _try_read(self, sample: Sample) -> Pictures | None:
        file = self._root / sample.name
        try:
            picture = read_square(file, self.shape[0], self.shape[2])
            self._told[sample.name] = _hash_of(file)
            return picture
        except BrokenPicture as error:
            self._broken.add(sample.name, str(error))
            return None


def _hash_of(file: Path) -> str:
    """Of the bytes. Raises BrokenPicture where the file went away since it was read."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise BrokenPicture(error.strerror or str(error)) from error

"""Batches of JPEG files: how cuda-convnet2 and the code of 2012 kept ImageNet.

A batch is a file or a folder of them, `data_batch_7.0`, `data_batch_7.1`, ... Each holds JPEG files as strings and, for
each, its labels: a list in cuda-convnet2, of which one is drawn at each use; a pair of a name and a number in 2012. The
strings stay in their files; what is kept is where they lie. A picture is read and decoded when a batch needs it, so that
memory does not grow with the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import repeat
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convspec.data import draws
from convspec.data.augmentation import Augmentation, Place
from convspec.data.batch_folders import Batches, misfit
from convspec.data.dataset import ColorPca, Dataset, Notify, Pictures, Split
from convspec.data.draws import TEST_SEED, Indices, Stream
from convspec.data.folder import BrokenFiles
from convspec.data.pickles import PickleFile, Slice, describe, open_pickle
from convspec.data.pictures import BrokenPicture, read_into
from convspec.diagnostics import Diagnostic, Severity

KEPT_BYTES = 1 << 30
"""Pictures of packed batches have no place in their file: they are kept in memory up to this many bytes."""


@dataclass(frozen=True, slots=True)
class JpegIndex:
    """Where the N pictures of a split lie, and their labels: a few numbers a picture.

    of_file, numbers: (N,), which file, and which picture of it. places: (N, 2), half-open ranges of bytes of the file.
    kept: the bytes of those that have no place. labels: of all pictures in a row; those of picture i from starts[i] on.
    """

    files: tuple[Path, ...]
    of_file: Indices
    numbers: Indices
    places: Indices
    kept: Mapping[int, bytes]
    labels: Indices
    starts: Indices

    @property
    def counts(self) -> Indices:
        """How many labels each picture has, (N,)."""
        return np.diff(self.starts)

    def name(self, index: int) -> str:
        return f"{self.files[self.of_file[index]].name}[{self.numbers[index]}]"

    def content(self, index: int) -> bytes:
        if index in self.kept:
            return self.kept[index]
        start, stop = self.places[index].tolist()
        with self.files[self.of_file[index]].open("rb") as file:
            file.seek(start)
            content: bytes = file.read(stop - start)
        return content

    def labels_of(self, index: int) -> Indices:
        return self.labels[self.starts[index] : self.starts[index + 1]]

    def digest(self) -> bytes:
        content = hashlib.sha256(repr([file.name for file in self.files]).encode())
        for array in (self.of_file, self.numbers, self.places, self.labels, self.starts):
            content.update(np.ascontiguousarray(array).data)
        for index, each in self.kept.items():
            content.update(repr(index).encode() + hashlib.sha256(each).digest())
        return content.digest()


class JpegBatches(Dataset):
    """Pictures of `num_vis` numbers; those of another size are brought to it, as a folder's are."""

    def __init__(self, batches: Batches, *, channels: int, seed: int, notify: Notify) -> None:
        side = _side(batches)
        self.name = str(batches.root)
        self.shape = (side, side, channels)
        self._seed = seed
        self._index = {split: _indexed(batches, files, notify) for split, files in batches.files.items()}
        self.classes = batches.classes(max(int(index.labels.max()) for index in self._index.values()), "label_names")
        self.mean = batches.mean((side, side, 3)) if channels == 3 else None
        self.color_pca = _color_pca(batches)
        pictures = sum(self.count(split) for split in Split)
        self._broken = BrokenFiles(self.name, pictures, notify)
        self._stands_for: dict[tuple[Split, int], int] = {}
        content = hashlib.sha256(repr((self.shape, self.classes)).encode())
        for split in Split:
            content.update(self._index[split].digest())
        self.fingerprint = content.hexdigest()

    def count(self, split: Split) -> int:
        return len(self._index[split].numbers)

    def labels(self, split: Split) -> Indices:
        """The first of each picture's."""
        index = self._index[split]
        return index.labels[index.starts[:-1]]

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        return self._decoded(split, indices, repeat(None), epoch, out)

    def read_crops(self, split: Split, indices: Indices, where: Augmentation, *, epoch: int, out: Pictures) -> Indices:
        return self._decoded(split, indices, where.places(), epoch, out)

    def _decoded(
        self, split: Split, indices: Indices, places: Iterable[Place | None], epoch: int, out: Pictures
    ) -> Indices:
        jobs = zip(indices.tolist(), places, out, strict=False)
        used = np.array([self._read_one(split, *job) for job in jobs], np.int64)
        index = self._index[split]
        seed, epoch = (self._seed, epoch) if split is Split.TRAIN else (TEST_SEED, 0)
        chosen = draws.integers(indices, index.counts[used], seed, epoch, Stream.LABEL)
        labels: Indices = index.labels[index.starts[used] + chosen]
        return labels

    def file(self, split: Split, index: int) -> BytesIO:
        """A picture as it was stored. Raises OSError."""
        return BytesIO(self._index[split].content(index))

    def name_of(self, split: Split, index: int) -> str:
        """Batch and number of a picture."""
        return self._index[split].name(index)

    def has_several_labels(self) -> bool:
        return any((index.counts > 1).any() for index in self._index.values())

    def label_sets(self, split: Split, indices: Indices) -> NDArray[np.uint8]:
        sets = np.zeros((len(indices), len(self.classes)), np.uint8)
        for row, index in zip(sets, indices.tolist(), strict=True):
            row[self._index[split].labels_of(self._stands_for.get((split, index), index))] = 1
        return sets

    def picture_name(self, split: Split, index: int) -> str:
        return self._index[split].name(self._stands_for.get((split, index), index))

    def _read_one(self, split: Split, index: int, place: Place | None, out: Pictures) -> int:
        """Write the picture at `index`, or the first readable one after it, and return whose it is."""
        pictures, used = self._index[split], self._stands_for.get((split, index), index)
        for _ in range(self.count(split)):
            try:
                read_into(BytesIO(pictures.content(used)), self.shape[0], place, out)
            except (BrokenPicture, OSError) as error:
                self._broken.add(pictures.name(used), str(error))
                used = (used + 1) % self.count(split)
                self._stands_for[split, index] = used
            else:
                return used
        raise self._broken.all_of(split.value, self.count(split))


def _side(batches: Batches) -> int:
    numbers = batches.integer("num_vis")
    side = isqrt(numbers // 3) if numbers and numbers > 0 else 0
    if side < 1 or 3 * side * side != numbers or side > 4096:
        raise misfit(batches.root, "'num_vis' of batches.meta is not the size of three square planes, as 196608 is")
    return side


def _color_pca(batches: Batches) -> ColorPca | None:
    match batches.meta.get("color_pca"):
        case (np.ndarray() as deviations, np.ndarray() as directions) if (
            deviations.size == 3
            and directions.shape == (3, 3)
            and {deviations.dtype.kind, directions.dtype.kind} <= {"f"}
        ):
            return deviations.reshape(3).astype(np.float32), directions.astype(np.float32)
        case None:
            return None
        case _:
            raise misfit(batches.root, "'color_pca' of batches.meta is not a pair of 3 and 3x3 numbers")


def _indexed(batches: Batches, files: Sequence[Path], notify: Notify) -> JpegIndex:
    offset = batches.integer("label_offset") or 0
    # lists of numbers grow; arrays are made of them once, at the end
    of_file: list[int] = []
    numbers: list[int] = []
    places: list[tuple[int, int]] = []
    labels: list[int] = []
    starts = [0]
    kept: dict[int, bytes] = {}
    kept_bytes = without = 0
    for which, path in enumerate(files):
        for number, (place, own) in enumerate(_read(path, offset)):
            if not own:
                without += 1
                continue
            if isinstance(place, bytes):
                kept[len(numbers)] = place
                kept_bytes += len(place)
            of_file.append(which)
            numbers.append(number)
            places.append((place.start, place.stop) if isinstance(place, Slice) else (0, 0))
            labels += own
            starts.append(len(labels))
        if kept_bytes > KEPT_BYTES:
            raise misfit(path, f"packed batches hold more than {KEPT_BYTES >> 20} MiB of pictures", "unpack them")
    if without:
        message = f"{batches.root}: {without} pictures have no label and are left out"
        notify(Diagnostic("CS723", message, severity=Severity.WARNING))
    if not numbers:
        raise misfit(batches.root, f"no picture in {files[0].name} has a label")
    return JpegIndex(
        files=tuple(files),
        of_file=np.array(of_file, np.int64),
        numbers=np.array(numbers, np.int64),
        places=np.array(places, np.int64),
        kept=kept,
        labels=np.array(labels, np.int64),
        starts=np.array(starts, np.int64),
    )


def _read(path: Path, offset: int) -> Iterator[tuple[Slice | bytes, tuple[int, ...]]]:
    """Place and labels of each picture of a file."""
    with open_pickle(path) as file:
        match file.value(slices=True):
            case {"data": list() as strings, "labels": list() as labels}:
                pass
            # the code of 2012: a label is a pair of a name and a number
            case (list() as strings, _, list() as pairs):
                labels = [[label[1]] if _is_named(label) else label for label in pairs]
            case value:
                raise misfit(
                    path, f"it holds {describe(value)}, not JPEG strings under 'data' and lists under 'labels'"
                )
        if len(strings) != len(labels):
            raise misfit(path, f"it has {len(strings)} pictures and {len(labels)} labels")
        for number, (string, label) in enumerate(zip(strings, labels, strict=True)):
            yield _place(path, number, string, file), _labels(path, label, offset)


def _is_named(label: object) -> bool:
    return isinstance(label, tuple | list) and len(label) == 2 and isinstance(label[0], str)


def _place(path: Path, number: int, string: object, file: PickleFile) -> Slice | bytes:
    match string:
        case Slice():
            return string if file.is_plain else bytes(file.data[string.start : string.stop])
        case bytes():
            return string
        case str():
            return string.encode("latin-1", "replace")
        case _:
            raise misfit(path, f"picture {number} is {describe(string)}, not a string of bytes")


def _labels(path: Path, value: object, offset: int) -> tuple[int, ...]:
    """Numbers of classes; a single one, a list, or None, which the code of 2012 took for 0."""
    listed = value if isinstance(value, list | tuple) else [0 if value is None else value]
    labels = tuple(dict.fromkeys(each + offset if type(each) is int else -1 for each in listed))
    if any(not 0 <= label < 1 << 31 for label in labels):
        raise misfit(path, f"a label is {describe(value)} that is no number of a class, with label_offset={offset}")
    return labels

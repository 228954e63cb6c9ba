"""A folder that `convspec data prepare` wrote: shards of pictures, mapped into memory.

Memory does not grow with the set: the system keeps of it what fits. To cut crops out of the maps themselves, instead of
out of a copy of each picture, was measured and takes longer: a copy runs through memory in order, a mirrored crop does not.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from convspec.data.dataset import Dataset, Notify, Pictures, Split
from convspec.data.draws import Indices
from convspec.data.integrity import check_on_opening
from convspec.data.manifest import (
    FORMAT,
    MANIFEST,
    WORK,
    FileEntry,
    Manifest,
    ShardEntry,
    SplitEntry,
    damaged,
    read_manifest,
)


class Shards(Dataset):
    """The pictures of a prepared folder, with the mean and the colours that were taken of all of them."""

    def __init__(self, root: str, *, notify: Notify = lambda diagnostic: None) -> None:
        """Raises DiagnosticError CS724 where a file is missing or damaged, or the folder is not finished."""
        path = Path(root).expanduser()
        manifest = manifest_of(root)
        check_on_opening(path, manifest, notify)
        self.name = root
        self.classes, self.shape, self.color_pca = manifest.classes, manifest.shape, manifest.color_pca
        self.fingerprint = _fingerprint(manifest)
        self._labels = {split: _labels(path, manifest, manifest.splits[split]) for split in Split}
        self._shards = {split: [_Shard(path, s, self.shape) for s in manifest.splits[split].shards] for split in Split}
        self._starts = {split: np.cumsum([0, *map(len, shards)])[:-1] for split, shards in self._shards.items()}
        mean: NDArray[np.float32] = _array(path, manifest.mean)
        if mean.dtype != np.float32 or mean.shape != self.shape or not np.isfinite(mean).all():
            raise damaged(f"{path / manifest.mean.name} is not a mean of pictures {_shown(self.shape)}")
        self.mean = mean

    def count(self, split: Split) -> int:
        return len(self._labels[split])

    def labels(self, split: Split) -> Indices:
        return self._labels[split]

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        """Raises DiagnosticError CS724 where a shard was cut short since it was opened."""
        shards, starts = self._shards[split], self._starts[split]
        which = np.searchsorted(starts, indices, side="right") - 1
        for number in np.unique(which).tolist():
            shards[number].check_size()
        places = zip(which.tolist(), (indices - starts[which]).tolist(), strict=True)
        for place, (number, index) in zip(out, places, strict=True):
            place[...] = shards[number].pictures[index]
        found: Indices = self._labels[split][indices]
        return found


def manifest_of(root: str) -> Manifest:
    """Of a prepared folder. Raises DiagnosticError CS724 where it is damaged or not finished."""
    path = Path(root).expanduser()
    if not (path / MANIFEST).is_file() and (path / WORK).is_dir():
        help = f"type the command that began it again: it goes on where it stopped, and {path} is whole then"
        raise damaged(f"the preparation of {root} is not finished", help=help)
    return read_manifest(path)


def is_prepared(root: Path) -> bool:
    """Whether a folder holds shards, or will once its preparation has ended."""
    try:
        with (root / MANIFEST).open("rb") as file:
            is_ours = FORMAT.encode() in file.read(200)
    except OSError:
        return (root / WORK).is_dir()
    return is_ours or (root / "train-00000.npy").is_file()


class _Shard:
    """A file of pictures, mapped. Bytes past its end, were it cut short, would end the process when they are touched."""

    def __init__(self, root: Path, entry: ShardEntry, shape: tuple[int, int, int]) -> None:
        self._path, self._bytes = root / entry.file.name, entry.file.bytes
        try:
            with self._path.open("rb") as file:
                found, start = _header(file, self._path)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            is_many = error.errno in (errno.EMFILE, errno.ENFILE)
            help = "raise the limit with ulimit -n, or prepare with a larger --shard-size" if is_many else None
            raise damaged(f"{self._path} cannot be mapped: {error.strerror or error}", help=help) from error
        if found != (entry.pictures, *shape) or start + int(np.prod(found)) != self._bytes:
            raise damaged(f"{self._path} is not {entry.pictures} pictures {_shown(shape)} of bytes")
        self.check_size()
        self.pictures: Pictures = np.frombuffer(self._map, np.uint8, offset=start).reshape(found)

    def __len__(self) -> int:
        return len(self.pictures)

    def check_size(self) -> None:
        if self._map.size() < self._bytes:
            raise damaged(f"{self._path} was cut short while it was in use")


def _header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], int]:
    """Shape of the bytes in a `.npy` file, and where they begin."""
    try:
        if npy.read_magic(file) != (1, 0):
            raise ValueError("version")
        shape, is_fortran, dtype = npy.read_array_header_1_0(file)
    except (ValueError, EOFError) as error:
        raise damaged(f"{path} does not begin as a .npy file of version 1.0") from error
    if is_fortran or dtype != np.uint8:
        raise damaged(f"{path} holds {dtype} and not bytes, picture by picture")
    return shape, file.tell()


def _array(root: Path, entry: FileEntry) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(root / entry.name, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(f"{root / entry.name} cannot be read: {error}") from error
    return array


def _labels(root: Path, manifest: Manifest, split: SplitEntry) -> Indices:
    labels: Indices = _array(root, split.labels)
    if labels.dtype != np.int64 or labels.shape != (split.pictures,):
        raise damaged(f"{root / split.labels.name} is not {split.pictures} labels")
    if labels.min() < 0 or labels.max() >= len(manifest.classes):
        raise damaged(f"{root / split.labels.name} has labels that no class has")
    return labels


def _fingerprint(manifest: Manifest) -> str:
    digest = hashlib.sha256(repr((manifest.shape, manifest.classes)).encode())
    for entry in _of_pictures(manifest):
        digest.update(f"{entry.name} {entry.sha256}\n".encode())
    return digest.hexdigest()


def _of_pictures(manifest: Manifest) -> Iterator[FileEntry]:
    for split in manifest.splits.values():
        yield split.labels
        yield from (shard.file for shard in split.shards)


def _shown(shape: tuple[int, int, int]) -> str:
    return "{2}x{0}x{1}".format(*shape)

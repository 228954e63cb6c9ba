"""Features of a whole gallery, kept in a file: (N, ...) float32, mapped into memory, so that they may be larger than it.

    RUN/features/  fc7a,fc7b-1f09c2ab-77d1c0e84b5a2f36.npy  ....places.npy  ....sha256.json

A file's name ends in a digest of all that its numbers depend on: the weights, the layers, the mean, the pictures. Stale
ones are never read, because they have other names; those of the same layers and gallery give way to the new ones. Their
checksums are beside them, and are compared as those of prepared pictures are (`convspec.data.integrity`): once, and again
when a file was written to or copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from convspec.data.dataset import Notify
from convspec.data.durable import replace_file, sync_folder
from convspec.data.gallery import Gallery
from convspec.data.integrity import find_damage, remember, unchecked
from convspec.data.manifest import FileEntry
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.machine import is_full
from convspec.train.looking import Looker

FOLDER = "features"
"""Of a run; where features are kept unless the user names another folder."""

_FORMAT = 2
_ENDS = (".npy", ".places.npy")
_CHECKSUMS = ".sha256.json"
_LONGEST_NAME = 60
_TEMPORARY = ".writing-"
_OLD_SECONDS = 24 * 3600

Advance = Callable[[int, int], None]
"""Is told how many pictures are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Features:
    """numbers: float32 (N, features) or (N, channels, height, width), mapped. Of picture i of those that could be read,
    places: its place in the gallery, (N,). labels: its class, or `UNKNOWN`, (N,).
    """

    numbers: NDArray[np.float32]
    places: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.float32]:
        """(N, features): maps channel by channel."""
        return self.numbers.reshape(len(self.numbers), -1)


class RowsFile:
    """A `.npy` file of float32 that grows row by row, so that its length need not be known before. `close` completes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._shape, self.count = file, (0,), 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Append rows, (n, ...), all of one shape."""
        if not self.count:
            self._shape = rows.shape[1:]
            self._write_header()
        self._file.write(np.ascontiguousarray(rows, "<f4").data)
        self.count += len(rows)

    def close(self) -> None:
        """Write how many rows there are into the header, which has room for that."""
        self._file.seek(0)
        self._write_header()
        self._file.flush()

    def _write_header(self) -> None:
        shape = (self.count, *self._shape)
        npy.write_array_header_1_0(self._file, {"descr": "<f4", "fortran_order": False, "shape": shape})


@contextmanager
def features_of(
    looker: Looker,
    gallery: Gallery,
    layers: Sequence[str],
    *,
    folder: Path | None = None,
    notify: Notify,
    advance: Advance = lambda done, count: None,
    temporary_in: Path | None = None,
) -> Iterator[Features]:
    """The features of all pictures of a gallery that can be read, from `folder` where they are kept, or else computed.

    folder: where they are kept from now on, made if it is not there; None, and a folder that cannot be written to, which a
    note says: nowhere, but while the context lasts, in a folder of its own in `temporary_in`, or where the system has such.

    Raises DiagnosticError CS702 where no picture can be read, CS707 where numbers are not finite, CS711 for a full disk.
    """
    name = feature_name(looker, gallery, layers)
    kept = None if folder is None else _load(folder, name, notify)
    if kept is None and folder is not None and _can_be_written(folder, notify):
        with _reporting_full(folder):
            _compute(looker, gallery, layers, folder, name, advance)
        _remove_stale(folder, _prefix(gallery, layers), name)
        kept = _load(folder, name, notify)
    if kept is not None:
        yield kept
        return
    with TemporaryDirectory(prefix=".convspec-", dir=temporary_in, ignore_cleanup_errors=True) as temporary:
        with _reporting_full(Path(temporary)):
            _compute(looker, gallery, layers, Path(temporary), name, advance)
        yield _loaded(Path(temporary), name)


def feature_name(looker: Looker, gallery: Gallery, layers: Sequence[str]) -> str:
    """Of the file, without its end: the layers, and a digest of everything that the numbers depend on."""
    trained = looker.trained
    digest = hashlib.sha256(f"{_FORMAT} {gallery.shape} {gallery.fingerprint} {','.join(layers)}\n".encode())
    digest.update(f"{trained.compiled.train.precision}\n{trained.compiled.resolved_text}\n".encode())
    digest.update(np.ascontiguousarray(looker.mean).data)
    for tensor_name, tensor in sorted(trained.net.state_dict().items()):
        digest.update(f"{tensor_name} {tuple(tensor.shape)}\n".encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return f"{_prefix(gallery, layers)}{digest.hexdigest()[:16]}"


def _prefix(gallery: Gallery, layers: Sequence[str]) -> str:
    """What the names of features have in common that take the place of one another."""
    title = ",".join(layers).replace(os.sep, "_")[:_LONGEST_NAME]
    return f"{title}-{hashlib.sha256(os.fsencode(gallery.title)).hexdigest()[:8]}-"


def _compute(
    looker: Looker, gallery: Gallery, layers: Sequence[str], folder: Path, name: str, advance: Advance
) -> None:
    """Write all files under temporary names, then rename them, the features last: where they are, all is there."""
    temporary = folder / f"{_TEMPORARY}{os.getpid()}-{name}.npy"
    places, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    try:
        with temporary.open("wb") as file:
            rows = RowsFile(file)
            for seen in looker.features(gallery, layers):
                rows.add(seen.numbers)
                places.append(seen.indices)
                labels.append(seen.labels)
                advance(int(seen.indices[-1]) + 1, len(gallery))
            if not rows.count:
                message = f"none of the {len(gallery)} pictures can be read"
                raise DiagnosticError(Diagnostic("CS702", message, help="name others"))
            rows.close()
            os.fsync(file.fileno())
        _write_places(folder, name, np.stack([np.concatenate(places), np.concatenate(labels)]))
        entries = [_entry(temporary, f"{name}.npy"), _entry(folder / f"{name}.places.npy", f"{name}.places.npy")]
        sums = {entry.name: {"bytes": entry.bytes, "sha256": entry.sha256} for entry in entries}
        replace_file(folder / f"{name}{_CHECKSUMS}", json.dumps(sums, indent=1).encode() + b"\n")
        temporary.replace(folder / f"{name}.npy")
        sync_folder(folder)
        remember(folder, entries)
    finally:
        temporary.unlink(missing_ok=True)


def _entry(path: Path, name: str) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(name, file.tell(), digest)


def _remove_stale(folder: Path, prefix: str, name: str) -> None:
    for path in folder.iterdir():
        if path.name.startswith(prefix) and not path.name.startswith(f"{name}."):
            with suppress(OSError):
                path.unlink()


def _write_places(folder: Path, name: str, table: NDArray[np.int64]) -> None:
    temporary = folder / f"{_TEMPORARY}{os.getpid()}-{name}.places.npy"
    try:
        with temporary.open("wb") as file:
            np.save(file, table)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / f"{name}.places.npy")
    finally:
        temporary.unlink(missing_ok=True)


def _load(folder: Path, name: str, notify: Notify) -> Features | None:
    """What is kept under a name; None where nothing is, or where it is not whole, of which a warning tells."""
    if not (folder / f"{name}.npy").exists():
        return None
    try:
        wrong = find_damage(folder, unchecked(folder, _entries(folder, name)))
        if not wrong:
            return _loaded(folder, name)
        entry, why = wrong[0]
        problem = f"{folder / entry.name} is damaged: {why}"
    except (OSError, ValueError, EOFError, KeyError, TypeError, RecursionError):
        problem = f"the features in {folder / name} are not as they were written"
    notify(Diagnostic("CS724", f"{problem}; they are computed again", severity=Severity.WARNING))
    return None


def _entries(folder: Path, name: str) -> list[FileEntry]:
    """Of both files of numbers, with the checksums that they were written with."""
    sums = json.loads((folder / f"{name}{_CHECKSUMS}").read_bytes())
    files = ((f"{name}{end}", sums[f"{name}{end}"]) for end in _ENDS)
    return [FileEntry(file, int(entry["bytes"]), str(entry["sha256"])) for file, entry in files]


def _loaded(folder: Path, name: str) -> Features:
    numbers = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    places, labels = np.load(folder / f"{name}.places.npy", allow_pickle=False)
    if numbers.dtype != np.float32 or numbers.ndim < 2 or len(numbers) != len(places):
        raise ValueError(name)
    return Features(numbers, places, labels)


def _can_be_written(folder: Path, notify: Notify) -> bool:
    """Make the folder, and clear away what killed processes left there; where that cannot be, say so."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"{_TEMPORARY}{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        message = f"the features are computed and not kept: {folder} cannot be written: {error.strerror or error}"
        help = "name a folder for them with --cache, to have them at once the next time"
        notify(Diagnostic("CS706", message, help=help, severity=Severity.NOTE))
        return False
    for left in folder.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - _OLD_SECONDS:
                left.unlink()
    return True


@contextmanager
def _reporting_full(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        message = f"the disk is full, while writing features to {folder}"
        raise DiagnosticError(
            Diagnostic("CS711", message, help="free some space, or name a folder on another disk with --cache")
        ) from error

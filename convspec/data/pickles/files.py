"""Files that hold a pickle: plain, or packed as cuda-convnet's `--zip-save` did (a zip with one member, `data`), or gzip.

A plain file is mapped, not read. What is packed is unpacked up to a limit: a file of a megabyte may hold a thousand.
"""

from __future__ import annotations

import mmap
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convspec.data.pickles.machine import loads
from convspec.data.pickles.reader import Source
from convspec.data.pickles.values import BrokenPickle
from convspec.diagnostics import Diagnostic, DiagnosticError

MEMBER = "data"
UNPACKED_ANYWAY = 64 << 20
"""Any packed file may unpack to so many bytes."""
UNPACKED_FACTOR = 64
"""Above that, a file may unpack to so many times its size: trained weights and pictures hardly shrink at all."""

_ZIP, _GZIP = b"PK\x03\x04", b"\x1f\x8b"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PickleFile:
    """data: the pickle's bytes. is_plain: whether they are those of the file, so that offsets in one are offsets in the
    other."""

    path: Path
    data: Source
    is_plain: bool

    def value(self, *, slices: bool = False) -> Any:
        """What it holds; see `machine.loads`. Raises DiagnosticError CS720."""
        try:
            return loads(self.data, slices=slices)
        except BrokenPickle as error:
            raise broken(self.path, str(error)) from None


def read_pickle(path: Path) -> Any:
    """The value in a file. Raises DiagnosticError CS101 (not there) or CS720 (no pickle, broken, or refused)."""
    with open_pickle(path) as file:
        return file.value()


@contextmanager
def open_pickle(path: Path) -> Iterator[PickleFile]:
    """The bytes of a pickle, unpacked if need be, for as long as the context lasts. Raises as `read_pickle`."""
    with ExitStack() as stack:
        try:
            if not path.is_file():
                raise _not_a_file(path)
            file = stack.enter_context(path.open("rb"))
            if not os.fstat(file.fileno()).st_size:
                raise broken(path, "it is empty")
            data = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            unpacked = _unpacked(path, data)
        except OSError as error:
            raise DiagnosticError(Diagnostic("CS101", f"{path} cannot be read: {error.strerror or error}")) from error
        yield PickleFile(path, data if unpacked is None else unpacked, unpacked is None)


def _not_a_file(path: Path) -> DiagnosticError:
    why = "it is a folder" if path.is_dir() else "it is no regular file" if path.exists() else "it is not there"
    return DiagnosticError(Diagnostic("CS101", f"{path} cannot be read: {why}"))


def broken(path: Path, why: str) -> DiagnosticError:
    help = (
        "read a copy that is whole; what a file names is never imported or run, so that files from strangers are safe"
    )
    return DiagnosticError(Diagnostic("CS720", f"{path} cannot be read as a pickle: {why}", help=help))


def _unpacked(path: Path, data: mmap.mmap) -> bytes | None:
    """The pickle inside a packed file; None where the file is not packed."""
    limit = max(UNPACKED_ANYWAY, UNPACKED_FACTOR * len(data))
    if data[:4] == _ZIP:
        content = _unzipped(path, limit)
    elif data[:2] == _GZIP:
        content = _gunzipped(path, data, limit)
    else:
        return None
    if len(content) > limit:
        raise broken(path, f"it unpacks to more than {limit >> 20} MiB, far more than weights or pictures would")
    return content


def _unzipped(path: Path, limit: int) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MEMBER) as member:
            return member.read(limit + 1)
    except KeyError:
        raise broken(path, f"it is a zip file without a member '{MEMBER}'") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise broken(path, f"its zip file is damaged: {error}") from None


def _gunzipped(path: Path, data: mmap.mmap, limit: int) -> bytes:
    """One gzip member, or several in a row."""
    parts: list[bytes] = []
    size = position = 0
    unpack = zlib.decompressobj(wbits=31)
    try:
        while position < len(data) and size <= limit:
            chunk = data[position : position + _CHUNK]
            part = unpack.decompress(chunk, limit + 1 - size)
            position += len(chunk) - len(unpack.unused_data) - len(unpack.unconsumed_tail)
            parts.append(part)
            size += len(part)
            if unpack.eof:
                if data[position : position + 2] != _GZIP:
                    return b"".join(parts)
                unpack = zlib.decompressobj(wbits=31)
    except zlib.error as error:
        raise broken(path, f"its gzip file is damaged: {error}") from None
    if size <= limit:
        raise broken(path, "its gzip file ends too early")
    return b"".join(parts)

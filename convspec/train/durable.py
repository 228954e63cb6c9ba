"""Writing so that what is there is whole: a temporary name beside it, synced, renamed; and what a full disk raises."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convspec.diagnostics import Diagnostic, DiagnosticError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_file(path: Path, content: bytes) -> None:
    """Write and sync a file in place. For a file inside a folder that is not visible yet."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole, also after a crash."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write_file(temporary, content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` last. A system that cannot open folders does so by itself."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def reporting_write_errors(folder: Path, kept: str = "") -> Iterator[None]:
    """Turn an error of the disk into CS711 (full) or CS706 (anything else). `kept` says what is safe all the same."""
    try:
        yield
    except OSError as error:
        notes = (kept,) if kept else ()
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            message = f"the disk is full, while writing to {folder}"
            help = "free some space and go on with --resume, or lower keepCheckpoints under [@train]"
            raise DiagnosticError(Diagnostic("CS711", message, notes=notes, help=help)) from error
        message = f"cannot write to {folder}: {reason}"
        raise DiagnosticError(
            Diagnostic("CS706", message, notes=notes, help="name a folder that can be written with --run")
        ) from error

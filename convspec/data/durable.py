"""Writing so that what is there is whole: a temporary name beside it, synced, renamed."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import IO


def locked(path: Path) -> IO[bytes]:
    """A file, made where it is not there, that is held against other processes until it is closed or this one ends.

    Raises BlockingIOError where another process holds it, and OSError where it cannot be made. Where a system or a file
    system has no locks, nothing is held.
    """
    if path.exists() and not path.is_file():  # to open a pipe would wait for whoever reads from it
        raise OSError(errno.EEXIST, "something that is not a file is in its place", str(path))
    file = path.open("ab")
    try:
        import fcntl
    except ImportError:  # Windows
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    except OSError:  # a file system without locks
        pass
    return file


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

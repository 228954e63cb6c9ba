"""Writing files so that a kill in the middle leaves the old one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from convspec.checker import Checked
from convspec.diagnostics import Diagnostic, DiagnosticError

_ELSEWHERE = "name a file in a folder of yours"


def replace_text(path: str, text: str) -> None:
    """`replace_file` in UTF-8."""
    replace_file(path, text.encode())


def replace_file(path: str, content: bytes, help: str = _ELSEWHERE) -> None:
    """Write a whole file, as `replacing` does."""
    with replacing(path, help) as file:
        file.write(content)


@contextmanager
def replacing(path: str, help: str = _ELSEWHERE) -> Iterator[IO[bytes]]:
    """A file to write to: it has a temporary name beside `path`, and takes its place at the end, if all went well.

    A link stays one, and what it leads to is written. What is not a regular file (a pipe, a device) is written to directly.
    Raises DiagnosticError CS101 where it cannot be written, at once where its folder will not have it, and CS711 where the
    disk is full.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        mode = target.stat().st_mode if target.exists() else None
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(_default_mode() if mode is None else mode)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        if isinstance(error.filename, str) and Path(error.filename).parent != target.parent:
            raise  # of something that was read meanwhile
        raise _refused(path, error, help) from None


def refuse_inputs(output: str, checked: Checked) -> None:
    """Raises UsageError where the file to write is one that the network was read from."""
    for file in checked.sections.files:
        if os.path.exists(output) and os.path.exists(file.name) and os.path.samefile(output, file.name):  # noqa: PTH110, PTH121 - these raise nothing
            raise click.UsageError(f"{output} is a file that this network is read from: name another one with -o")


def create_text(target: Path, text: str) -> None:
    """`create_file` in UTF-8."""
    try:
        content = text.encode()
    except ValueError as error:
        raise _refused(str(target), error) from None
    create_file(target, content)


def create_file(target: Path, content: bytes) -> None:
    """Write a new file. Raises DiagnosticError with CS114 where there is one of this name, CS711 for a full disk, CS101
    where it cannot be for another reason."""
    try:
        with target.open("xb") as file:
            try:
                file.write(content)
                file.flush()
            except BaseException:
                target.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise DiagnosticError(
            Diagnostic("CS114", f"{target} is there already", help="take another name, or delete the file first")
        ) from None
    except (OSError, ValueError) as error:
        raise _refused(str(target), error) from None


def _refused(path: str, error: OSError | ValueError, help: str = _ELSEWHERE) -> DiagnosticError:
    """CS711 for a disk that is full, CS101 for all else."""
    from convspec.machine import is_full

    if isinstance(error, OSError) and is_full(error):
        message = f"the disk is full, while writing {path}; what was there before is as it was"
        return DiagnosticError(
            Diagnostic("CS711", message, help="free some space and type the same command again, or name another disk")
        )
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return DiagnosticError(Diagnostic("CS101", f"{path} cannot be written: {reason}", help=help))


def _default_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask

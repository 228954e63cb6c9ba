"""What a full or read-only disk raises while a run is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convspec.data.durable import is_full
from convspec.diagnostics import Diagnostic, DiagnosticError


@contextmanager
def reporting_write_errors(folder: Path, kept: str = "") -> Iterator[None]:
    """Turn an error of the disk into CS711 (full) or CS706 (anything else). `kept` says what is safe all the same."""
    try:
        yield
    except OSError as error:
        notes = (kept,) if kept else ()
        reason = error.strerror or str(error)
        if is_full(error):
            message = f"the disk is full, while writing to {folder}"
            help = "free some space and go on with --resume, or lower keepCheckpoints under [@train]"
            raise DiagnosticError(Diagnostic("CS711", message, notes=notes, help=help)) from error
        message = f"cannot write to {folder}: {reason}"
        raise DiagnosticError(
            Diagnostic("CS706", message, notes=notes, help="name a folder that can be written with --run")
        ) from error

"""What a full or read-only disk raises while a run is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.machine import is_full


@contextmanager
def reporting_write_errors(
    folder: Path, kept: Callable[[], str] = lambda: "", *, run: Path | None = None
) -> Iterator[None]:
    """Turn an error of the disk into CS711 (full) or CS706 (anything else).

    kept: says what is safe all the same. run: that can go on once it is mended; None where there is none yet.
    """
    try:
        yield
    except OSError as error:
        notes = tuple(filter(None, [kept()]))
        if is_full(error):
            message = f"the disk is full, while writing to {folder}"
            then = "type the same command again" if run is None else f"go on with --resume {run}"
            raise DiagnosticError(
                Diagnostic("CS711", message, notes=notes, help=f"free some space and {then}")
            ) from error
        message = f"cannot write to {folder}: {error.strerror or error}"
        help = (
            "name a folder that can be written with --run"
            if run is None
            else f"let it be written and go on with --resume {run}, or copy the run to another disk and go on there"
        )
        raise DiagnosticError(Diagnostic("CS706", message, notes=notes, help=help)) from error

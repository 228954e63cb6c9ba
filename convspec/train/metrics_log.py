"""Writes metrics.jsonl, the records of a run; `metrics` reads them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from math import isfinite
from pathlib import Path
from typing import Any

from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, Severity
from convspec.train.checkpoint import kept_note
from convspec.train.durable import reporting_write_errors


class MetricsLog:
    """metrics.jsonl: one JSON object a line. `lines` is how many there are."""

    def __init__(self, path: Path, *, keep_lines: int = 0, notify: Notify = lambda diagnostic: None) -> None:
        """Open for appending, after cutting off all but the first `keep_lines`: what a resumed run will write again.

        notify: is told where there are not so many, because somebody or a disk took some.
        """
        self._path = path
        with self._reporting():
            # unbuffered: what a full disk refuses must not come up again when the file is closed
            self._file = path.open("ab", buffering=0)
            self.lines, end = _first_lines(path, keep_lines)
            if path.stat().st_size > end:
                self._file.truncate(end)
        if self.lines < keep_lines:
            message = (
                f"{path} has {self.lines} whole lines, and the checkpoint counts {keep_lines}: the others are lost"
            )
            notify(Diagnostic("CS708", message, severity=Severity.WARNING))

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(_as_json(record), allow_nan=False).encode() + b"\n"
        with self._reporting():
            while line:
                line = line[self._file.write(line) :]
        self.lines += 1

    def sync(self) -> None:
        """Make what was written last, before a checkpoint counts on it."""
        with self._reporting():
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _reporting(self) -> AbstractContextManager[None]:
        run = self._path.parent
        return reporting_write_errors(run, lambda: kept_note(run / "checkpoints"), run=run)


def _as_json(value: Any) -> Any:
    """JSON has no infinity and no NaN: a loss on test pictures that is one becomes null."""
    match value:
        case dict():
            return {key: _as_json(item) for key, item in value.items()}
        case float() if not isfinite(value):
            return None
        case _:
            return value


def _first_lines(path: Path, most: int) -> tuple[int, int]:
    """How many lines a file has, up to `most`, and where the last of these ends. A line cut short is none."""
    lines = end = 0
    with path.open("rb") as file:
        while lines < most and (line := file.readline()).endswith(b"\n"):
            lines, end = lines + 1, end + len(line)
    return lines, end

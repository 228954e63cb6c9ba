"""Progress on stderr: a bar that moves on a terminal, plain lines elsewhere. What is shown never enters the run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Protocol

from convspec.diagnostics import Diagnostic

PLAIN_SECONDS = 10.0
"""Without a terminal, a line at most this often."""


class Display(Protocol):
    def start(self, what: str, total: int, done: int) -> None:
        """Begin an epoch or a test pass of `total` steps."""

    def advance(self, text: str) -> None:
        """One step is done; `text` is its loss and speed."""

    def line(self, text: str) -> None:
        """A line that stays."""

    def close(self) -> None: ...


def open_display(stream: IO[str] | None = None, *, unit: str = "step") -> Display:
    """A bar if `stream` (stderr) is a terminal and rich is installed, else plain lines, which count in `unit`."""
    stream = stream or sys.stderr
    if stream.isatty():
        with suppress(ImportError):
            return LastingDisplay(BarDisplay(stream))
    return LastingDisplay(PlainDisplay(stream, unit))


def as_line(diagnostic: Diagnostic) -> str:
    help = f" (help: {diagnostic.help})" if diagnostic.help else ""
    return f"{diagnostic.severity.value}[{diagnostic.code}]: {diagnostic.message}{help}"


class SilentDisplay:
    def start(self, what: str, total: int, done: int) -> None: ...
    def advance(self, text: str) -> None: ...
    def line(self, text: str) -> None: ...
    def close(self) -> None: ...


class Named:
    """The display of one training of many, under its name; of its epochs no lines stay."""

    def __init__(self, display: Display, name: str) -> None:
        self._display, self._name = display, name

    def start(self, what: str, total: int, done: int) -> None:
        self._display.start(f"{self._name}, {what}", total, done)

    def advance(self, text: str) -> None:
        self._display.advance(text)

    def line(self, text: str) -> None: ...

    def close(self) -> None:
        self._display.close()


class LastingDisplay:
    """Falls silent where what it shows things on is gone, a closed terminal or pipe: no work is lost for that."""

    def __init__(self, display: Display) -> None:
        self.display = display

    def start(self, what: str, total: int, done: int) -> None:
        with self._falling_silent():
            self.display.start(what, total, done)

    def advance(self, text: str) -> None:
        with self._falling_silent():
            self.display.advance(text)

    def line(self, text: str) -> None:
        with self._falling_silent():
            self.display.line(text)

    def close(self) -> None:
        with self._falling_silent():
            self.display.close()

    @contextmanager
    def _falling_silent(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: a stream that was closed
            self.display = SilentDisplay()


class PlainDisplay:
    def __init__(self, stream: IO[str], unit: str = "step") -> None:
        self._stream, self._unit = stream, unit
        self._what, self._total, self._done = "", 0, 0
        self._last = time.monotonic()

    def start(self, what: str, total: int, done: int) -> None:
        self._what, self._total, self._done = what, total, done

    def advance(self, text: str) -> None:
        self._done += 1
        if time.monotonic() - self._last >= PLAIN_SECONDS:
            self.line(f"{self._what}: {self._unit} {self._done}/{self._total}  {text}")

    def line(self, text: str) -> None:
        self._last = time.monotonic()
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        return


class BarDisplay:
    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._progress.add_task("", text="", visible=False)
        self._progress.start()

    def start(self, what: str, total: int, done: int) -> None:
        self._progress.reset(self._task, description=what, total=total, completed=done, visible=True, text="")

    def advance(self, text: str) -> None:
        self._progress.update(self._task, advance=1, text=text)

    def line(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()

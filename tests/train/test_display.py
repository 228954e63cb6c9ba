"""What people see on stderr."""

from __future__ import annotations

import io
import re
import sys

import pytest

from convspec.diagnostics import Diagnostic, Severity
from convspec.train.display import BarDisplay, LastingDisplay, PlainDisplay, as_line, open_display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("convspec.train.display.time.monotonic", lambda: now)
    stream = io.StringIO()
    display = open_display(stream)
    assert isinstance(display, LastingDisplay)
    assert isinstance(display.display, PlainDisplay)
    display.start("epoch 1/2", 100, 10)
    for _ in range(30):
        now += 1.0
        display.advance("loss 1.0")
    display.line("epoch 1/2: done [ok]")
    display.close()
    assert stream.getvalue().splitlines() == [
        "epoch 1/2: step 20/100  loss 1.0",
        "epoch 1/2: step 30/100  loss 1.0",
        "epoch 1/2: step 40/100  loss 1.0",
        "epoch 1/2: done [ok]",
    ]


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    display = open_display(stream)
    assert isinstance(display, LastingDisplay)
    assert isinstance(display.display, BarDisplay)
    display.start("epoch 1/2", 4, 1)
    display.advance("loss 1.0")
    display.line("epoch 1/2: [bold]done[/bold]")
    display.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "epoch 1/2: [bold]done[/bold]" in shown, "what is shown is text, not markup"
    assert "2/4" in shown


def test_lines_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    display = open_display(Terminal())
    assert isinstance(display, LastingDisplay)
    assert isinstance(display.display, PlainDisplay)


def test_a_diagnostic_in_one_line() -> None:
    diagnostic = Diagnostic("CS703", "skipped a.jpg: an empty file", severity=Severity.WARNING, help="remove it")
    assert as_line(diagnostic) == "warning[CS703]: skipped a.jpg: an empty file (help: remove it)"


class Gone(io.StringIO):
    """A terminal that was closed: what is written to it is refused from the second line on."""

    lines = 0

    def write(self, text: str) -> int:
        self.lines += 1
        if self.lines > 2:
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_a_terminal_that_is_closed_ends_nothing() -> None:
    stream = Gone()
    display = open_display(stream)
    for text in ("one", "two", "three"):
        display.line(text)
    display.start("epoch 2", 10, 0)
    display.advance("loss 1")
    display.close()
    assert stream.getvalue() == "one\n"
    closed = io.StringIO()
    display = open_display(closed)
    closed.close()
    display.line("one")

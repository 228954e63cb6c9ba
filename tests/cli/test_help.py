"""What `--help` shows, as a person reads it."""

from __future__ import annotations

import pytest

from convspec.cli import COMMANDS, main


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_is_laid_out_as_it_was_written(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """No mark of the layout is left over, and no example was filled up to a paragraph."""
    arguments = ["--help"] if command is None else [command, "--help"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "\\b" not in text
    assert "\b" not in text
    examples = [line for line in text.splitlines() if line.count("convspec ") > 1 and "Usage" not in line]
    assert not examples

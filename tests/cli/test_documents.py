"""What the pages under docs/ quote is what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from convspec.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("check.md", "diff.md")


def quoted() -> list[tuple[str, str, list[str]]]:
    """Page, command, and the lines quoted of its output; `...` stands for what was left out."""
    found = []
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        for block in re.findall(r"```console\n\$ convspec (.*?)```", text, re.DOTALL):
            command, *lines = block.splitlines()
            found.append((page, command, [line for line in lines if line and line != "..."]))
    return found


@pytest.mark.parametrize(
    ("page", "command", "lines"), quoted(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_page_quotes_what_is_printed(
    page: str, command: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines, page
    main(shlex.split(command))
    printed = iter(capsys.readouterr().out.splitlines())
    # In this order: each line is looked for behind the one before.
    assert [line for line in lines if line not in printed] == []

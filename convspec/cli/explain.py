"""`convspec explain`: the page of a diagnostic."""

from __future__ import annotations

import sys
from itertools import groupby

import click

from convspec.cli.options import offering
from convspec.diagnostics.codes import CODES, GROUPS, Severity
from convspec.diagnostics.explain import explanation
from convspec.diagnostics.style import Style, painted, wants_color


@click.command(short_help="What a diagnostic means, or a list of all.")
@click.argument("code", required=False, shell_complete=offering("codes"))
def command(code: str | None) -> int:
    """Explain the diagnostic CODE: what it is about, a spec that has it, and one that has not. Without a code, list all.

    \b
    convspec explain CS402
    convspec explain | grep warning
    """
    if code is None:
        color = wants_color(sys.stdout)
        click.echo(_list(color=color), nl=False, color=color)
    else:
        click.echo(explanation(code), nl=False)
    return 0


def _list(*, color: bool) -> str:
    """Codes with severity and title, under what their hundred is about."""
    blocks = []
    for digit, names in groupby(CODES, key=lambda name: name.removeprefix("CS")[0]):
        rows = [f"  {name}  {_severity(CODES[name].severity, color=color)}  {CODES[name].title}" for name in names]
        blocks.append("\n".join([painted(GROUPS[digit], Style.STRONG, color=color), *rows]))
    return "\n\n".join(blocks) + "\n"


def _severity(severity: Severity, *, color: bool) -> str:
    return painted(f"{severity.value:<7}", Style[severity.name], color=color)

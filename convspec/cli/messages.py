"""Diagnostics on standard error, where standard output is something else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from convspec.diagnostics import Diagnostic, DiagnosticError

_USAGE_CODES = frozenset({"CS101", "CS102", "CS114", "CS213", "CS418", "CS601", "CS701", "CS719", "CS801", "CS802"})


def print_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    from convspec.diagnostics.render import Format, render
    from convspec.diagnostics.style import wants_color

    color = wants_color(sys.stderr)
    click.echo(render(diagnostics, Format.FULL, color=color), err=True, nl=False, color=color)


def exit_code(error: DiagnosticError) -> int:
    """2 for wrong usage or a file that is not there, 1 for what is wrong with a spec or a run."""
    return 2 if any(diagnostic.code in _USAGE_CODES for diagnostic in error.diagnostics) else 1

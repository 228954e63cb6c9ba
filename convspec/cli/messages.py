"""Diagnostics on standard error, where standard output is something else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from convspec.diagnostics import Diagnostic


def print_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    from convspec.diagnostics.render import Format, render, wants_color

    color = wants_color(sys.stderr)
    click.echo(render(diagnostics, Format.FULL, color=color), err=True, nl=False, color=color)

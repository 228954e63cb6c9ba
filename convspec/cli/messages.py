"""Diagnostics on standard error, where standard output is something else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from convspec.diagnostics import Diagnostic


def print_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    from convspec.diagnostics.render import Format, render, wants_color

    click.echo(render(diagnostics, Format.FULL, color=wants_color(sys.stderr)), err=True, nl=False)

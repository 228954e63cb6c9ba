"""`convspec explain`: the page of a diagnostic."""

from __future__ import annotations

import click

from convspec.cli.options import offering
from convspec.diagnostics.codes import CODES
from convspec.diagnostics.explain import explanation


@click.command()
@click.argument("code", required=False, shell_complete=offering("codes"))
def command(code: str | None) -> int:
    """Explain the diagnostic CODE, such as CS402; without a code, list them all."""
    if code is None:
        for name, entry in CODES.items():
            click.echo(f"{name}  {entry.severity.value:<7}  {entry.title}")
    else:
        click.echo(explanation(code), nl=False)
    return 0

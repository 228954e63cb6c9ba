"""`convspec report`: a page about a run."""

from __future__ import annotations

from pathlib import Path

import click

from convspec.cli.extras import extra
from convspec.cli.guard import refuse_what_is_read
from convspec.cli.messages import STARTS_ANEW, interrupted_saying
from convspec.cli.options import named
from convspec.diagnostics.visible import visible


@click.command(short_help="A page about a run, for a browser.")
@click.argument("run", type=named)
@click.option("-o", "--output", type=named, metavar="FILE.html", help="File to write; else report.html in the run.")
@click.option(
    "--samples", type=click.IntRange(0, 64), default=8, show_default=True, help="Test pictures to show, with guesses."
)
def command(run: str, output: str | None, samples: int) -> int:
    """Write a page about RUN: its curves, weights, kernels, guesses and checkpoints, its network and its spec.

    One file that needs no network. `train` writes it as it ends; while it is still at work, this shows how far it is.

    \b
    convspec report runs/alexnet-small
    """
    with extra("reports need"):
        from convspec.cli.reporting import write_report
    target = Path(output) if output is not None else Path(run) / "report.html"
    refuse_what_is_read(str(target))
    with interrupted_saying(STARTS_ANEW):
        write_report(run, target, samples=samples)
    click.echo(visible(str(target)))
    return 0

"""`convspec filters`: Figure 3 of the paper, from a run."""

from __future__ import annotations

from pathlib import Path

import click

from convspec.cli.extras import extra
from convspec.cli.options import named


@click.command(short_help="A picture of what the first layer learned.")
@click.argument("run", type=named)
@click.option("-o", "--output", type=named, metavar="FILE", help="PNG file to write; else filters.png in the run.")
@click.option("--scale", type=click.IntRange(1, 64), help="Pixels a weight; else so many that kernels can be seen.")
def command(run: str, output: str | None, scale: int | None) -> int:
    """Draw the kernels that the layers on the images have learned in RUN, GPU by GPU.

    \b
    convspec filters runs/alexnet-small -o filters.png
    """
    with extra("pictures need"):
        from convspec.cli.drawing import draw_run_filters
    target = Path(output) if output is not None else Path(run) / "filters.png"
    draw_run_filters(run, target, scale=scale)
    click.echo(f"{target}")
    return 0

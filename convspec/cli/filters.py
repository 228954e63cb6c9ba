"""`convspec filters`: Figure 3 of the paper, from a run."""

from __future__ import annotations

from pathlib import Path

import click

from convspec.cli.extras import extra
from convspec.cli.options import checkpoint_option, named, refuse_other_pictures
from convspec.diagnostics.visible import visible


@click.command(short_help="A picture of what the first layer learned.")
@click.argument("run", type=named)
@click.option("-o", "--output", type=named, metavar="FILE.png", help="PNG file to write; else filters.png in the run.")
@click.option("--scale", type=click.IntRange(1, 64), help="Pixels a weight; else so many that kernels can be seen.")
@checkpoint_option
def command(run: str, output: str | None, scale: int | None, checkpoint: str | None) -> int:
    """Draw the kernels that the layers on the images have learned in RUN, GPU by GPU.

    \b
    convspec filters runs/alexnet-small -o filters.png
    """
    refuse_other_pictures(output)
    with extra("pictures need"):
        from convspec.cli.drawing import draw_run_filters
    target = Path(output) if output is not None else Path(run) / "filters.png"
    draw_run_filters(run, target, scale=scale, checkpoint=checkpoint)
    click.echo(visible(str(target)))
    return 0

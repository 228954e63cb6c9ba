"""`convspec import`: a run made of a checkpoint of the original programs."""

from __future__ import annotations

import click

from convspec.cli.extras import extra
from convspec.cli.options import named


@click.command(short_help="A run from a checkpoint of the original programs.")
@click.argument("checkpoint", type=named)
@click.option("-o", "--output", "run_dir", type=named, metavar="RUN", required=True, help="New folder for the run.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a key of its layers.")
def command(checkpoint: str, run_dir: str, overrides: tuple[str, ...]) -> int:
    """Make the run RUN of CHECKPOINT: a file that cuda-convnet, cuda-convnet2 or the AlexNet code saved, or a folder.

    Nothing that the file names is imported or run. Of a folder, its last file is read.

    \b
    convspec import ConvNet__2012-09-30 -o runs/old
    convspec train --resume runs/old --data batches
    """
    with extra("importing needs"):
        from convspec.cli.importing import run_import
    return run_import(checkpoint, run_dir, overrides)

"""`convspec features`: what a layer of a trained network gives for pictures, as a file of NumPy."""

from __future__ import annotations

import click

from convspec.cli.extras import extra
from convspec.cli.memory import use_huge_pages
from convspec.cli.options import named, trained_options


@click.command(short_help="Features of pictures, as a file of NumPy.")
@click.argument("run", type=named)
@click.argument("images", nargs=-1, type=named, metavar="[IMAGE]...")
@click.option(
    "--layer", type=named, metavar="NAME", help="Any layer, or a name that towers share; else the last hidden one."
)
@click.option(
    "--data", type=named, metavar="DATA", help="Pictures in place of IMAGE: photos, digits, a folder of data."
)
@click.option("--split", type=click.Choice(["train", "test"]), help="Of the data; else test, and all of a folder.")
@click.option("-o", "--output", type=named, metavar="FILE", required=True, help="FILE.npy or FILE.npz to write.")
@trained_options
def command(
    run: str,
    images: tuple[str, ...],
    layer: str | None,
    data: str | None,
    split: str | None,
    output: str,
    checkpoint: str | None,
    device: str,
) -> int:
    """Write what a layer of the network trained in RUN gives for each IMAGE, or for data, else those of the run.

    \b
    convspec features runs/alexnet-small --layer fc7 -o fc7.npz
    convspec features runs/alexnet-small cat.jpg --layer conv5 -o maps.npy

    FILE.npz holds features, float32 (N, features) or (N, channels, height, width), labels, names, classes and layers.
    FILE.npy is the features alone; the others are in FILE.npy.json.
    """
    if not output.endswith((".npy", ".npz")):
        raise click.UsageError(f"{output}: name FILE.npy or FILE.npz")
    use_huge_pages()
    with extra("features need"):
        from convspec.cli.extracting import run_extraction
    return run_extraction(
        run, images, layer=layer, data=data, split=split, output=output, checkpoint=checkpoint, device=device
    )

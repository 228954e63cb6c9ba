"""`convspec ablate`: what each of the paper's choices is worth, in a network and on data of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from convspec.checker import Checked
from convspec.cli.extras import extra
from convspec.cli.memory import use_huge_pages
from convspec.cli.messages import GOES_ON, interrupted_saying, print_warnings
from convspec.cli.options import Given, allow_init_imports, device_option, named, spec_arguments


@click.command(short_help="What each of the paper's choices is worth.")
@spec_arguments
@click.option(
    "--only", type=named, metavar="CHOICE,...", help="lrn, overlap, dropout, colour, crops, conv1, ..., gpus, views."
)
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Trainings of each, by seed.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of each; else what [@train] says.")
@click.option("--data", type=named, metavar="DATA", help="photos, digits or a folder; else what [@data] says.")
@device_option
@click.option("-o", "--output", type=named, metavar="FOLDER", help="Else runs/ablate-SPEC.")
@allow_init_imports
def command(
    given: Given,
    only: str | None,
    seeds: int,
    epochs: int | None,
    data: str | None,
    device: str,
    output: str | None,
    allow_init_imports: bool,
) -> int:
    """Train SPEC, and SPEC without each of the paper's choices, and print what each is worth beside the paper's figure.

    The choices: response normalisation, overlapping pooling, dropout, colour shifts, crops and mirrors, each
    convolutional layer, a second GPU, and ten views of a test picture. FOLDER gets a spec for each network, which any command takes, a run for each
    training, and the table (ablate.md, ablate.csv, ablate.json). After a kill, the same command goes on where it was.

    \b
    convspec ablate alexnet-small.cfg
    convspec ablate my.cfg --only lrn,overlap --seeds 5 --epochs 10
    """
    checked = given.checked()
    settings = [*_known(given, checked), *([] if epochs is None else [f"@train.epochs={epochs}"])]
    if checked.ok and settings:
        overrides = (*given.options["overrides"], *settings)
        checked = given._replace(options={**given.options, "overrides": overrides}).checked()
    print_warnings(checked.require_ok())
    use_huge_pages()
    with extra("ablation needs"):
        from convspec.cli.ablating import run_ablation
    with interrupted_saying(GOES_ON):
        return run_ablation(
            checked,
            only=only,
            seeds=seeds,
            data=data,
            device=device,
            allow_init_imports=allow_init_imports,
            folder=Path(output) if output is not None else Path("runs") / f"ablate-{Path(given.spec).stem}",
        )


def _known(given: Given, checked: Checked) -> list[str]:
    """What options say of the network and no key of it, as overrides: the specs that are written must stand alone."""
    inputs, classes, dialect = (given.options[key] for key in ("inputs", "classes", "dialect"))
    sizes = {binding.name: binding.dims for binding in checked.graph.net.input or ()} | inputs
    sized = ",".join(f"{name}:{'x'.join(map(str, dims))}" for name, dims in sizes.items())
    return [
        *([f"@net.input={sized}"] if inputs else []),
        *([f"@net.classes={classes}"] if classes is not None else []),
        *([f"@net.dialect={dialect}"] if dialect is not None else []),
    ]

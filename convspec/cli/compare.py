"""`convspec compare`: which of several specs learns faster, as Figure 1 of the paper compares ReLU and tanh."""

from __future__ import annotations

import os
from math import inf
from pathlib import Path

import click

from convspec.cli.extras import extra
from convspec.cli.memory import use_huge_pages
from convspec.cli.messages import GOES_ON, interrupted_saying
from convspec.cli.options import allow_init_imports, device_option, named, offering, parse_inputs


def learning_rates(text: str) -> tuple[float, ...]:
    """`0.1,0.03,0.01`, each once."""
    try:
        rates = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise click.BadParameter(f"'{text}' is no list of numbers such as 0.1,0.03,0.01") from None
    if not all(0 < rate < inf for rate in rates):
        raise click.BadParameter(f"'{text}': a learning rate is above 0")
    return rates


@click.command(short_help="Which specs learn faster; Figure 1.")
@click.option(
    "--until",
    "until",
    type=named,
    metavar="TARGET",
    default="train_error=0.25",
    show_default=True,
    help="What each is trained to reach: train_error, train_loss, test_error or test_loss.",
)
@click.option("--data", type=named, metavar="DATA", help="photos, digits or a folder; else what [@data] says.")
@click.option("--rates", type=learning_rates, metavar="RATE,...", help="Learning rates for each spec to choose from.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs to reach it in; else what [@train] says.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps to reach it in.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Trainings of each, by seed.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a key of all specs.")
@click.option("--classes", type=click.IntRange(min=1), help="Number of classes of the data, for all.")
@click.option("--input", "inputs", multiple=True, metavar="NAME:CxHxW", help="Size of a data layer, for all.")
@device_option
@click.option("-o", "--output", type=named, metavar="FOLDER", help="Else runs/compare-SPEC-SPEC.")
@allow_init_imports
@click.argument("specs", type=named, nargs=-1, required=True, shell_complete=offering("specs"))
def command(
    specs: tuple[str, ...],
    until: str,
    data: str | None,
    rates: tuple[float, ...] | None,
    epochs: int | None,
    steps: int | None,
    seeds: int,
    overrides: tuple[str, ...],
    classes: int | None,
    inputs: tuple[str, ...],
    device: str,
    output: str | None,
    allow_init_imports: bool,
) -> int:
    """Train each of SPECS on the same data until TARGET, and say how many times sooner the fastest is there.

    Each takes the rate of --rates with which it is there first: the rate of a spec is its largest epsW, and all others
    are multiplied along. FOLDER gets the curves (curves.svg, curves.png), the numbers (compare.json) and a run for each
    training. After a kill, the same command goes on where it was.

    \b
    convspec compare cifar-relu.cfg cifar-tanh.cfg --data digits --rates 0.004,0.002,0.001
    convspec compare my.cfg alexnet-small.cfg --until test_error=30% --epochs 20 --seeds 3
    """
    if len(specs) < 2:
        raise click.UsageError(f"name a spec to compare {specs[0]} with")
    names = _names(specs)
    settings = [] if epochs is None else [f"@train.epochs={epochs}"]
    options = {"inputs": parse_inputs(inputs), "classes": classes, "overrides": (*overrides, *settings)}
    use_huge_pages()
    with extra("comparing needs"):
        from convspec.cli.comparing import run_comparison
    with interrupted_saying(GOES_ON):
        return run_comparison(
            dict(zip(names, specs, strict=True)),
            options,
            until=until,
            data=data,
            rates=rates or (),
            steps=steps,
            seeds=seeds,
            device=device,
            allow_init_imports=allow_init_imports,
            folder=Path(output) if output is not None else Path("runs") / f"compare-{'-'.join(names)}",
        )


def _names(specs: tuple[str, ...]) -> list[str]:
    """A name for each spec: that of its file, with that of its folder where two have the same."""
    paths = [Path(spec) for spec in specs]
    resolved = [os.path.realpath(path) for path in paths]
    again = next((spec for i, spec in enumerate(specs) if resolved[i] in resolved[:i]), None)
    if again is not None:
        raise click.UsageError(f"{again} is named twice")
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [f"{Path(whole).parent.name}-{path.stem}" for whole, path in zip(resolved, paths, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name}-{number}" for number, name in enumerate(names, 1)]
    return names

"""What `convspec ablate` does once torch is known to be there."""

from __future__ import annotations

import json
from pathlib import Path

import click

from convspec.checker import Checked
from convspec.cli.columns import aligned
from convspec.cli.guard import refuse_folder
from convspec.cli.many import Once, display_of
from convspec.data.durable import replace_file
from convspec.diagnostics import did_you_mean
from convspec.diagnostics.visible import visible
from convspec.report.ablation_table import as_csv, cells_of, markdown, notes_on
from convspec.train.ablation import VIEWS, Ablation, Row, ablate
from convspec.train.choices import choices_of
from convspec.train.signals import Interrupted
from convspec.train.trainings import Trainings, writing_results

_RESULTS = ("ablate.json", "ablate.md", "ablate.csv")


def run_ablation(
    checked: Checked,
    *,
    only: str | None,
    seeds: int,
    data: str | None,
    device: str,
    allow_init_imports: bool,
    folder: Path,
) -> int:
    """Train, write, print; returns the exit code. only: names of choices, with commas. seeds: how many, from 0 on."""

    def tell(ablation: Ablation, row: Row, seed: int) -> None:
        score = row.scores.get(seed)
        result = row.trouble if score is None else f"{score.error:.1%} test error"
        click.echo(f"{row.title}, seed {seed}: {result}", err=True)
        write_tables(ablation, folder)

    refuse_folder(folder, _RESULTS, data)
    trainings = Trainings(folder, data, device, Once(), display_of)
    try:
        ablation = ablate(
            checked,
            only=_names(checked, only),
            seeds=range(seeds),
            trainings=trainings,
            tell=tell,
            allow_init_imports=allow_init_imports,
        )
    except Interrupted as stop:
        click.echo(f"stopped in {stop.run_dir}; the same command goes on there", err=True)
        return Interrupted.EXIT_CODE
    click.echo(table(ablation))
    click.echo(
        f"{visible(str(folder))}: ablate.md, ablate.csv, ablate.json, a spec for each network, a run for each training"
    )
    return 0


def table(ablation: Ablation) -> str:
    """For a terminal: a row a network, and below it what the figures are of."""
    heads, rows = cells_of(ablation)
    lines = aligned([heads, *rows], left={0, len(heads) - 2, len(heads) - 1})
    return "\n".join([*lines, "", *notes_on(ablation)])


def write_tables(ablation: Ablation, folder: Path) -> None:
    record = json.dumps(ablation.record(), indent=1) + "\n"
    with writing_results(folder):
        for name, text in zip(_RESULTS, (record, markdown(ablation), as_csv(ablation)), strict=True):
            replace_file(folder / name, text.encode())


def _names(checked: Checked, only: str | None) -> list[str] | None:
    """Raises BadParameter for a choice that there is not."""
    if only is None:
        return None
    names = [name.strip() for name in only.split(",")]
    known = [*(choice.name for choice in choices_of(checked)), VIEWS]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise click.BadParameter(f"there is no choice '{name}': {hint}", param_hint="--only")
    return names

"""What `convspec compare` does once torch is known to be there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import click

from convspec.cli.guard import refuse_folder
from convspec.cli.many import Once, display_of
from convspec.cli.messages import print_warnings
from convspec.cli.options import as_path
from convspec.data.durable import replace_file
from convspec.diagnostics.visible import visible
from convspec.report.curve_picture import picture_of_curves
from convspec.report.curves import Chart, Series, draw_curves
from convspec.train.comparison import Attempt, Comparison, Contender, Racer, compare
from convspec.train.metrics import thinned
from convspec.train.signals import Interrupted
from convspec.train.target import Target
from convspec.train.trainings import Ending, Trainings, writing_results

_RESULTS = ("compare.json", "curves.svg", "curves.png")


def run_comparison(
    specs: Mapping[str, str],
    options: Mapping[str, Any],
    *,
    until: str,
    data: str | None,
    rates: Sequence[float],
    steps: int | None,
    seeds: int,
    device: str,
    allow_init_imports: bool,
    folder: Path,
) -> int:
    """Train, draw, print; returns the exit code. specs: by their names. seeds: how many, from 0 on."""
    try:
        target = Target.parse(until)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--until") from None
    refuse_folder(folder, _RESULTS, data)
    trainings = Trainings(folder, data, device, Once(), display_of, max_steps=steps)
    contenders = [Contender(name, as_path(spec), options, allow_init_imports) for name, spec in specs.items()]
    for contender in contenders:
        print_warnings(contender.checked())
    try:
        comparison = compare(
            contenders,
            target=target,
            rates=rates,
            seeds=range(seeds),
            trainings=trainings,
            tell=lambda name, attempt: click.echo(f"{name}, {_outcome(attempt, target)}", err=True),
        )
    except Interrupted as stop:
        click.echo(f"stopped in {stop.run_dir}; the same command goes on there", err=True)
        return Interrupted.EXIT_CODE
    chart = chart_of(comparison)
    picture = BytesIO()
    picture_of_curves(chart).save(picture, "PNG", optimize=True)
    record = json.dumps(comparison.record(), indent=1).encode() + b"\n"
    with writing_results(folder):
        for name, content in zip(_RESULTS, (record, draw_curves(chart).encode(), picture.getvalue()), strict=True):
            replace_file(folder / name, content)
    click.echo("\n".join(_summary(comparison, folder)))
    return 0


def chart_of(comparison: Comparison) -> Chart:
    """The curves at the rates that were chosen, against epochs."""
    title = comparison.target.quantity.title
    return Chart(
        f"{title.capitalize()} on {Path(comparison.settings['data']).name}",
        "epochs",
        title,
        [
            Series(
                f"{racer.name}, rate {racer.rate:g}",
                [
                    [(step / each.trained.progress.steps_per_epoch, value) for step, value in thinned(each.points)]
                    for each in racer.attempts
                ],
            )
            for racer in comparison.racers
        ],
        level=comparison.target.value,
        is_share=comparison.target.quantity.is_error,
    )


def _outcome(attempt: Attempt, target: Target) -> str:
    """Of one training, as it ends."""
    what = f"rate {attempt.rate:g}, seed {attempt.seed}"
    if attempt.reached is not None:
        return f"{what}: {target} after {_count(attempt.reached)}"
    if attempt.trained.ending is Ending.DIVERGED:
        return f"{what}: {attempt.trained.trouble}"
    last = f", {target.text(attempt.points[-1].value)} then" if attempt.points else ""
    given_up = "given up" if attempt.trained.ending is Ending.ENOUGH else "ended"
    return f"{what}: {given_up} after {_count(attempt.trained.progress.steps)}{last}"


def _summary(comparison: Comparison, folder: Path) -> list[str]:
    target, fastest = comparison.target, comparison.fastest
    lines = [f"{racer.name}, rate {racer.rate:g}: {_result(racer, target)}" for racer in comparison.racers]
    if fastest is not None:
        lines += [_ratio(comparison, fastest, racer) for racer in comparison.racers if racer is not fastest]
    else:
        lines.append(f"none reached {target}; give them more --epochs, or other --rates")
    lines += [hint for racer in comparison.racers if (hint := _hint(racer))]
    sizes = dict.fromkeys(comparison.batches)
    pictures = f"{comparison.settings['train_pictures']:,} training pictures of {visible(comparison.settings['data'])}"
    lines.append(f"on {pictures}, in minibatches of {' and '.join(map(str, sizes))}")
    if len(sizes) > 1:
        lines.append("a step is not as many pictures in each: compare epochs as well")
    lines.append(f"{visible(str(folder))}: curves.svg, curves.png, compare.json, a run for each training")
    return lines


def _result(racer: Racer, target: Target) -> str:
    missed = [attempt for attempt in racer.attempts if attempt.reached is None]
    if missed:
        of = f" with {len(missed)} of {len(racer.attempts)} seeds" if len(racer.attempts) > 1 else ""
        if missed[0].trained.ending is Ending.DIVERGED:
            return f"not trained{of}: {missed[0].trained.trouble}"
        closest = min((point.value for attempt in missed for point in attempt.points), default=None)
        best = "" if closest is None else f"; the lowest was {target.text(closest)}"
        return f"never at {target}{of}, in {_count(max(each.trained.progress.steps for each in missed))}{best}"
    assert racer.steps is not None
    epochs = racer.steps / racer.attempts[0].trained.progress.steps_per_epoch
    if racer.spread is None:
        return f"{target} after {_count(round(racer.steps))} ({epochs:.1f} epochs)"
    seeds = f"mean and deviation of {len(racer.attempts)} seeds"
    return f"{target} after {racer.steps:,.0f} ± {racer.spread:,.0f} steps ({seeds}; {epochs:.1f} epochs)"


def _ratio(comparison: Comparison, fastest: Racer, racer: Racer) -> str:
    times = comparison.ratio(racer)
    if any(attempt.trained.ending is Ending.DIVERGED for attempt in racer.attempts):
        return f"{fastest.name} reaches {comparison.target}; {racer.name} could not be trained"
    more = "more than " if racer.steps is None else ""
    return f"{fastest.name} reaches {comparison.target} {more}{times:.1f} times sooner than {racer.name}"


def _hint(racer: Racer) -> str:
    """Where the best rate may lie beyond those that were tried."""
    tried = sorted([racer.rate, *(attempt.rate for attempt in racer.rejected)])
    if len(tried) == 1 or racer.steps is None or tried[0] < racer.rate < tried[-1]:
        return ""
    which, more = ("largest", "larger") if racer.rate == tried[-1] else ("smallest", "smaller")
    return f"{racer.name} took the {which} of the rates, {racer.rate:g}: with a {more} one it may be faster still"


def _count(steps: int) -> str:
    return f"{steps:,} step{'' if steps == 1 else 's'}"

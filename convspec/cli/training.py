"""What `convspec train` does once torch is known to be there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import click

from convspec.cli.extras import extra
from convspec.cli.launched import failing_openly
from convspec.cli.messages import counted, print_diagnostics
from convspec.compiler import Compiled
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.diagnostics.visible import visible
from convspec.launch import SECONDS_TO_SPEAK, Launch
from convspec.train.agreement import ElsewhereError
from convspec.train.evaluate import Validation
from convspec.train.joining import join, own_device
from convspec.train.loop import Result
from convspec.train.ranks import Ranks
from convspec.train.run_settings import read_settings
from convspec.train.signals import Interrupted, heed_no_more
from convspec.train.team import ALONE
from convspec.train.trainer import train

_NO_DATA = Diagnostic(
    "CS712",
    "no dataset was named: training on photos, the photographs that come with the install",
    help="name one with --data, or write provider= under [@data]",
    severity=Severity.NOTE,
)

_SAMPLES = 8
"""Test pictures that the page about a run shows."""


def run_training(
    compiled: Compiled,
    *,
    data: str | None,
    run_dir: str | None,
    numbered: Path,
    resume: str | None,
    steps: int | None,
    device: str,
    devices: Sequence[str],
    log_every: int | None,
    tensorboard: bool,
) -> int:
    """Train and print what came of it; returns the exit code."""
    launch, team = Launch.find(), ALONE
    try:
        if launch is not None:
            options = {"--run-dir": run_dir, "--resume": resume, "--steps": steps, "--log-every": log_every}
            team = joined = _joined(compiled, launch, device, options)
            device = str(joined.device)
            resume = resume or joined.interrupted_run(run_dir)
        if data is None and resume is None and not compiled.data.is_given("provider") and team.is_chief:
            print_diagnostics([_NO_DATA])
        result = train(
            compiled,
            data=data,
            run_dir=run_dir if resume is None else None,
            numbered=numbered,
            resume=resume,
            device=device,
            devices=devices,
            max_steps=steps,
            log_every=log_every,
            tensorboard=tensorboard,
            team=team,
        )
    except Interrupted as stop:
        if team.is_chief:
            with suppress(OSError):  # the terminal may be what is gone
                click.echo(str(stop), err=True)
        return Interrupted.EXIT_CODE
    except ElsewhereError:
        heed_no_more()
        time.sleep(SECONDS_TO_SPEAK)
        return 1
    if team.is_chief:
        _write_report(result.run_dir)
        click.echo(_summary(compiled, result))
    return 0


def _joined(compiled: Compiled, launch: Launch, device: str, options: Mapping[str, object]) -> Ranks:
    with failing_openly(launch):
        place = own_device(device, launch)
    return join(compiled, launch, place, options)


def _write_report(run: Path) -> None:
    """The page about the run. What hinders it is a warning: the training is done, and `convspec report` tries again."""
    try:
        with extra("reports need"):
            from convspec.cli.reporting import write_report
        write_report(str(run), run / "report.html", samples=_SAMPLES)
    except DiagnosticError as error:
        print_diagnostics([_as_warning(diagnostic, run) for diagnostic in error.diagnostics])
    except OSError as error:
        print_diagnostics([_as_warning(Diagnostic("CS101", str(error)), run)])


def _as_warning(diagnostic: Diagnostic, run: Path) -> Diagnostic:
    message = f"{run} goes without its report: {diagnostic.message}"
    return diagnostic._replace(message=message, help=f"type: convspec report {run}", severity=Severity.WARNING)


def _summary(compiled: Compiled, result: Result) -> str:
    planned = compiled.train.epochs
    is_early = result.finished and result.epochs < planned
    epochs = f"{result.epochs} of {planned} epochs" if is_early else counted(result.epochs, "epoch")
    name = read_settings(result.run_dir).get("name", compiled.name)
    lines = [f"{name}: {counted(result.steps, 'step')}, {epochs}, {result.seconds:.0f} s"]
    if is_early:
        lines.append("ended by schedule=plateau: the test error no longer improves, at any of the divided rates")
    if result.validation is not None:
        lines += _test_lines(result.validation)
    lines.append(f"run in {result.run_dir}" + ("" if result.finished else f"; go on with --resume {result.run_dir}"))
    return "\n".join(map(visible, lines))


def _test_lines(validation: Validation) -> list[str]:
    return [f"test of {validation.cases} images: {cost.text(name)}" for name, cost in validation.costs.items()]

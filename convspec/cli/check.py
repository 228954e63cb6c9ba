"""`convspec check`: every mistake of a spec, or what each layer is, holds and computes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from convspec import __version__
from convspec.checker import Checked
from convspec.cli.messages import exit_code
from convspec.cli.options import Given, named, spec_arguments
from convspec.cli.table import network_table
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.diagnostics.origin import Origin
from convspec.diagnostics.render import Format, diagnostic_as_data, render, summary_line
from convspec.diagnostics.style import wants_color
from convspec.diagnostics.visible import visible
from convspec.graph.summary import LayerSummary, Load

if TYPE_CHECKING:
    from convspec.cli.fits import FitsReport

# Forms that a service reads: it gets a log of a file that cannot be read, too.
_FOR_SERVICES = (Format.SARIF, Format.GITHUB)


@click.command(short_help="Every mistake, or what each layer is.")
@spec_arguments
@click.option("--format", "form", type=click.Choice([f.value for f in Format]), default="full", help="How to print.")
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs that there are; no layer may be on another one.")
@click.option("--portable", is_flag=True, help="Warn of what the program of the file's dialect could not run.")
@click.option("--strict", is_flag=True, help="Count warnings as errors.")
@click.option("--watch", "is_watching", is_flag=True, help="Check again after every change of the files, until Ctrl-C.")
@click.option(
    "--solve", type=named, metavar="LAYER", help="Also find sizes of this data layer at which every window fits."
)
@click.option(
    "--within",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    metavar="PIXELS",
    help="How much larger or smaller --solve looks.",
)
def command(
    given: Given,
    gpus: int | None,
    portable: bool,
    form: str,
    strict: bool,
    is_watching: bool,
    solve: str | None,
    within: int,
) -> int:
    """Check SPEC: print all its mistakes, or a row a layer with sizes, parameters, multiply-adds and GPU.

    \b
    convspec check layers-18pct.cfg                 with layer-params-18pct.cfg beside it
    convspec check layers-18pct.cfg --portable      and what cuda-convnet could not run of it
    convspec check my.cfg --set conv2.filters=192   after a change that is not in the file
    convspec check my.cfg --format github           annotations in a workflow of GitHub Actions
    convspec check my.cfg --solve data              sizes of the images at which nothing is rounded
    convspec check my.cfg --watch                   again whenever my.cfg is saved
    """
    _refuse_what_does_not_go_together(Format(form), solve, is_watching=is_watching)

    def run() -> Checked:
        try:
            return given.checked(gpus=gpus, portable=portable)
        except DiagnosticError as error:
            if Format(form) in _FOR_SERVICES:
                click.echo(_rendered(error.diagnostics, Format(form), given.spec), nl=False)
            raise

    def show(checked: Checked) -> int:
        fits = None if solve is None else _find_fits(checked, solve, within)
        ok = checked.ok and not (strict and checked.has_warnings)
        _print(checked, fits, given.spec, Format(form), ok=ok)
        return 0 if ok else exit_code(checked.errors)

    if not is_watching:
        return show(run())
    from convspec.cli.watching import watch

    return watch(given.spec, run, show)


def _refuse_what_does_not_go_together(form: Format, solve: str | None, *, is_watching: bool) -> None:
    if solve is not None and form in _FOR_SERVICES:
        raise click.UsageError(f"--solve has no form for --format {form.value}: leave one of them out")
    if is_watching and form not in (Format.FULL, Format.CONCISE):
        raise click.UsageError(f"--watch is for people, --format {form.value} for programs: leave one of them out")


def _print(checked: Checked, fits: FitsReport | None, spec: str, form: Format, *, ok: bool) -> None:
    if form is Format.JSON:
        solved = {} if fits is None else {"solve": fits.as_data()}
        click.echo(json.dumps({**as_data(checked, ok=ok), **solved}, indent=2))
        return
    color = wants_color(sys.stdout)
    click.echo(_rendered(checked.diagnostics, form, spec), nl=False, color=color)
    if form is Format.FULL and checked.ok:
        click.echo(network_table(checked, color=color), nl=False, color=color)
    if fits is not None:
        click.echo(f"\n{fits.table()}", nl=False)
    if checked.diagnostics:
        click.echo(f"{visible(spec)}: {summary_line(checked.diagnostics)}", err=True)


def _find_fits(checked: Checked, layer: str, within: int) -> FitsReport:
    from convspec.cli.fits import FitsReport
    from convspec.graph.fitting import find_fits

    return FitsReport(find_fits(checked.graph, checked.shapes, layer, within))


def _rendered(diagnostics: Sequence[Diagnostic], form: Format, spec: str) -> str:
    origin = Origin.of(spec, __version__) if form in _FOR_SERVICES else Origin()
    return render(diagnostics, form, color=wants_color(sys.stdout), origin=origin)


def as_data(checked: Checked, *, ok: bool) -> dict[str, object]:
    """What `--format json` prints: a stable contract, described in docs/json.md."""
    totals = checked.totals
    return {
        "ok": ok,
        "spec": checked.document.file.name,
        "params": None if checked.params is None else checked.params.file.name,
        "dialect": checked.graph.dialect.name,
        "diagnostics": [diagnostic_as_data(d) for d in checked.diagnostics],
        "layers": [_layer(row) for row in checked.layers],
        "totals": {
            "batch": totals.batch,
            **_load(totals.network),
            "gpus": [{"gpu": gpu, **_load(load)} for gpu, load in totals.gpus.items()],
        },
    }


def _layer(row: LayerSummary) -> dict[str, object]:
    return {
        "name": row.name,
        "type": row.type,
        "inputs": list(row.inputs),
        "shape": None if row.shape is None else list(row.shape),
        "outputs": row.outputs,
        "gpus": list(row.gpus),
        "weights": row.weights,
        "biases": row.biases,
        "macs": row.macs,
        "line": row.line,
        "file": row.file,
        "shares": list(row.shares),
    }


def _load(load: Load) -> dict[str, int]:
    return {
        "parameters": load.parameters,
        "weights": load.weights,
        "biases": load.biases,
        "macs": load.macs,
        "parameter_bytes": load.parameter_bytes,
        "optimizer_bytes": load.optimizer_bytes,
        "activation_bytes": load.activation_bytes,
    }

"""`convspec filters`: Figure 3 of the paper, from a run."""

from __future__ import annotations

from pathlib import Path

import click

from convspec.checker import Checked, check
from convspec.cli.options import named
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.layers.conv import Conv
from convspec.layers.data import Data


@click.command(short_help="A picture of what the first layer learned.")
@click.argument("run", type=named)
@click.option("-o", "--output", type=named, metavar="FILE", help="PNG file to write; else filters.png in the run.")
@click.option("--scale", type=click.IntRange(1, 64), default=4, help="Pixels a weight.")
def command(run: str, output: str | None, scale: int) -> int:
    """Draw the kernels that the layers on the images have learned in RUN, GPU by GPU.

    \b
    convspec filters runs/alexnet-small -o filters.png
    """
    spec = Path(run) / "resolved.cfg"
    if not spec.is_file():
        raise DiagnosticError(
            Diagnostic("CS708", f"{run} is not a run: it has no resolved.cfg", help="name a folder that train made")
        )
    checked = check(spec)
    if not checked.ok:
        raise DiagnosticError(*(d for d in checked.diagnostics if d.severity is Severity.ERROR))
    layers = image_layers(checked)
    if not layers:
        raise DiagnosticError(
            Diagnostic("CS708", f"no convolution of {run} reads the images, so there are no kernels to draw")
        )
    try:
        from convspec.cli.drawing import draw_run_filters
    except ModuleNotFoundError as error:
        raise DiagnosticError(
            Diagnostic(
                "CS801", f"pictures need {error.name}, which is not installed", help='pip install "convspec[train]"'
            )
        ) from None
    target = Path(output) if output is not None else Path(run) / "filters.png"
    draw_run_filters(Path(run), layers, target, scale=scale)
    click.echo(f"{target}")
    return 0


def image_layers(checked: Checked) -> dict[str, int]:
    """Convolutions that read images alone, by name, with their first GPU."""
    found = {}
    for layer in checked.graph.layers.values():
        sources = [checked.graph.layers[name] for name in layer.input_names]
        if (
            isinstance(layer, Conv)
            and [s.data_index for s in sources if isinstance(s, Data)] == [0]
            and len(sources) == 1
        ):
            found[layer.name] = checked.placement[layer.name][0]
    return found

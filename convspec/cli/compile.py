"""`convspec compile`: a spec as a PyTorch module that people can read."""

from __future__ import annotations

import click

from convspec.cli.options import Given, allow_init_imports, named, spec_arguments
from convspec.cli.write import refuse_inputs, replace_text
from convspec.compiler import compile_checked
from convspec.diagnostics import did_you_mean
from convspec.passes.pipeline import FOLDED
from convspec.program.printer import print_program
from convspec.program.program import Program

_STAGES = ("lower", *(rewrite.__name__ for rewrite in FOLDED))


@click.command(short_help="The network as a PyTorch module.")
@spec_arguments
@click.option("-o", "--output", type=named, metavar="FILE", help="Write to FILE instead of standard output.")
@click.option("--outputs", default="", metavar="LAYER,...", help="Layers that forward gives beside the costs.")
@click.option("--print-after", multiple=True, metavar="PASS", help=f"Print the program after {', '.join(_STAGES)}.")
@allow_init_imports
def command(
    given: Given,
    output: str | None,
    outputs: str,
    print_after: tuple[str, ...],
    allow_init_imports: bool,
) -> int:
    """Compile SPEC to the source of an nn.Module, on standard output or in a file.

    \b
    convspec compile alexnet.cfg -o alexnet.py
    convspec compile alexnet.cfg --print-after merge_towers
    """
    _check_stages(print_after)
    wanted = [name.strip() for name in outputs.split(",") if name.strip()]

    def show(stage: str, program: Program) -> None:
        if stage in print_after:
            click.echo(f"# after {stage}\n{print_program(program)}", err=output is None)

    checked = given.checked()
    if output is not None:
        refuse_inputs(output, checked)
    compiled = compile_checked(checked, outputs=wanted, after=show, allow_init_imports=allow_init_imports)
    if output is None:
        click.echo(compiled.source, nl=False)
    else:
        replace_text(output, compiled.source)
    return 0


def _check_stages(stages: tuple[str, ...]) -> None:
    for stage in stages:
        if stage not in _STAGES:
            raise click.UsageError(
                f"there is no pass '{stage}': {did_you_mean(stage, _STAGES) or 'passes are ' + ', '.join(_STAGES)}"
            )

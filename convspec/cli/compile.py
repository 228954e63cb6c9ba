"""`convspec compile`: a spec as a PyTorch module that people can read."""

from __future__ import annotations

import click

from convspec.cli.messages import print_warnings
from convspec.cli.options import Given, allow_init_imports, named, spec_arguments
from convspec.cli.targets import choose_target, target_option
from convspec.cli.write import refuse_inputs, replace_text
from convspec.compiler import compile_checked
from convspec.diagnostics import did_you_mean
from convspec.passes.pipeline import PASSES, Target
from convspec.program.devices import check_device_count, device_list
from convspec.program.printer import print_program
from convspec.program.program import Program

_STAGES = {target: ("lower", *(rewrite.__name__ for rewrite in passes)) for target, passes in PASSES.items()}

_ALL_STAGES = tuple(dict.fromkeys(stage for stages in _STAGES.values() for stage in stages))


@click.command(short_help="The network as a PyTorch module.")
@spec_arguments
@click.option("-o", "--output", type=named, metavar="FILE", help="Write to FILE instead of standard output.")
@click.option("--outputs", default="", metavar="LAYER,...", help="Layers that forward gives beside the costs.")
@click.option("--print-after", multiple=True, metavar="PASS", help=f"Print the program after {', '.join(_ALL_STAGES)}.")
@target_option
@click.option("--devices", type=click.IntRange(min=1), metavar="N", help="How many devices; several: one for each GPU.")
@allow_init_imports
def command(
    given: Given,
    output: str | None,
    outputs: str,
    print_after: tuple[str, ...],
    target: str | None,
    devices: int | None,
    allow_init_imports: bool,
) -> int:
    """Compile SPEC to the source of an nn.Module, on standard output or in a file.

    \b
    convspec compile alexnet.cfg -o alexnet.py
    convspec compile alexnet.cfg --target spmd
    convspec compile alexnet.cfg --print-after merge_towers
    convspec compile alexnet.cfg --target devices
    """
    chosen = choose_target(target, devices or 1)
    _check_stages(print_after, chosen)
    wanted = [name.strip() for name in outputs.split(",") if name.strip()]

    def show(stage: str, program: Program) -> None:
        if stage in print_after:
            click.echo(f"# after {stage}\n{print_program(program)}", err=output is None)

    checked = given.checked()
    if output is not None:
        refuse_inputs(output, checked)
    compiled = compile_checked(
        checked, outputs=wanted, after=show, allow_init_imports=allow_init_imports, target=chosen
    )
    print_warnings(checked)
    if devices is not None and chosen is Target.DEVICES:
        check_device_count(compiled.name, compiled.program, device_list(devices, "cuda"))
    if output is None:
        click.echo(compiled.source, nl=False)
    else:
        replace_text(output, compiled.source)
    return 0


def _check_stages(stages: tuple[str, ...], target: Target) -> None:
    known = _STAGES[target]
    for stage in stages:
        if stage not in known:
            of = f" for target {target.value}" if stage in _ALL_STAGES else ""
            raise click.UsageError(
                f"there is no pass '{stage}'{of}: {did_you_mean(stage, known) or 'passes are ' + ', '.join(known)}"
            )

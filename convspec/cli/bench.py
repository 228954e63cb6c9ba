"""`convspec bench`: how fast a network trains and predicts here, beside plain PyTorch."""

from __future__ import annotations

import click

from convspec.cli.extras import extra
from convspec.cli.guard import refuse_what_is_read
from convspec.cli.memory import use_huge_pages
from convspec.cli.messages import print_warnings
from convspec.cli.options import Given, device_option, format_option, named, spec_arguments
from convspec.cli.write import refuse_inputs


@click.command(short_help="Time it here, beside plain PyTorch.")
@spec_arguments
@click.option("--batch", type=click.IntRange(1, 65536), help="Images a step; else what [@train] says.")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="Rounds to take medians of.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="bf16: autocast; else what [@train] says.")
@click.option("--compile", "with_compile", is_flag=True, help="Measure torch.compile of both networks as well.")
@click.option("-o", "--output", type=named, metavar="FILE.json", help="Write all of it to FILE as well, as JSON.")
@device_option
@format_option
def command(
    given: Given,
    batch: int | None,
    rounds: int,
    precision: str | None,
    with_compile: bool,
    output: str | None,
    device: str,
    form: str,
) -> int:
    """Time training steps and predictions of SPEC, and of the same network written plainly in PyTorch.

    \b
    convspec bench specs/alexnet.cfg --batch 32 --compile

    The plain network runs layer by layer and tower by tower on torch's own functions. All take turns in one process;
    ratios are medians over the rounds.
    """
    checked = print_warnings(given.checked().require_ok())
    if output is not None:
        refuse_inputs(output, checked)
        refuse_what_is_read(output)
    use_huge_pages()
    with extra("timing needs"):
        from convspec.cli.benching import run_bench
    is_bf16 = (precision or checked.graph.train.precision) == "bf16"
    return run_bench(
        checked,
        batch=batch or checked.graph.train.batch,
        rounds=rounds,
        is_bf16=is_bf16,
        with_compile=with_compile,
        device=device,
        as_json=form == "json",
        output=output,
    )

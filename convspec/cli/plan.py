"""`convspec plan`: what each GPU holds and computes, what crosses between them, and whether it fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from convspec.cli.messages import print_warnings
from convspec.cli.options import Given, format_option, named, spec_arguments
from convspec.plan.amounts import parse_amount

_EXAMPLES = {"B": "80GB or 24GiB", "FLOP/s": "67TFLOP/s", "B/s": "450GB/s"}


def _amount(text: str, unit: str) -> float:
    amount = parse_amount(text, unit)
    if amount is None:
        raise click.BadParameter(f"{text!r} is no amount: write {_EXAMPLES[unit]}, say")
    return amount


def _rate(unit: str) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    """Reads an option that is an amount in this unit."""
    return lambda ctx, param, value: None if value is None else _amount(value, unit)


def _rooms(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """`80GB,80GB`, an amount for each GPU."""
    return () if value is None else tuple(int(_amount(part.strip(), "B")) for part in value.split(","))


def _with_sizes_inside(given: Given) -> Given:
    """With --input and --classes as keys of the spec, so that a spec that is made of it stands alone."""
    options = dict(given.options)
    sizes = ",".join(f"{name}:{'x'.join(map(str, dims))}" for name, dims in options.pop("inputs").items())
    classes = options.pop("classes")
    stated = [f"@net.input={sizes}"] if sizes else []
    stated += [] if classes is None else [f"@net.classes={classes}"]
    return given._replace(options={**options, "overrides": (*options["overrides"], *stated)})


@click.command(short_help="Memory, crossings and ideal time of each GPU.")
@spec_arguments
@click.option("--batch", type=click.IntRange(1, 1 << 24), help="Images a step, of all GPUs; else what [@train] says.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="bf16: autocast; else what [@train] says.")
@click.option(
    "--devices", callback=_rooms, metavar="80GB,...", help="Memory of each GPU: does it fit, and how many images?"
)
@click.option("--target", type=click.Choice(["folded", "devices", "spmd"]), help="See above; else by the GPUs of SPEC.")
@click.option("--on", type=click.Choice(["gpu", "cpu"]), default="gpu", show_default=True, help="What computes.")
@click.option(
    "--card",
    metavar="NAME",
    help="GPU whose rates count, and whose memory where it is named: gtx580, a100 or h100, the default.",
)
@click.option("--compute", callback=_rate("FLOP/s"), metavar="FLOP/s", help="Another rate of arithmetic: 67TFLOP/s.")
@click.option("--memory", callback=_rate("B/s"), metavar="B/s", help="Another rate of a GPU's memory: 3.35TB/s.")
@click.option("--link", callback=_rate("B/s"), metavar="B/s", help="Another rate between GPUs, each way: 450GB/s.")
@click.option("--auto", type=click.IntRange(2, 64), metavar="N", help="Propose a placement of SPEC over N GPUs.")
@click.option(
    "--towers",
    metavar="LAYERS",
    help="With --auto: towers as the paper's, another network; these convolutions read all of them. '' for none.",
)
@click.option("-o", "--output", type=named, metavar="NEW.cfg", help="With --auto: write the best proposal to a file.")
@format_option
def command(
    given: Given,
    batch: int | None,
    precision: str | None,
    devices: tuple[int, ...],
    target: str | None,
    on: str,
    card: str | None,
    compute: float | None,
    memory: float | None,
    link: float | None,
    auto: int | None,
    towers: str | None,
    output: str | None,
    form: str,
) -> int:
    """Plan the training of SPEC: what each of its GPUs holds and computes in a step, and what crosses between them.

    \b
    convspec plan specs/alexnet.cfg                          two GPUs, as the paper has it
    convspec plan specs/alexnet.cfg --devices 3GB,3GB        does it fit on cards of 3 GB, and what batch does?
    convspec plan specs/alexnet.cfg --card gtx580            the ideal time of a step on the cards of the paper
    convspec plan specs/vgg11.cfg --devices 24GiB --precision bf16
    convspec plan specs/alexnet-1gpu.cfg --auto 2 -o two.cfg

    --target folded is one GPU for all that the spec names; spmd a process for each GPU; devices one process for all,
    which keeps what several GPUs learn together on the first of them.
    """
    from convspec.cli.planning import PlanReport, choose_rates, choose_rooms, choose_target
    from convspec.plan.plan import places_of, plan, program_for
    from convspec.plan.recorder import Precision, Processor

    checked = print_warnings((given if auto is None else _with_sizes_inside(given)).checked().require_ok())
    chosen = Precision[(precision or checked.graph.train.precision).upper()]
    rates = choose_rates(card, chosen, compute, memory, link)
    settings: dict[str, Any] = {
        "batch": batch or checked.graph.train.batch,
        "precision": chosen,
        "processor": Processor(on),
        "rates": rates,
    }
    named = card if on == "gpu" else None
    if auto is not None:
        from convspec.cli.proposing import run_proposals

        rooms = choose_rooms(devices, named, lambda: auto)
        return run_proposals(checked, auto, target, towers, output, settings | {"rooms": rooms}, as_json=form == "json")
    if towers is not None or output is not None:
        raise click.UsageError("--towers and -o are about a proposal: say --auto N as well")
    aim = choose_target(checked, target, devices)
    rooms = choose_rooms(devices, named, lambda: len(places_of(program_for(checked, aim), aim)))
    result = plan(checked, target=aim, rooms=rooms, **settings)
    report = PlanReport(checked, result, rates)
    click.echo(json.dumps(report.as_data(), indent=2) if form == "json" else report.text(), nl=form == "json")
    return 1 if result.fits is False else 0

"""`convspec train`: a compiled spec, trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from convspec.cli.extras import extra
from convspec.cli.launched import failing_openly
from convspec.cli.memory import use_huge_pages
from convspec.cli.messages import print_warnings
from convspec.cli.options import Given, allow_init_imports, device_option, named, spec_arguments
from convspec.cli.targets import choose_target, gpus_for, named_devices, target_option
from convspec.compiler import Compiled, compile_checked
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.launch import Launch
from convspec.passes.pipeline import Target


@click.command(short_help="Train the network.")
@partial(spec_arguments, required=False)
@click.option(
    "--data", type=named, metavar="DATA", help="photos, digits, or a folder of class folders; else what [@data] says."
)
@click.option(
    "--run",
    "--run-dir",
    "run_dir",
    type=named,
    metavar="DIR",
    help="New folder for the run; else the first free one of runs/SPEC, runs/SPEC-2, ... torchrun takes --run for an option of its own.",
)
@click.option("--resume", type=named, metavar="DIR", help="Go on with the run in DIR from its last checkpoint.")
@click.option("--steps", type=click.IntRange(min=1), help="Stop after this many steps of the run.")
@device_option
@target_option
@click.option(
    "--devices", type=named, metavar="DEVICE,...", help="One for each GPU of the spec: cuda:0,cuda:1, or cpu,cpu."
)
@click.option("--log-every", type=click.IntRange(min=1), help="Steps between entries of metrics.jsonl.")
@click.option(
    "--init", type=named, metavar="RUN", help="Start each layer that has the same name and shape in RUN as it is there."
)
@click.option(
    "--init-from",
    type=named,
    metavar="RUN",
    help="Run that the spec's initWFunc= and its like copy from, piece by piece.",
)
@click.option("--tensorboard", is_flag=True, help="Write the metrics for TensorBoard too, into the run's folder.")
@allow_init_imports
def command(
    given: Given,
    data: str | None,
    run_dir: str | None,
    resume: str | None,
    steps: int | None,
    device: str,
    target: str | None,
    devices: str | None,
    log_every: int | None,
    init: str | None,
    init_from: str | None,
    tensorboard: bool,
    allow_init_imports: bool,
) -> int:
    """Train SPEC on its data. A run is a folder: spec, emitted module, metrics and checkpoints.

    A signal stops the run after its step and saves it; --resume goes on, without SPEC by the spec of the run itself.

    \b
    convspec train alexnet-small.cfg
    convspec train alexnet.cfg --data imagenet/train --run runs/alexnet
    convspec train my.cfg --data flowers --init runs/alexnet
    convspec train --resume runs/alexnet
    convspec train alexnet.cfg --data imagenet/train --devices cuda:0,cuda:1
    torchrun --nproc-per-node 2 -m convspec train alexnet.cfg
    """
    if run_dir is not None and resume is not None:
        raise click.UsageError("--run names a new run and --resume an old one: give one of them")
    if init is not None and resume is not None:
        raise click.UsageError("--init begins a run and --resume goes on with one: give one of them")
    several = named_devices(devices)
    chosen = Target.SPMD if Launch.find() else choose_target(target, len(several))
    _check_launch(chosen, target, several)
    options = dict(given.options)
    for key, source in (("init", init), ("initFrom", init_from)):
        if source is not None:
            options["overrides"] = (*options["overrides"], f"@train.{key}={source}")
    launch = Launch.find()
    with failing_openly(launch):
        checked = given._replace(spec=given.spec or _spec_of(resume), options=options).checked()
        compiled = compile_checked(checked, allow_init_imports=allow_init_imports, target=chosen)
        _require_cost(compiled)
    if given.spec and (launch is None or launch.speaks):
        print_warnings(checked)
    use_huge_pages()
    with extra("training needs"):
        from convspec.cli.training import run_training
    return run_training(
        compiled,
        data=data,
        run_dir=run_dir,
        numbered=Path("runs", Path(given.spec).stem),
        resume=resume,
        steps=steps,
        device=several[0] if several else device,
        devices=several or gpus_for(compiled.program) if chosen is Target.DEVICES else (),
        log_every=log_every,
        tensorboard=tensorboard,
    )


def _check_launch(chosen: Target, asked: str | None, devices: Sequence[str]) -> None:
    """Raises UsageError where the target and how the process was started are at odds."""
    is_launched = Launch.find() is not None
    if chosen is Target.SPMD and not is_launched:
        raise click.UsageError("--target spmd runs under torchrun: torchrun --nproc-per-node 2 -m convspec train ...")
    if is_launched and (devices or asked not in (None, Target.SPMD.value)):
        raise click.UsageError(
            "under torchrun each process has a device of its own: --target and --devices do not apply"
        )


def _spec_of(run: str | None) -> str:
    """The spec that a run was made from."""
    if run is None:
        raise click.UsageError("name a SPEC to train, or a run to go on with: --resume DIR")
    with extra("training needs"):
        from convspec.train.run import check_is_run
    check_is_run(Path(run))
    return str(Path(run) / "resolved.cfg")


def _require_cost(compiled: Compiled) -> None:
    if not any(cost.coefficient for cost in compiled.program.costs):
        raise DiagnosticError(
            Diagnostic(
                "CS602",
                f"{compiled.name} has no cost to make small",
                help="add a layer of type cost.logreg with coeff=1",
            )
        )

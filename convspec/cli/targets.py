"""`--target` and `--devices`: what a network is compiled for, and where it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.core import ParameterSource

from convspec.passes.pipeline import Target
from convspec.program.crossings import gpus_of
from convspec.program.devices import device_list
from convspec.program.program import Program

target_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--target",
    type=click.Choice([target.value for target in Target]),
    help="folded: one device; devices: the GPUs of the spec, in one process; spmd: a process each. Else by --devices.",
)


def choose_target(target: str | None, devices: int) -> Target:
    """The target that was asked for, or that for so many devices. Raises UsageError for several and one that takes one."""
    if target is None:
        return Target.DEVICES if devices > 1 else Target.FOLDED
    chosen = Target(target)
    if chosen is not Target.DEVICES and devices > 1:
        raise click.UsageError(
            f"--target {target} runs on one device{' a process' if chosen is Target.SPMD else ''}, and {devices} are named: --target devices takes them"
        )
    return chosen


def named_devices(text: str | None) -> Sequence[str]:
    """`--devices cuda:0,cuda:1` as a list; none where it was not given. Raises UsageError beside `--device`."""
    if text is None:
        return ()
    if click.get_current_context().get_parameter_source("device") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--device names one device and --devices several: give one of them")
    return [name.strip() for name in text.split(",")]


def gpus_for(program: Program) -> Sequence[str]:
    """What `--target devices` runs on where nobody named devices: as many GPUs, from the first."""
    return device_list(len(gpus_of(program)), "cuda")

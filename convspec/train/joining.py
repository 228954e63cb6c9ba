"""How a process that a launcher started takes its place among the others: whether they fit the spec, and its device."""

from __future__ import annotations

from collections.abc import Collection

import torch

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.diagnostics.diagnostic import joined
from convspec.launch import Launch
from convspec.program.operators import BatchNorm
from convspec.program.program import Program
from convspec.train.contract import CompiledSpec
from convspec.train.device import open_device
from convspec.train.ranks import Ranks


def join(compiled: CompiledSpec, launch: Launch, device: str) -> Ranks:
    """Join the processes that train a network compiled for target spmd. device: as `--device` says.

    Raises DiagnosticError CS753 where they cannot run it, CS710 where a device is missing.
    """
    check_fits(compiled.program, compiled.parts, launch)
    return Ranks(compiled, launch, open_device(own_device(device, launch)))


def check_fits(program: Program, gpus: Collection[int], launch: Launch) -> None:
    """Raises DiagnosticError CS753 where there are not as many processes as GPUs, or a multiple, or where a layer cannot
    work on a share of the minibatch."""
    count, processes = len(gpus), launch.world_size
    if processes % count:
        named = f"GPU {next(iter(gpus))}" if count == 1 else f"GPUs {joined([str(gpu) for gpu in gpus])}"
        there = "there is 1 process" if processes == 1 else f"there are {processes} processes"
        fitting = max(count, processes // count * count)
        help = f"start {fitting}, or another multiple of {count}: torchrun --nproc-per-node {fitting}"
        if processes == 1:
            help += "; one process without torchrun runs the whole network"
        message = f"{program.name} is on {named}, one for each process, and {there}"
        raise DiagnosticError(Diagnostic("CS753", message, help=help))
    norms = [op for op in program.operators if isinstance(op, BatchNorm)]
    if processes > count and norms:
        message = (
            f"{norms[0].layers[0]} takes its mean over a whole minibatch, "
            f"and {processes // count} replicas would have a share of it each"
        )
        help = f"start {count} process{'' if count == 1 else 'es'}: one replica of the network"
        raise DiagnosticError(Diagnostic("CS753", message, help=help))


def own_device(asked: str, launch: Launch) -> str:
    """The device of this process: a GPU for itself where GPUs are asked for, or found."""
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if asked != "cuda":
        return asked
    found, wanted = torch.cuda.device_count(), launch.local_world_size
    if found < wanted:
        message = (
            f"{wanted} processes on this machine take a GPU each, and there {'is' if found == 1 else 'are'} {found}"
        )
        help = "start fewer on each of more machines, or add --device cpu"
        raise DiagnosticError(Diagnostic("CS710", message, help=help))
    return f"cuda:{launch.local_rank}"

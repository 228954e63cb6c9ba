"""How a process that a launcher started takes its place among the others: its device, whether all have the same before
them, and whether they fit the spec."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import torch

import convspec
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.launch import Launch, not_one_for_each
from convspec.program.program import Program
from convspec.train.agreement import ElsewhereError
from convspec.train.contract import CompiledSpec
from convspec.train.device import open_device
from convspec.train.meeting import FAILED, Meeting, meet
from convspec.train.ranks import Ranks
from convspec.train.run import first_difference

_SPEC = "spec"


def join(
    compiled: CompiledSpec, launch: Launch, device: torch.device, options: Mapping[str, object] | None = None
) -> Ranks:
    """Join the processes that train a network compiled for target spmd. device: of this one, see `own_device`. options: of
    the command line, of what must be the same in all processes and is not in the spec.

    Raises DiagnosticError CS754 where they have different things before them, CS753 where they cannot run the spec, and
    CS755 where one does not come or has failed; ElsewhereError where another process of this machine says so.
    """
    here = {
        "convspec": convspec.__version__,
        "torch": torch.__version__,
        _SPEC: hashlib.sha256(compiled.resolved_text.encode()).hexdigest()[:12],
        "device": device.type,
        "--max-restarts": str(launch.most_restarts),
        **{name: "nothing" if value is None else str(value) for name, value in (options or {}).items()},
    }
    meeting = meet(launch, here)
    try:
        check_alike(meeting, compiled.resolved_text)
        check_fits(compiled.program, compiled.parts, launch)
    except DiagnosticError:
        if launch.speaks:
            raise
        raise ElsewhereError from None
    return Ranks(compiled, meeting, device)


def check_alike(meeting: Meeting, resolved_text: str) -> None:
    """Raises DiagnosticError CS754 where a process said another thing than process 0, and CS755 where one has failed."""
    said = meeting.said
    for rank, there in enumerate(said):
        if FAILED in there:
            message = f"process {rank} has failed before the first step; it says why"
            raise DiagnosticError(Diagnostic("CS755", message, help="see what that process said, on its machine"))
    for rank, there in enumerate(said):
        for what, value in there.items():
            if value != said[0][what]:
                message = f"process {rank} has another {what} than process 0: {value}, not {said[0][what]}"
                notes = _difference(meeting, rank, resolved_text) if what == _SPEC else ()
                help = "start all processes with the same command, versions and files"
                raise DiagnosticError(Diagnostic("CS754", message, notes=notes, help=help))


def _difference(meeting: Meeting, other: int, resolved_text: str) -> tuple[str, ...]:
    """Where the resolved specs of process 0 and another differ, which both show."""
    if meeting.launch.rank in (0, other):
        meeting.store.set(f"{_SPEC}/{meeting.launch.rank}", resolved_text)
    try:
        first, second = (meeting.store.get(f"{_SPEC}/{rank}").decode() for rank in (0, other))
        meeting.part()
    except RuntimeError:  # the store has ended with the process that keeps it, which says more
        return ()
    return (first_difference(first, second, "in process 0 is", f"in process {other}"),)


def check_fits(program: Program, gpus: Collection[int], launch: Launch) -> None:
    """Raises DiagnosticError CS753 where there are not as many processes as GPUs, or a multiple."""
    count, processes = len(gpus), launch.world_size
    if processes % count:
        fitting = max(count, processes // count * count)
        help = f"start {fitting}, or another multiple of {count}: torchrun --nproc-per-node {fitting}"
        if processes == 1:
            help += "; one process without torchrun runs the whole network"
        raise DiagnosticError(Diagnostic("CS753", not_one_for_each(program.name, gpus, processes), help=help))


def own_device(asked: str, launch: Launch) -> torch.device:
    """The device of this process: a GPU for itself where GPUs are asked for, or found. asked: as `--device` says.

    Raises DiagnosticError CS710 where it is missing.
    """
    return open_device(_own_device(asked, launch))


def _own_device(asked: str, launch: Launch) -> str:
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

"""A network on a machine: what each GPU holds and computes, what crosses, whether it fits, and how fast it can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from convspec.checker import Checked
from convspec.compiler import compile_checked
from convspec.graph.lower import lower
from convspec.passes.part_by_gpu import with_judged
from convspec.passes.pipeline import PASSES, Target, run_passes
from convspec.plan.memory import Memory, program_memory
from convspec.plan.rates import Rates
from convspec.plan.recorder import FLOAT, Precision, Processor
from convspec.plan.tape import cases_of
from convspec.plan.timing import StepTime, ideal_step
from convspec.plan.work import macs_a_case
from convspec.program.crossings import Crossing, between_gpus, copies, gpus_of, homes_of
from convspec.program.operators import parameters_of
from convspec.program.program import Program

_LARGEST_BATCH = 1 << 24


class Share(NamedTuple):
    """What one GPU of the spec has. gpu: its index; 0 of a folded network. parameters: numbers that it holds.
    macs: multiply-adds of the forward pass for all images of a step. peak_layers: what runs at the peak of its memory.
    room: bytes that it has; None where nobody said."""

    gpu: int
    parameters: int
    macs: int
    memory: Memory
    peak_layers: tuple[str, ...]
    room: int | None

    @property
    def fits(self) -> bool | None:
        return None if self.room is None else self.memory.total <= self.room


class Reduced(NamedTuple):
    """A gradient that several GPUs add up, after each has learnt from its own images. size: bytes of the parameter."""

    parameter: str
    gpus: tuple[int, ...]
    size: int

    @property
    def bytes_a_gpu(self) -> float:
        """That each GPU sends, and gets, round a ring: 2 (n - 1) / n of its bytes."""
        return 2 * (len(self.gpus) - 1) / len(self.gpus) * self.size


class Plan(NamedTuple):
    """batch: images of a step, of all GPUs together. largest_batch: the most that fits everywhere, 0 if none does; None
    where nobody said how much room there is. crossings: between GPUs, without what comes from the host."""

    target: Target
    batch: int
    precision: Precision
    shares: tuple[Share, ...]
    crossings: tuple[Crossing, ...]
    reduced: tuple[Reduced, ...]
    time: StepTime
    largest_batch: int | None

    @property
    def fits(self) -> bool | None:
        return None if any(each.fits is None for each in self.shares) else all(each.fits for each in self.shares)


def plan(
    checked: Checked,
    *,
    batch: int,
    precision: Precision,
    processor: Processor,
    target: Target,
    rates: Rates,
    rooms: Sequence[int] = (),
) -> Plan:
    """Plan a network without errors. rooms: bytes of each GPU, as many as the target uses, or none.

    Raises DiagnosticError as `compile_checked`.
    """
    program = program_for(checked, target)
    places = places_of(program, target)
    by_place = dict(zip(places, rooms, strict=True)) if rooms else {}
    memory = {place: memory_on(program, place, batch, precision, processor, target) for place in places}
    return Plan(
        target,
        batch,
        precision,
        tuple(
            Share(
                place,
                sum(prod(program.parameter[name].shape) for name in parameters_on(program, place, target)),
                _macs_on(program, place, batch, target),
                own,
                program.values[own.peak.operator].layers if own.peak.size else (),
                by_place.get(place),
            )
            for place, own in memory.items()
        ),
        between_gpus(program),
        _reduced(program, target),
        ideal_step(program, batch, precision, rates),
        largest_batch(program, by_place, precision, processor, target) if rooms else None,
    )


def largest_batch(
    program: Program, rooms: Mapping[int, int], precision: Precision, processor: Processor, target: Target
) -> int:
    """The most images of a step that fit on every GPU, of which `rooms` gives the bytes; 0 if not even one fits.

    A step takes more memory the more images it has. Training, where memory did not suffice, tries instead (`train.memory`):
    how much room there is beside the allocator, work space and other processes, only the machine knows.
    """

    def fits(batch: int) -> bool:
        return all(
            memory_on(program, place, batch, precision, processor, target).total <= room
            for place, room in rooms.items()
        )

    if not fits(1):
        return 0
    fitting, beyond = 1, 2
    while beyond < _LARGEST_BATCH and fits(beyond):
        fitting, beyond = beyond, 2 * beyond
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        fitting, beyond = (middle, beyond) if fits(middle) else (fitting, middle)
    return fitting


def memory_on(
    program: Program, place: int, batch: int, precision: Precision, processor: Processor, target: Target
) -> Memory:
    """The memory of one GPU in a step. In one process that feeds several GPUs, a parameter that several read has its
    momentum on the first of them."""
    names = parameters_on(program, place, target)
    homes = homes_of(program) if target is Target.DEVICES else dict.fromkeys(names, place)
    at_home = frozenset(name for name in names if homes[name] == place)
    gpu = None if target is Target.FOLDED else place
    return program_memory(program, batch, precision, processor, gpu, names, at_home)


def program_for(checked: Checked, target: Target) -> Program:
    """The program of a network without errors for one device, or placed on its GPUs; in a process each, with what crosses for
    error rates."""
    folded = compile_checked(checked, allow_init_imports=True).program
    if target is Target.FOLDED:
        return folded
    lowered = lower(folded.name, checked.graph, checked.shapes, checked.placement, ())
    program = run_passes(lowered, PASSES[target], after=lambda name, program: None)
    return with_judged(program) if target is Target.SPMD else program


def places_of(program: Program, target: Target) -> tuple[int, ...]:
    """The GPUs that a target uses; the first where nothing is computed."""
    return (0,) if target is Target.FOLDED else gpus_of(program) or (0,)


def parameters_on(program: Program, place: int, target: Target) -> tuple[str, ...]:
    """The parameters that the operators of a GPU read, each once."""
    if target is Target.FOLDED:
        return tuple(program.parameter)
    return tuple(dict.fromkeys(name for op in program.operators if op.gpu == place for name in parameters_of(op)))


def _macs_on(program: Program, place: int, batch: int, target: Target) -> int:
    return sum(
        macs_a_case(op, program) * cases_of(op, batch)
        for op in program.operators
        if target is Target.FOLDED or op.gpu == place
    )


def _reduced(program: Program, target: Target) -> tuple[Reduced, ...]:
    """Gradients that several GPUs add up."""
    return tuple(
        Reduced(each.parameter.name, (each.home, *each.others), FLOAT * prod(each.parameter.shape))
        for each in copies(program)
        if target is not Target.FOLDED and not each.parameter.update.rate.is_frozen
    )

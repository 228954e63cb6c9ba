"""The memory of a training step: what is held between steps, and the most that a step takes beside it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from math import prod
from typing import NamedTuple

from convspec.checker import Checked
from convspec.compiler import compile_checked
from convspec.plan.liveness import Peak, walk
from convspec.plan.recorder import FLOAT, Precision, Processor
from convspec.plan.tape import record
from convspec.program.program import Parameter, Program


class Memory(NamedTuple):
    """Bytes of one device.

    weights, momentum, inputs: held from step to step. Inputs are the pictures and labels of the batch.
    gradients: of all parameters that learn, which are there when the backward pass ends.
    saved: what autograd keeps at the end of the forward pass. peak: the most beyond what is held, and when that is.
    """

    weights: int
    momentum: int
    inputs: int
    gradients: int
    saved: int
    peak: Peak

    @property
    def held(self) -> int:
        return self.weights + self.momentum + self.inputs

    @property
    def total(self) -> int:
        """What the device must have for a step."""
        return self.held + self.peak.size


def plan_memory(checked: Checked, batch: int, precision: Precision, processor: Processor) -> Memory:
    """Of a network without errors that trains on one device. Raises DiagnosticError as `compile_checked`."""
    return program_memory(compile_checked(checked, allow_init_imports=True).program, batch, precision, processor)


def program_memory(
    program: Program,
    batch: int,
    precision: Precision,
    processor: Processor,
    gpu: int | None = None,
    parameters: Iterable[str] | None = None,
    stepped: Container[str] | None = None,
) -> Memory:
    """Of a program with `batch` images a step: all of it, or of a placed one what `gpu` has.

    parameters: that are there; all unless they are named. stepped: those of which the momentum is there as well.
    """
    tape = record(program, batch, precision, processor, gpu)
    step = walk(tape)
    found = list(program.parameters) if parameters is None else [program.parameter[name] for name in parameters]
    learning = [each for each in found if not each.update.rate.is_frozen]
    return Memory(
        weights=_size(found),
        momentum=_size(each for each in learning if stepped is None or each.name in stepped),
        inputs=sum(tape.slots[name].size for name in tape.given),
        gradients=_size(learning),
        saved=step.saved,
        peak=step.peak,
    )


def _size(parameters: Iterable[Parameter]) -> int:
    return sum(FLOAT * prod(each.shape) for each in parameters)

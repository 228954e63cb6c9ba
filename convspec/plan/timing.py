"""The time that a training step cannot beat on given GPUs: every operator at the rate that bounds it, every crossing at the
rate of a link, each waiting for what it needs.

GPUs compute in the order of the program, forward and then backward. An operator takes the longer of its arithmetic and
its traffic with memory (the roofline of Williams, Waterman and Patterson, 2009). A GPU sends and gets at the same time,
one thing each way, beside what it computes. Gradients of parameters that n GPUs have are added up round a ring as soon
as the last of them is there, 2 (n - 1) / n of their bytes on each link each way. Then each GPU updates its weights:
weight, momentum and gradient are read, weight and momentum written. Pictures are there before the step.
"""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import NamedTuple

from convspec.plan.rates import Rates
from convspec.plan.recorder import FLOAT, Precision
from convspec.plan.tape import cases_of
from convspec.plan.work import Work, work_of
from convspec.program.crossings import copies, gpus_of, with_gradient
from convspec.program.moves import Transfer
from convspec.program.operators import Op, parameters_of
from convspec.program.program import Program

_UPDATE = 5


class Busy(NamedTuple):
    """Seconds of one GPU in a step: bound by arithmetic, bound by memory, and the rest, in which it waits for links or for
    another GPU. sending: seconds in which its link sends, or gets if that is longer."""

    compute: float
    memory: float
    waiting: float
    sending: float


class StepTime(NamedTuple):
    """seconds: of the whole step. gpus: how each spends them."""

    seconds: float
    gpus: dict[int, Busy]

    @property
    def bound(self) -> str:
        """What most of the step goes to, on the GPU that waits least: `arithmetic`, `memory` or `links`."""
        busy = min(self.gpus.values(), key=lambda each: each.waiting)
        parts = {"arithmetic": busy.compute, "memory": busy.memory, "links": busy.waiting}
        return max(parts, key=lambda name: parts[name])


def ideal_step(program: Program, batch: int, precision: Precision, rates: Rates) -> StepTime:
    """Of a program for one device, or of a placed one for several. batch: images of a step, of all GPUs together."""
    clock = _Clock(program, batch, precision, rates)
    clock.forward()
    clock.backward()
    clock.update()
    return clock.result()


class _Clock:
    def __init__(self, program: Program, batch: int, precision: Precision, rates: Rates) -> None:
        self.program, self.batch, self.precision, self.rates = program, batch, precision, rates
        self.learning = frozenset(with_gradient(program))
        self.is_needed = self._needed_by_costs()
        self.gpus = gpus_of(program) or (0,)
        # When each GPU is free, and each end of its link.
        self.free = dict.fromkeys(self.gpus, 0.0)
        self.sends = dict.fromkeys(self.gpus, 0.0)
        self.gets = dict.fromkeys(self.gpus, 0.0)
        self.ready: dict[str, float] = {}
        self.gradient: dict[str, float] = defaultdict(float)
        self.learnt: dict[str, float] = {}
        self.compute = dict.fromkeys(self.gpus, 0.0)
        self.memory = dict.fromkeys(self.gpus, 0.0)
        self.sent = dict.fromkeys(self.gpus, 0.0)
        self.got = dict.fromkeys(self.gpus, 0.0)

    def forward(self) -> None:
        for op in self.program.operators:
            ready = max((self.ready[name] for name in op.inputs), default=0.0)
            if isinstance(op, Transfer):
                self.ready[op.name] = self._cross(op.source, op.gpu, self._bytes(op), ready)
            else:
                work = self._work(op)
                self.ready[op.name] = self._run(op, work.forward_macs, work.forward_bytes, ready)

    def backward(self) -> None:
        for op in reversed(self.program.operators):
            if op.name not in self.learning or op.name not in self.is_needed:
                continue
            ready = max(self.gradient[op.name], self.ready[op.name])
            if isinstance(op, Transfer):
                done = self._cross(op.gpu, op.source, self._bytes(op), ready)
            else:
                work = self._work(op)
                done = self._run(op, work.backward_macs, work.backward_bytes, ready)
            for name in op.inputs:
                self.gradient[name] = max(self.gradient[name], done)
            for name in parameters_of(op):
                self.learnt[name] = max(self.learnt.get(name, 0.0), done)

    def update(self) -> None:
        shared = {each.parameter.name: (each.home, *each.others) for each in copies(self.program)}
        for name in sorted(shared.keys() & self.learnt.keys(), key=lambda name: self.learnt[name]):
            self.learnt[name] = self._add_up(name, shared[name])
        readers: dict[str, set[int]] = defaultdict(set)
        for op in self.program.operators:
            for name in parameters_of(op):
                readers[name].add(self._place(op))
        for name in sorted(self.learnt, key=lambda name: self.learnt[name]):
            for gpu in readers[name]:
                size = _UPDATE * FLOAT * prod(self.program.parameter[name].shape)
                self._occupy(gpu, 0.0, size / self.rates.memory, self.learnt[name])

    def result(self) -> StepTime:
        seconds = max(self.free.values())
        busy = {
            gpu: Busy(
                self.compute[gpu],
                self.memory[gpu],
                seconds - self.compute[gpu] - self.memory[gpu],
                max(self.sent[gpu], self.got[gpu]),
            )
            for gpu in self.gpus
        }
        return StepTime(seconds, busy)

    def _needed_by_costs(self) -> set[str]:
        """Values that a cost with a coefficient is above: those that a gradient reaches."""
        needed = {cost.name for cost in self.program.costs if cost.coefficient}
        for op in reversed(self.program.operators):
            if op.name in needed:
                needed.update(op.inputs)
        return needed

    def _place(self, op: Op) -> int:
        return self.gpus[0] if op.gpu is None else op.gpu

    def _work(self, op: Op) -> Work:
        return work_of(op, self.program, self.batch, self.precision, self.learning)

    def _bytes(self, op: Transfer) -> int:
        return op.shape.features * cases_of(op, self.batch) * self.precision.value

    def _run(self, op: Op, macs: int, size: int, ready: float) -> float:
        if not macs and not size:
            return ready
        return self._occupy(self._place(op), 2 * macs / self.rates.compute, size / self.rates.memory, ready)

    def _occupy(self, gpu: int, arithmetic: float, traffic: float, ready: float) -> float:
        """Keep a GPU busy from when it and its operands are ready; returns when it is done."""
        busy = self.compute if arithmetic >= traffic else self.memory
        busy[gpu] += max(arithmetic, traffic)
        self.free[gpu] = max(self.free[gpu], ready) + max(arithmetic, traffic)
        return self.free[gpu]

    def _cross(self, source: int | None, target: int | None, size: int, ready: float) -> float:
        """Send bytes from a GPU to another; what comes from the host is there."""
        if source is None or target is None:
            return ready
        seconds = size / self.rates.link
        done = max(ready, self.sends[source], self.gets[target]) + seconds
        self.sends[source] = self.gets[target] = done
        self.sent[source] += seconds
        self.got[target] += seconds
        return done

    def _add_up(self, name: str, gpus: tuple[int, ...]) -> float:
        """Add up a gradient round a ring of GPUs."""
        size = FLOAT * prod(self.program.parameter[name].shape)
        seconds = 2 * (len(gpus) - 1) / len(gpus) * size / self.rates.link
        ready = max(self.learnt[name], *(self.sends[gpu] for gpu in gpus), *(self.gets[gpu] for gpu in gpus))
        for gpu in gpus:
            self.sends[gpu] = self.gets[gpu] = ready + seconds
            self.sent[gpu] += seconds
            self.got[gpu] += seconds
        return ready + seconds

"""Layers that name several GPUs become an operator on each: data parallelism, by the rules of cuda-convnet2.

A layer with R replicas, `gpu=0,1,2,3`, that reads data or anything else that is there as a whole cuts the minibatch into
R slices of ceil(N / R) cases, one after another; its r-th replica, on the r-th GPU that it names, computes the r-th slice
(layer.cu:1539-1562). The last slices are shorter, or empty, where R does not divide N. A layer with k replicas above one
with R = k q takes those below in turn, q of them each: its r-th has the cases of number r q to r q + q - 1, all at once. So
a layer with one replica has all cases. cuda-convnet2 gives the r-th those of number r, r + k, r + 2 k, ... instead
(convnet.cu:160-180), in q passes: who computes a case differs, and what comes of it does not. All replicas read one set of
parameters; gradients add up.

What is no sum over cases, or one number for all of them, is computed once, over the whole minibatch, on the first GPU that
its layer names: batch normalisation, costs, and `treefc`, whose weights are sums. So whatever its placement a network
computes the same.

What this pass leaves to `insert_transfers` is that operators read values which are elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convspec.program.costs import CostOperator
from convspec.program.moves import JoinCases, TakeCases
from convspec.program.names import fresh
from convspec.program.operator import Cases
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.program.weighted import BatchNorm, TreeLinear


def place_layers(program: Program) -> Program:
    """The program with an operator for each replica; the very same program where no layer has several."""
    if not any(op.replicas for op in program.operators):
        return program
    placer = _Placer(program)
    for op in program.operators:
        placer.place(op)
    return placer.result()


class _Placer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.operators: dict[str, Op] = {}
        # Who computes each value: one operator, or its replicas.
        self.parts: dict[str, list[Op]] = {}
        self.brought: dict[tuple[object, ...], str] = {}
        self.taken = set(program.values)
        judged = {op.predictions for op in program.operators if isinstance(op, CostOperator) and op.predictions}
        self.wanted = judged | {output.value for output in program.outputs}

    def place(self, op: Op) -> None:
        if not op.replicas or not _is_by_case(op):
            self._add(op, op.name, op.replicas[0] if op.replicas else op.gpu, None)
            return
        for gpu, cases in zip(op.replicas, self._cases_of_replicas(op), strict=True):
            self._add(op, self._fresh(f"{op.name}@{gpu}"), gpu, cases)
        if op.name in self.wanted:
            self._join(op.name, op.replicas[0], None, op.name)

    def _cases_of_replicas(self, op: Op) -> list[Cases]:
        """What each replica computes: what it reads of the first input that is in parts, else a slice of its own."""
        count = len(op.replicas)
        below = next((self.parts[name] for name in op.inputs if len(self.parts[name]) > 1), None)
        if below is None:
            return [Cases(i, i + 1, count) for i in range(count)]
        run = len(below) // count
        return [_together(below[i * run : (i + 1) * run]) for i in range(count)]

    def _add(self, op: Op, name: str, gpu: int | None, cases: Cases | None) -> None:
        inputs = tuple(self._read(source, gpu, cases) for source in op.inputs)
        placed = replace(op, name=name, inputs=inputs, gpu=gpu, replicas=(), cases=cases)
        self.operators[name] = placed
        self.parts.setdefault(op.name, []).append(placed)

    def _read(self, name: str, gpu: int | None, cases: Cases | None) -> str:
        """The value that holds these cases of `name`: what is there on this GPU, or anywhere, or put together here."""
        parts = self.parts[name]
        same = [part.name for part in parts if part.cases == cases]
        if same:
            return same[0]
        among = _among(parts, cases)
        if cases is None or (among and _together(among) == cases):
            return self._join(name, gpu, cases)
        whole = parts[0] if len(parts) == 1 else self.operators[self._join(name, gpu, None)]
        return self._take(whole, cases)

    def _take(self, whole: Op, cases: Cases) -> str:
        """Some cases of a value, cut off where it is."""
        key = whole.name, cases
        if key not in self.brought:
            name = self.brought[key] = self._fresh(f"{whole.name}@{cases.first}")
            self.operators[name] = TakeCases(
                name=name, inputs=(whole.name,), shape=whole.shape, layers=whole.layers, gpu=whole.gpu, cases=cases
            )
        return self.brought[key]

    def _join(self, value: str, gpu: int | None, cases: Cases | None, name: str = "") -> str:
        """The parts of a value that have these cases, joined on a GPU."""
        key = value, gpu, cases
        if key not in self.brought:
            name = name or self._fresh(f"{value}{'' if cases is None else f' {cases}'} on {gpu}")
            self.brought[key] = name
            parts = _among(self.parts[value], cases)
            names = tuple(part.name for part in parts)
            self.operators[name] = JoinCases(
                name=name, inputs=names, shape=parts[0].shape, layers=parts[0].layers, gpu=gpu, cases=cases
            )
        return self.brought[key]

    def _fresh(self, name: str) -> str:
        name = fresh(name, self.taken)
        self.taken.add(name)
        return name

    def result(self) -> Program:
        return replace(self.program, operators=tuple(self.operators.values()))


def _is_by_case(op: Op) -> bool:
    """Whether what an operator gives for a case depends on that case alone, and its gradient is a sum over them."""
    return not isinstance(op, BatchNorm | TreeLinear | CostOperator)


def _among(parts: Sequence[Op], cases: Cases | None) -> list[Op]:
    """Those of the parts that hold some of these cases, and no other."""
    return [part for part in parts if cases is None or (part.cases is not None and _holds(cases, part.cases))]


def _holds(cases: Cases, part: Cases) -> bool:
    return cases.total == part.total and cases.first <= part.first and part.stop <= cases.stop


def _together(parts: Sequence[Op]) -> Cases:
    """What several parts of the minibatch are together."""
    known = [part.cases for part in parts if part.cases is not None]
    return Cases(known[0].first, known[-1].stop, known[0].total)

"""What crosses between the GPUs of a placed program, and which parameters are on several of them.

The program is one after `insert_transfers`. Numbers are counted a case of the minibatch, so that they need no batch size:
a value of which a GPU has a quarter of the cases counts as a quarter. A number takes as many bytes as the precision says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from convspec.program.moves import Moved, Transfer
from convspec.program.operators import Op, parameters_of
from convspec.program.program import Parameter, Program
from convspec.program.shape import Shape


class Crossing(NamedTuple):
    """A value on its way to one other GPU.

    value: its name in the program. layers: whose it is. shape: of a case. source: the GPU that has it, None for the host.
    target: the GPU that reads it. share: of the cases of a minibatch, in (0, 1]. readers: names of the layers that read it
    there. has_gradient: whether the gradient of it comes back.
    """

    value: str
    layers: tuple[str, ...]
    shape: Shape
    source: int | None
    target: int
    share: float
    readers: tuple[str, ...]
    has_gradient: bool

    @property
    def numbers_forward(self) -> float:
        """From `source` to `target`, a case of the minibatch."""
        return self.shape.features * self.share

    @property
    def numbers_backward(self) -> float:
        """From `target` to `source`."""
        return self.numbers_forward if self.has_gradient else 0.0

    def bytes_forward(self, size: int = 4) -> float:
        """A case of the minibatch. size: of a number, in bytes."""
        return self.numbers_forward * size

    def bytes_backward(self, size: int = 4) -> float:
        return self.numbers_backward * size


class Copies(NamedTuple):
    """A parameter that several GPUs read. home: the one that keeps it. others: those that get it before a step, and give
    their part of the gradient back, ascending."""

    parameter: Parameter
    home: int
    others: tuple[int, ...]


def crossings(program: Program) -> tuple[Crossing, ...]:
    """Every crossing, in the order of the program; those from the host as well."""
    learning = with_gradient(program)
    found = []
    for op in program.operators:
        if isinstance(op, Transfer) and op.gpu is not None:
            judges = (cost for cost in program.costs if cost.predictions == op.name)
            readers = dict.fromkeys(layer for reader in (*_users(program, op), *judges) for layer in reader.layers)
            share = 1.0 if op.cases is None else op.cases.share
            has_gradient = op.name in learning
            found.append(
                Crossing(op.inputs[0], op.layers, op.shape, op.source, op.gpu, share, tuple(readers), has_gradient)
            )
    return tuple(found)


def between_gpus(program: Program) -> tuple[Crossing, ...]:
    """Those from one GPU to another, without what comes from the host."""
    return tuple(each for each in crossings(program) if each.source is not None)


def copies(program: Program) -> tuple[Copies, ...]:
    """The parameters that operators of more than one GPU read: those of replicated layers, and shared ones."""
    homes = homes_of(program)
    users: dict[str, set[int]] = {}
    for op in program.operators:
        for name in parameters_of(op):
            if op.gpu is not None:
                users.setdefault(name, set()).add(op.gpu)
    return tuple(
        Copies(parameter, homes[parameter.name], tuple(sorted(users[parameter.name] - {homes[parameter.name]})))
        for parameter in program.parameters
        if len(users.get(parameter.name, ())) > 1
    )


def homes_of(program: Program) -> dict[str, int]:
    """The GPU that keeps each parameter: the first of those that read it."""
    homes: dict[str, int] = {}
    for op in program.operators:
        for name in parameters_of(op):
            gpu = op.gpu or 0
            homes[name] = min(gpu, homes.get(name, gpu))
    return homes


def is_placed(program: Program) -> bool:
    """Whether values cross in it: the program is one after `insert_transfers`."""
    return any(isinstance(op, Transfer) for op in program.operators)


def gpus_of(program: Program) -> tuple[int, ...]:
    """All GPUs that compute something, ascending."""
    return tuple(sorted({op.gpu for op in program.operators if op.gpu is not None}))


def _users(program: Program, op: Op) -> Iterable[Op]:
    """Who reads a value; of what only cuts and joins cases, who reads that."""
    for reader in program.readers[op.name]:
        if isinstance(reader, Moved):
            yield from _users(program, reader)
        else:
            yield reader


def with_gradient(program: Program) -> set[str]:
    """Values that something that learns is below, but for those that cross to be judged alone."""
    found: set[str] = set()
    for op in program.operators:
        if isinstance(op, Transfer) and not program.readers[op.name]:
            continue
        rates = (program.parameter[name].update.rate for name in parameters_of(op))
        if any(not rate.is_frozen for rate in rates) or not found.isdisjoint(op.inputs):
            found.add(op.name)
    return found

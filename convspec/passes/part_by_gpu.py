"""Target *spmd*: the part of each GPU as a program of its own, which one process runs.

A transfer between two GPUs becomes a `Send` in the part of one and a `Receive` in that of the other. Those that nothing
reads yet are gathered, and cross together right before the first operator that reads one of them: an exchange, which all
parts that have something to send or to receive come to in the same order. Data layers are on every host, so that what
crosses from the host does not cross between processes, and what is made of data alone is made in each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from convspec.program.costs import CostOperator
from convspec.program.crossings import gpus_of
from convspec.program.moves import Receive, Send, Transfer
from convspec.program.names import fresh
from convspec.program.operators import Op, buffers_of, parameters_of
from convspec.program.program import Output, Program
from convspec.program.verify import verify

_Exchange = tuple[Transfer, ...]


def part_by_gpu(program: Program) -> Mapping[int, Program]:
    """The parts of a placed program, by GPU, ascending. What its costs judge is in their part as well."""
    program = with_judged(program)
    steps = list(_steps(program))
    return {gpu: verify(_part(program, steps, gpu)) for gpu in gpus_of(program)}


def with_judged(program: Program) -> Program:
    """The placed program with transfers of what costs judge, where that is on another GPU than the cost: right behind what
    they bring, which may come after the cost, as a cost of logits does not read the probabilities."""
    crossed = {(op.inputs[0], op.gpu): op.name for op in program.operators if isinstance(op, Transfer)}
    brought: dict[str, list[Transfer]] = defaultdict(list)
    outputs = list(program.outputs)
    costs: dict[str, Op] = {}
    for op in program.operators:
        if isinstance(op, CostOperator) and op.predictions and program.values[op.predictions].gpu != op.gpu:
            judged = program.values[op.predictions]
            name = crossed.get((judged.name, op.gpu))
            if name is None:
                name = crossed[judged.name, op.gpu] = fresh(f"{judged.name} on {op.gpu}", program.values)
                brought[judged.name].append(Transfer.of(judged, name, op.gpu))
            costs[op.name] = replace(op, predictions=name)
            outputs.append(Output(judged.layers[0], name))
    operators = [each for op in program.operators for each in (costs.get(op.name, op), *brought[op.name])]
    return replace(program, operators=tuple(operators), outputs=tuple(outputs))


def _steps(program: Program) -> Iterator[Op | _Exchange]:
    """The operators in order, and the exchanges among them."""
    pending: dict[str, Transfer] = {}
    wanted = {output.value for output in program.outputs}
    for op in program.operators:
        judged = {op.predictions} if isinstance(op, CostOperator) else set()
        if not pending.keys().isdisjoint({*op.inputs, *judged}):
            yield tuple(pending.values())
            pending.clear()
        if isinstance(op, Transfer) and op.source is not None:
            pending[op.name] = op
        else:
            yield op
    if not pending.keys().isdisjoint(wanted):
        yield tuple(pending.values())


def _part(program: Program, steps: Iterable[Op | _Exchange], gpu: int) -> Program:
    from_host = {op.name: op.inputs[0] for op in program.operators if isinstance(op, Transfer) and op.source is None}
    operators: list[Op] = []
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            operators += _legs(program, step, gpu, number)
        elif step.gpu in (gpu, None) and step.name not in from_host:
            operators.append(replace(step, inputs=tuple(from_host.get(name, name) for name in step.inputs)))
    operators = _without_idle_host(operators)
    own = {op.name for op in operators if not isinstance(op, Send)}
    parameters = {name for op in operators for name in parameters_of(op)}
    buffers = {name for op in operators for name in buffers_of(op)}
    return replace(
        program,
        operators=tuple(operators),
        parameters=tuple(parameter for parameter in program.parameters if parameter.name in parameters),
        buffers=tuple(buffer for buffer in program.buffers if buffer.name in buffers),
        outputs=tuple(output for output in program.outputs if output.value in own),
        notes=(),
    )


def _legs(program: Program, exchange: _Exchange, gpu: int, number: int) -> Iterator[Op]:
    """What a part sends in an exchange, then what it receives."""
    for transfer in exchange:
        if transfer.source == gpu and transfer.gpu is not None:
            yield Send(
                name=transfer.name,
                inputs=transfer.inputs,
                shape=transfer.shape,
                layers=transfer.layers,
                gpu=gpu,
                cases=transfer.cases,
                peer=transfer.gpu,
                exchange=number,
                is_judged=not program.readers[transfer.name],
            )
    for transfer in exchange:
        if transfer.gpu == gpu and transfer.source is not None:
            yield Receive(
                name=transfer.name,
                inputs=(),
                shape=transfer.shape,
                layers=transfer.layers,
                gpu=gpu,
                cases=transfer.cases,
                peer=transfer.source,
                value=transfer.inputs[0],
                exchange=number,
            )


def _without_idle_host(operators: Iterable[Op]) -> list[Op]:
    """The operators without those on the host that nothing here reads."""
    read: set[str] = set()
    kept: list[Op] = []
    for op in reversed(list(operators)):
        if op.gpu is not None or op.name in read:
            kept.append(op)
            read.update(op.inputs)
    return kept[::-1]

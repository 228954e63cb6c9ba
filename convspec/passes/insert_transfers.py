"""Values that are read on another GPU than the one that has them cross: once for each such GPU, shared by all its readers.

They cross where they are narrowest. What stands between a value and its readers on another GPU, reads nothing else and
gives less (a pool, a slice, with the activation or dropout before it) is computed before the crossing, on the GPU that has
the value, whatever the spec says of its layer. A `Concat` is made anew on a GPU that reads it and has some of its parts, so
that only the others cross. What is computed stays the same.

Inputs are on the host, and cross to the GPUs that read them. Outputs stay on the GPU that computes them. `crossings` of
`convspec.program.crossings` lists what crosses, with sizes and readers.

Operators come out in breadth-first order, a turn of each GPU after the other, and each transfer when the GPU that it goes to
has nothing else to do, so that a process that feeds several GPUs keeps all of them at work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from convspec.passes.order import by_turns
from convspec.passes.remove_unread import remove_unread
from convspec.program.features import Activation, Concat, Dropout, Reshape, Slice
from convspec.program.images import Pick2d
from convspec.program.moves import Transfer
from convspec.program.names import fresh
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.program.windows import AvgPool2d, ChannelPool, MaxAbsPool2d, MaxPool2d

# What reads one value, learns nothing, and takes little time beside a crossing.
_LIGHT = (Activation, AvgPool2d, ChannelPool, Dropout, MaxAbsPool2d, MaxPool2d, Pick2d, Reshape, Slice)


def insert_transfers(program: Program) -> Program:
    """The placed program with a `Transfer` for each crossing; the very same program where nothing crosses."""
    if not any(_crosses(program, op) for op in program.operators):
        return program
    program = _with_copied_concats(_narrowed(program))
    inserter = _Inserter(program)
    for op in program.operators:
        inserter.add(op)
    return replace(program, operators=by_turns(inserter.operators))


def _crosses(program: Program, op: Op) -> bool:
    """Whether `op` reads a value that is elsewhere, without a transfer."""
    is_done = isinstance(op, Transfer) or op.gpu is None
    return not is_done and any(program.values[name].gpu != op.gpu for name in op.inputs)


class _Inserter:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.operators: list[Op] = []
        self.crossed: dict[tuple[str, int], str] = {}

    def add(self, op: Op) -> None:
        """The operator, reading what is on its GPU."""
        inputs = op.inputs if op.gpu is None else tuple(self._here(name, op.gpu) for name in op.inputs)
        self.operators.append(op if inputs == op.inputs else replace(op, inputs=inputs))

    def _here(self, name: str, gpu: int) -> str:
        """The value on this GPU: itself, or its transfer."""
        value = self.program.values[name]
        if value.gpu == gpu:
            return name
        if (name, gpu) not in self.crossed:
            crossed = self.crossed[name, gpu] = fresh(f"{name} on {gpu}", self.program.values)
            self.operators.append(Transfer.of(value, crossed, gpu))
        return self.crossed[name, gpu]


def _narrowed(program: Program) -> Program:
    """The program with operators moved to the GPU of what they read, where less crosses then."""
    moved: dict[str, int] = {}
    notes: list[str] = []
    for op in program.operators:
        here = moved.get(op.name, op.gpu)
        if here is None:
            continue
        elsewhere: dict[int, list[Op]] = defaultdict(list)
        for reader in program.readers[op.name]:
            gpu = moved.get(reader.name, reader.gpu)
            if gpu is not None and gpu != here:
                elsewhere[gpu].append(reader)
        for gpu, readers in elsewhere.items():
            chains = [_narrowest(program, reader) for reader in readers]
            crossing = sum(chain[-1].shape.features for chain in chains if chain)
            if all(chains) and crossing < op.shape.features:
                moved |= {each.name: here for chain in chains for each in chain}
                layers = dict.fromkeys(layer for chain in chains for each in chain for layer in each.layers)
                notes.append(
                    f"{', '.join(layers)} of GPU {gpu} on GPU {here}, where {op.layers[0]} is: "
                    f"{crossing:,} numbers a case cross, instead of {op.shape.features:,}"
                )
    if not moved:
        return program
    operators = (replace(op, gpu=moved[op.name]) if op.name in moved else op for op in program.operators)
    return replace(program, operators=tuple(operators), notes=(*program.notes, *notes))


def _narrowest(program: Program, reader: Op) -> Sequence[Op]:
    """The way from a crossing through light operators on one GPU to the smallest value on it; nothing where there is no
    such way."""
    way = list(_light_way(program, reader))
    if not way:
        return ()
    smallest = min(range(len(way)), key=lambda i: way[i].shape.features)
    return way[: smallest + 1]


def _light_way(program: Program, reader: Op) -> Iterator[Op]:
    op: Op | None = reader
    while op is not None and isinstance(op, _LIGHT):
        yield op
        readers = program.readers[op.name]
        op = readers[0] if len(readers) == 1 and readers[0].gpu == reader.gpu else None


def _with_copied_concats(program: Program) -> Program:
    """The program with each Concat on every GPU that reads it and has one of its parts, or gets one anyway."""
    reads: dict[str, set[int | None]] = defaultdict(set)
    for op in program.operators:
        if not isinstance(op, Concat):
            for name in op.inputs:
                reads[name].add(op.gpu)
    copies: dict[str, set[int | None]] = {}
    for op in reversed(program.operators):
        if isinstance(op, Concat):
            away = reads[op.name] - {op.gpu}
            copies[op.name] = {gpu for gpu in away if any(_arrives(program, part, gpu, reads) for part in op.inputs)}
            is_wanted = reads[op.name] != copies[op.name] or any(o.value == op.name for o in program.outputs)
            for part in op.inputs:
                reads[part] |= copies[op.name] | ({op.gpu} if is_wanted else set())
    if not any(copies.values()):
        return program
    return _copied(program, copies)


def _arrives(program: Program, value: str, gpu: int | None, reads: Mapping[str, set[int | None]]) -> bool:
    return program.values[value].gpu == gpu or gpu in reads[value]


def _copied(program: Program, copies: Mapping[str, set[int | None]]) -> Program:
    names: dict[tuple[str, int | None], str] = {}
    operators: list[Op] = []
    for op in program.operators:
        inputs = tuple(names.get((name, op.gpu), name) for name in op.inputs)
        operators.append(op if inputs == op.inputs else replace(op, inputs=inputs))
        for gpu in sorted(copies.get(op.name, ()), key=lambda gpu: gpu or 0):
            name = names[op.name, gpu] = fresh(f"{op.name} on {gpu}", program.values)
            parts = tuple(names.get((part, gpu), part) for part in op.inputs)
            operators.append(replace(op, name=name, inputs=parts, gpu=gpu))
    return remove_unread(replace(program, operators=tuple(operators)))

"""Target *folded*: the towers of a spec for several GPUs become one tower of grouped operators on one device.

Twins are operators of one kind, with equal attributes, shapes, initial values and learning rates, on different GPUs.
They merge in two ways:

    grouped  each reads its own tower: conv2a and conv2b become one convolution in two groups; LRN keeps its window
             inside each tower; pooling and elementwise functions simply see more channels.
    dense    all read the same values: conv3a and conv3b, which read both towers, become one convolution with the
             kernels of both, over the joined maps; the order in which each names its inputs permutes its columns.

The merged value holds its members one after another along the channels. What reads a single member of it gets a slice.
Parameters remember which block belongs to which layer, so canonical names do not change. Twins that differ in any
number stay apart, and what stands above them runs tower by tower.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any

from convspec.passes.substitute import substitute
from convspec.program.names import Names
from convspec.program.operators import (
    Activation,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    ContrastNorm,
    Conv2d,
    Dropout,
    GaussianBlur,
    Linear,
    LocallyConnected2d,
    LocalResponseNorm,
    MaxAbsPool2d,
    Maximum,
    MaxPool2d,
    Op,
    Pad,
    Pick2d,
    Reshape,
    ResponseNorm,
    Slice,
    Weighted,
    buffers_of,
    parameters_of,
)
from convspec.program.program import Block, Buffer, Parameter, Program
from convspec.program.shape import Shape

# Operators that treat every channel group by itself, or can be told to.
_GROUPED = (
    Activation,
    Add,
    AvgPool2d,
    BatchNorm,
    ContrastNorm,
    Conv2d,
    Dropout,
    GaussianBlur,
    LocallyConnected2d,
    LocalResponseNorm,
    MaxAbsPool2d,
    Maximum,
    MaxPool2d,
    Pad,
    Pick2d,
    Reshape,
    ResponseNorm,
)
_PLACE = {"name", "inputs", "layers", "gpu", "weight", "bias", "statistics"}


def merge_towers(program: Program) -> Program:
    """The program with all twins merged; the very same program where there are none."""
    merger = _Merger(program)
    for level in _levels(program.operators):
        merger.merge_level(level)
    return merger.result()


def _levels(operators: Sequence[Op]) -> list[list[Op]]:
    """Operators by the length of the longest path that leads to them. Twins are on one level."""
    depth: dict[str, int] = {}
    levels: dict[int, list[Op]] = defaultdict(list)
    for op in operators:
        depth[op.name] = 1 + max((depth[name] for name in op.inputs), default=-1)
        levels[depth[op.name]].append(op)
    return [levels[key] for key in sorted(levels)]


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a value went: channels `start` to `stop` of `merged`, the `index`-th of `count` equal parts."""

    merged: str
    index: int
    count: int
    start: int
    stop: int


class _Merger:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.position = {op.name: i for i, op in enumerate(program.operators)}
        self.members: dict[str, _Member] = {}
        self.shapes: dict[str, Shape] = {op.name: op.shape for op in program.operators}
        self.parts: dict[str, list[str]] = {}
        self.operators: list[tuple[int, Op]] = []
        self.sliced: set[str] = set()
        self.parameters: dict[str, Parameter] = dict(program.parameter)
        self.buffers: dict[str, Buffer] = dict(program.buffer)
        self.names = Names()
        for parameter in program.parameters:
            self.names.unique(parameter.name.partition(".")[0])
        self.merged_names: dict[tuple[str, ...], str] = {}
        self.taken = set(self.shapes)
        users = [name for op in program.operators for name in parameters_of(op)]
        self.shared = {name for name in users if users.count(name) > 1} if len(set(users)) < len(users) else set()

    def merge_level(self, level: Sequence[Op]) -> None:
        """Merge what can be merged on one level, grouped before dense, and keep the rest."""
        left = list(level)
        for key in (self._grouped_key, self._dense_key):
            buckets: dict[Hashable, list[Op]] = defaultdict(list)
            for op in left:
                buckets[key(op)].append(op)
            left = []
            for signature, ops in buckets.items():
                left.extend(ops if signature is None else self._merge_bucket(ops, is_grouped=key == self._grouped_key))
            left.sort(key=lambda op: self.position[op.name])
        for op in left:
            self._keep(op)

    def _signature(self, op: Op) -> Hashable:
        """All that twins must have in common, but for what they read."""
        attributes = tuple((f.name, getattr(op, f.name)) for f in fields(op) if f.name not in _PLACE)
        kept = tuple(self.buffers[name]._replace(name="", blocks=()) for name in buffers_of(op))
        return type(op), attributes, tuple(map(self._parameter_signature, parameters_of(op))), kept

    def _parameter_signature(self, name: str) -> Hashable:
        parameter = self.parameters[name]
        return parameter.shape, parameter.initialization, parameter.update

    def _grouped_key(self, op: Op) -> Hashable:
        """What twins that read their own towers share; None where `op` cannot be one."""
        sources = [self.members.get(name) for name in op.inputs]
        if op.gpu is None or not isinstance(op, _GROUPED) or self._has_shared_parameters(op):
            return None
        if isinstance(op, Weighted) and len(sources) > 1:
            return None
        if not sources or None in sources or len({(source.index, source.count) for source in sources if source}) > 1:
            return None
        return self._signature(op), tuple(source.merged for source in sources if source)

    def _dense_key(self, op: Op) -> Hashable:
        """What twins that read the same values share; None where `op` cannot be one."""
        if op.gpu is None or not isinstance(op, Weighted) or not self._is_joinable(op):
            return None
        return self._signature(op), frozenset(op.inputs)

    def _is_joinable(self, op: Weighted) -> bool:
        """Whether the columns of its weight may move: no other operator has it, no groups, no input twice."""
        has_groups = isinstance(op, Conv2d | LocallyConnected2d) and op.groups > 1
        return not (has_groups or self._has_shared_parameters(op)) and len(set(op.inputs)) == len(op.inputs)

    def _has_shared_parameters(self, op: Op) -> bool:
        return not self.shared.isdisjoint(parameters_of(op))

    def _merge_bucket(self, ops: Sequence[Op], *, is_grouped: bool) -> list[Op]:
        """Merge twins among operators of one signature; returns those that have none."""
        by_gpu: dict[int, list[Op]] = defaultdict(list)
        for op in ops:
            assert op.gpu is not None
            by_gpu[op.gpu].append(op)
        columns = [by_gpu[gpu] for gpu in sorted(by_gpu)]
        if len(columns) < 2 or len({len(column) for column in columns}) > 1:
            return list(ops)
        left: list[Op] = []
        for twins in zip(*columns, strict=True):
            if is_grouped and not self._covers_tower(twins):
                left.extend(twins)
            elif is_grouped:
                self._merge_grouped(self._in_tower_order(twins))
            else:
                self._merge_dense(twins)
        return left

    def _covers_tower(self, twins: Sequence[Op]) -> bool:
        """Whether the twins read each part of the merged value once."""
        sources = [self.members[twin.inputs[0]] for twin in twins]
        return sorted(source.index for source in sources) == list(range(sources[0].count))

    def _in_tower_order(self, twins: Sequence[Op]) -> list[Op]:
        return sorted(twins, key=lambda twin: self.members[twin.inputs[0]].index)

    def _merge_grouped(self, twins: Sequence[Op]) -> None:
        first = twins[0]
        count = len(twins)
        inputs = tuple(self.members[name].merged for name in first.inputs)
        shape = first.shape.with_channels(first.shape.channels * count)
        match first:
            case Conv2d() | LocallyConnected2d():
                weight, bias = self._stacked_parameters(twins)
                groups = first.groups * count
                merged: Op = replace(first, weight=weight, bias=bias, groups=groups, inputs=inputs, shape=shape)
            case BatchNorm():
                merged = replace(first, **self._stacked_norm(twins), inputs=inputs, shape=shape)
            case LocalResponseNorm():
                merged = replace(first, groups=first.groups * count, inputs=inputs, shape=shape)
            case _:
                merged = replace(first, inputs=inputs, shape=shape)
        self._add_merged(merged, twins)

    def _merge_dense(self, twins: Sequence[Op]) -> None:
        first = twins[0]
        assert isinstance(first, Weighted)
        order = self._joined_order(first.inputs)
        weight, bias = self._stacked_parameters(twins, order)
        merged = replace(
            first,
            weight=weight,
            bias=bias,
            inputs=self._joined_inputs(order),
            shape=first.shape.with_channels(first.shape.channels * len(twins)),
        )
        self._add_merged(merged, twins)

    def _joined_order(self, inputs: Sequence[str]) -> list[str]:
        """Inputs with the members of one merged value side by side, in its order, where all of them are read."""
        order: list[str] = []
        for name in inputs:
            if name in order:
                continue
            siblings = self._siblings(name)
            order.extend(siblings if set(siblings) <= set(inputs) else [name])
        return order if len(order) == len(inputs) else list(inputs)

    def _siblings(self, name: str) -> list[str]:
        """The members of the merged value that holds `name`, in its order."""
        member = self.members.get(name)
        return [name] if member is None else self.parts[member.merged]

    def _joined_inputs(self, order: Sequence[str]) -> tuple[str, ...]:
        """`order` with every complete run of members replaced by the merged value."""
        inputs: list[str] = []
        position = 0
        while position < len(order):
            siblings = self._siblings(order[position])
            if len(siblings) > 1 and list(order[position : position + len(siblings)]) == siblings:
                inputs.append(self.members[order[position]].merged)
                position += len(siblings)
            else:
                inputs.append(self._slice(order[position]))
                position += 1
        return tuple(inputs)

    def _stacked_parameters(self, twins: Sequence[Op], order: Sequence[str] = ()) -> tuple[str, str | None]:
        """Names of the weight and the bias of the merged operator; `order` is that of its inputs if it is dense."""
        module = self.names.unique(self._merged_name([twin.layers for twin in twins]))
        weighted = [twin for twin in twins if isinstance(twin, Weighted)]
        weight = self._stack(f"{module}.weight", weighted, [twin.weight for twin in weighted], order)
        biases = [twin.bias for twin in weighted if twin.bias is not None]
        return weight, self._stack(f"{module}.bias", weighted, biases, ()) if biases else None

    def _stacked_norm(self, twins: Sequence[Op]) -> dict[str, Any]:
        """Names of the parameters and statistics of the merged normalisation."""
        module = self.names.unique(self._merged_name([twin.layers for twin in twins]))
        norms = [twin for twin in twins if isinstance(twin, BatchNorm)]
        return {
            "weight": self._stack(f"{module}.weight", norms, [norm.weight for norm in norms], ()),
            "bias": self._stack(f"{module}.bias", norms, [norm.bias for norm in norms], ()),
            "statistics": tuple(
                self._stack_buffers(f"{module}.{names[0].rpartition('.')[2]}", names)
                for names in zip(*(norm.statistics for norm in norms), strict=True)
            ),
        }

    def _stack_buffers(self, name: str, names: Sequence[str]) -> str:
        """Replace one buffer of each twin by a single one with the rows of all; a single number is that of all."""
        pieces = [self.buffers.pop(piece) for piece in names]
        blocks: list[Block] = []
        for i, piece in enumerate(pieces):
            for block in piece.blocks:
                first = i * piece.shape[0] if piece.shape else 0
                blocks.append(block._replace(rows=block.rows and (block.rows[0] + first, block.rows[1] + first)))
        shape = pieces[0].shape and (sum(piece.shape[0] for piece in pieces), *pieces[0].shape[1:])
        self.buffers[name] = pieces[0]._replace(name=name, shape=shape, blocks=tuple(blocks))
        return name

    def _stack(self, name: str, twins: Sequence[Op], names: Sequence[str], order: Sequence[str]) -> str:
        """Replace one parameter of each twin by a single one with the rows of all."""
        pieces = [self.parameters.pop(piece) for piece in names]
        blocks: list[Block] = []
        for i, (twin, piece) in enumerate(zip(twins, pieces, strict=True)):
            blocks.extend(self._placed_blocks(twin, piece, i * piece.shape[0], order))
        rows = sum(piece.shape[0] for piece in pieces)
        self.parameters[name] = pieces[0]._replace(name=name, shape=(rows, *pieces[0].shape[1:]), blocks=tuple(blocks))
        return name

    def _placed_blocks(self, twin: Op, parameter: Parameter, first_row: int, order: Sequence[str]) -> Iterable[Block]:
        """Blocks of one twin's parameter, moved to its rows and to the columns of the joined inputs."""
        starts = self._column_starts(twin, order)
        for block in parameter.blocks:
            assert block.rows is not None
            rows = (block.rows[0] + first_row, block.rows[1] + first_row)
            columns = block.columns
            if order and columns is not None:
                source, offset = self._input_at(twin, columns[0])
                columns = (starts[source] + offset, starts[source] + offset + columns[1] - columns[0])
            yield Block(block.name, rows, columns)

    def _column_starts(self, op: Op, inputs: Sequence[str]) -> dict[str, int]:
        """First column of each input in the weight of an operator that reads them in this order."""
        widths = [
            self.shapes[name].features if isinstance(op, Linear) else self.shapes[name].channels for name in inputs
        ]
        return dict(zip(inputs, accumulate(widths, initial=0), strict=False))

    def _input_at(self, op: Op, column: int) -> tuple[str, int]:
        """The input of `op` that a column of its weight reads, and which of the input's channels that is."""
        starts = self._column_starts(op, op.inputs)
        start, source = max((start, name) for name, start in starts.items() if start <= column)
        return source, column - start

    def _add_merged(self, merged: Op, twins: Sequence[Op]) -> None:
        name = self._value_name(twins)
        merged = replace(merged, name=name, layers=tuple(layer for twin in twins for layer in twin.layers), gpu=None)
        self.shapes[name] = merged.shape
        self.operators.append((max(self.position[twin.name] for twin in twins), merged))
        self.parts[name] = [twin.name for twin in twins]
        width = twins[0].shape.channels
        for i, twin in enumerate(twins):
            self.members[twin.name] = _Member(name, i, len(twins), i * width, (i + 1) * width)

    def _merged_name(self, layers: Sequence[tuple[str, ...]]) -> str:
        """`conv1` for conv1a and conv1b; the names joined where they have no prefix in common."""
        names = tuple(layer for each in layers for layer in each)
        if names not in self.merged_names:
            prefix = _common_prefix(names).rstrip("_-. ")
            name = prefix if prefix and prefix not in self.taken else "_".join(names)
            while name in self.taken:
                name += "_"
            self.taken.add(name)
            self.merged_names[names] = name
        return self.merged_names[names]

    def _value_name(self, twins: Sequence[Op]) -> str:
        base = self._merged_name([twin.layers for twin in twins])
        suffix = twins[0].name.removeprefix(twins[0].layers[0])
        return f"{base}{suffix}" if twins[0].name != twins[0].layers[0] else base

    def _keep(self, op: Op) -> None:
        """An operator without twins, reading slices where its inputs were merged, or the whole where it reads all."""
        if isinstance(op, Concat):
            joined = self._joined_inputs(op.inputs)
            self._append(op, replace(op, inputs=joined))
        elif isinstance(op, Weighted) and len(op.inputs) > 1 and self._is_joinable(op):
            order = self._joined_order(op.inputs)
            weight = self.parameters[op.weight]
            blocks = tuple(self._placed_blocks(op, weight, 0, order))
            self.parameters[op.weight] = weight._replace(blocks=blocks)
            self._append(op, replace(op, inputs=self._joined_inputs(order)))
        else:
            self._append(op, replace(op, inputs=tuple(map(self._slice, op.inputs))))

    def _append(self, before: Op, op: Op) -> None:
        self.operators.append((self.position[before.name], op))

    def _slice(self, name: str) -> str:
        """The value itself, or a slice of what it was merged into."""
        member = self.members.get(name)
        if member is not None and name not in self.sliced:
            self.sliced.add(name)
            before = self.program.values[name]
            part = Slice(
                name=name,
                inputs=(member.merged,),
                shape=before.shape,
                layers=before.layers,
                gpu=before.gpu,
                start=member.start,
                stop=member.stop,
            )
            self.operators.append((self.position[name], part))
        return name

    def result(self) -> Program:
        if not self.members:
            return self.program
        for output in self.program.outputs:
            self._slice(output.value)
        program = replace(
            self.program,
            operators=_sorted(self.operators),
            parameters=self._ordered_parameters(),
            buffers=self._ordered_buffers(),
        )
        whole = {op.name: op.inputs[0] for op in program.operators if isinstance(op, Concat) and len(op.inputs) == 1}
        return substitute(program, [op for op in program.operators if op.name not in whole], whole)

    def _ordered_parameters(self) -> tuple[Parameter, ...]:
        """In the order of the operators that read them."""
        names = [name for op in _sorted(self.operators) for name in parameters_of(op)]
        return tuple(self.parameters[name] for name in dict.fromkeys(names))

    def _ordered_buffers(self) -> tuple[Buffer, ...]:
        names = [name for op in _sorted(self.operators) for name in buffers_of(op)]
        return tuple(self.buffers[name] for name in dict.fromkeys(names))


def _common_prefix(names: Sequence[str]) -> str:
    shortest, longest = min(names), max(names)
    return next((shortest[:i] for i, letter in enumerate(shortest) if longest[i] != letter), shortest)


def _sorted(operators: Sequence[tuple[int, Op]]) -> tuple[Op, ...]:
    """By position, each after its inputs."""
    rank = {op.name: (position, i) for i, (position, op) in enumerate(operators)}
    by_name = {op.name: op for _, op in operators}
    waiting = {op.name: len(set(op.inputs)) for op in by_name.values()}
    readers: dict[str, list[str]] = defaultdict(list)
    for op in by_name.values():
        for name in set(op.inputs):
            readers[name].append(op.name)
    ready = [(rank[name], name) for name, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered = []
    while ready:
        _, name = heapq.heappop(ready)
        ordered.append(by_name[name])
        for reader in readers[name]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, (rank[reader], reader))
    return tuple(ordered)

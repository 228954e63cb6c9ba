"""Target *folded*: the towers of a spec for several GPUs become one tower of grouped operators on one device.

Twins are operators of one kind, with equal attributes, shapes, initial values and learning rates, on different GPUs.
They merge in two ways:

    grouped  each reads its own tower: conv2a and conv2b become one convolution in two groups; LRN keeps its window
             inside each tower; pooling and elementwise functions simply see more channels.
    dense    all read the same values: conv3a and conv3b, which read both towers, become one convolution with the
             kernels of both, over the joined maps; the order in which each names its inputs permutes its columns.

The merged value holds its members one after another along the channels. What reads a single member of it gets a slice.
Parameters remember which block belongs to which layer, so canonical names do not change. Twins that differ in any
number stay apart, and what stands above them runs tower by tower; the notes of the program say which they are and
what they differ in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from convspec.passes.apart import is_merged, notes_apart
from convspec.passes.order import in_order, levels
from convspec.passes.stack import Stacks
from convspec.passes.substitute import substitute
from convspec.passes.twins import GROUPED, Member, common_name, signature
from convspec.program.features import Concat, Slice
from convspec.program.names import Names, fresh
from convspec.program.operators import Op, parameters_of
from convspec.program.program import Program
from convspec.program.shape import Shape
from convspec.program.weighted import BatchNorm, Conv2d, LocallyConnected2d, Weighted
from convspec.program.windows import LocalResponseNorm


def merge_towers(program: Program) -> Program:
    """The program with all twins merged; the very same program where there are none."""
    merger = _Merger(program)
    for level in levels(program.operators):
        merger.merge_level(level)
    return merger.result()


class _Merger:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.position = {op.name: i for i, op in enumerate(program.operators)}
        self.members: dict[str, Member] = {}
        self.shapes: dict[str, Shape] = {op.name: op.shape for op in program.operators}
        self.parts: dict[str, list[str]] = {}
        self.operators: list[tuple[int, Op]] = []
        self.sliced: set[str] = set()
        self.stacks = Stacks(program, self.shapes)
        self.notes: dict[str, str] = {}
        self.names = Names()
        for parameter in program.parameters:
            self.names.unique(parameter.name.partition(".")[0])
        self.merged_names: dict[tuple[str, ...], str] = {}
        self.taken = set(self.shapes)
        users = Counter(name for op in program.operators for name in parameters_of(op))
        self.shared = {name for name, count in users.items() if count > 1}

    def merge_level(self, level: Sequence[Op]) -> None:
        """Merge what can be merged on one level, grouped before dense, and keep the rest."""
        left = list(level)
        for key in (self._grouped_key, self._dense_key):
            buckets: dict[Hashable, list[Op]] = defaultdict(list)
            for op in left:
                buckets[key(op)].append(op)
            left = []
            for in_common, ops in buckets.items():
                left.extend(ops if in_common is None else self._merge_bucket(ops, is_grouped=key == self._grouped_key))
            left.sort(key=lambda op: self.position[op.name])
        for subject, note in notes_apart(self.program, level, left, self.members, self.shared).items():
            # What parted them first: what the same layers do after that is a consequence.
            self.notes.setdefault(subject, note)
        for op in left:
            self._keep(op)

    def _grouped_key(self, op: Op) -> Hashable:
        """What twins that read their own towers share; None where `op` cannot be one."""
        sources = [self.members.get(name) for name in op.inputs]
        if op.gpu is None or not isinstance(op, GROUPED) or self._has_shared_parameters(op):
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

    def _signature(self, op: Op) -> Hashable:
        return signature(op, self.program.parameter, self.program.buffer)

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
                weighted = [twin for twin in twins if isinstance(twin, Weighted)]
                weight, bias = self.stacks.stack_weights(self._module_name(twins), weighted)
                groups = first.groups * count
                merged: Op = replace(first, weight=weight, bias=bias, groups=groups, inputs=inputs, shape=shape)
            case BatchNorm():
                norms = [twin for twin in twins if isinstance(twin, BatchNorm)]
                weight, bias, statistics = self.stacks.stack_norms(self._module_name(twins), norms)
                merged = replace(first, weight=weight, bias=bias, statistics=statistics, inputs=inputs, shape=shape)
            case LocalResponseNorm():
                merged = replace(first, groups=first.groups * count, inputs=inputs, shape=shape)
            case _:
                merged = replace(first, inputs=inputs, shape=shape)
        self._add_merged(merged, twins)

    def _merge_dense(self, twins: Sequence[Op]) -> None:
        weighted = [twin for twin in twins if isinstance(twin, Weighted)]
        first = weighted[0]
        order = self._joined_order(first.inputs)
        weight, bias = self.stacks.stack_weights(self._module_name(twins), weighted, order)
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

    def _add_merged(self, merged: Op, twins: Sequence[Op]) -> None:
        name = self._value_name(twins)
        merged = replace(merged, name=name, layers=tuple(layer for twin in twins for layer in twin.layers), gpu=None)
        self.shapes[name] = merged.shape
        self.operators.append((max(self.position[twin.name] for twin in twins), merged))
        self.parts[name] = [twin.name for twin in twins]
        width = twins[0].shape.channels
        for i, twin in enumerate(twins):
            self.members[twin.name] = Member(name, i, len(twins), i * width, (i + 1) * width)

    def _merged_name(self, layers: Sequence[tuple[str, ...]]) -> str:
        """`conv1` for conv1a and conv1b; the names joined where they have nothing in common."""
        names = tuple(layer for each in layers for layer in each)
        if names not in self.merged_names:
            name = common_name(names)
            name = name if name and name not in self.taken else "_".join(names)
            name = fresh(name, self.taken)
            self.taken.add(name)
            self.merged_names[names] = name
        return self.merged_names[names]

    def _module_name(self, twins: Sequence[Op]) -> str:
        return self.names.unique(self._merged_name([twin.layers for twin in twins]))

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
            self.stacks.permute(op, order)
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
        notes = () if is_merged(self.program) else tuple(self.notes.values())
        if not self.members:
            return replace(self.program, notes=(*self.program.notes, *notes)) if notes else self.program
        for output in self.program.outputs:
            self._slice(output.value)
        operators = in_order(self.operators)
        program = replace(
            self.program,
            operators=operators,
            parameters=self.stacks.parameters_in_order(operators),
            buffers=self.stacks.buffers_in_order(operators),
            notes=(*self.program.notes, *notes),
        )
        whole = {op.name: op.inputs[0] for op in program.operators if isinstance(op, Concat) and len(op.inputs) == 1}
        return substitute(program, [op for op in program.operators if op.name not in whole], whole)

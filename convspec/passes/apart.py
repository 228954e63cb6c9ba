"""Why operators that look like twins did not merge, as the notes of `merge_towers` say it.

Candidates are operators of one kind on one level, on different GPUs. Of several on a GPU those are put together that
differ in the least, and of these the ones whose layers are called most alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from convspec.passes.twins import GROUPED, Member, common_prefix, differences
from convspec.program.costs import CostOperator
from convspec.program.features import Concat, Gather, Slice
from convspec.program.operators import Op, parameters_of
from convspec.program.program import Program
from convspec.program.weighted import Conv2d, LocallyConnected2d, Weighted

# What costs nothing to keep apart.
_FREE = (Concat, CostOperator, Slice)
_APART = re.compile(r" stay apart: | stays apart from ")


def is_merged(program: Program) -> bool:
    """Whether `merge_towers` was here already: what was said then is not said again of what it left."""
    merged = any(isinstance(op, Weighted) and len(op.layers) > 1 for op in program.operators)
    return merged or any(_APART.search(note) for note in program.notes)


def notes_apart(
    program: Program, level: Sequence[Op], left: Sequence[Op], members: Mapping[str, Member], shared: Iterable[str]
) -> dict[str, str]:
    """A note for each set of candidates on a level, by the layers that it is about.

    program: that of the towers. left: those of `level` that did not merge. members: where the values of the others
    went. shared: names of parameters that several operators read.
    """
    explain = _Explainer(program, members, frozenset(shared))
    notes: dict[str, str] = {}
    waiting = {op.name: op for op in left if op.gpu is not None and not isinstance(op, _FREE)}
    merged = [op for op in level if op.name in members]
    while waiting:
        op = waiting.pop(next(iter(waiting)))
        group = explain.candidates(op, [*waiting.values(), *merged])
        for each in group[1:]:
            waiting.pop(each.name, None)
        if len(group) > 1:
            subject = explain.subject(group)
            notes.setdefault(subject, f"{subject}: {explain.reason(group)}")
    return notes


class _Explainer:
    def __init__(self, program: Program, members: Mapping[str, Member], shared: frozenset[str]) -> None:
        self.program, self.members, self.shared = program, members, shared

    def candidates(self, op: Op, others: Sequence[Op]) -> list[Op]:
        """`op` and on each other GPU the operator of its kind that is the likest; what merged only with what did not
        merge for want of it."""
        kin = [other for other in others if type(other) is type(op) and other.gpu not in (None, op.gpu)]
        own = {
            self.members[other.name].merged for other in others if other.name in self.members and other.gpu == op.gpu
        }
        kin = [other for other in kin if other.name not in self.members or self.members[other.name].merged not in own]
        kin.sort(key=lambda other: other.gpu or 0)
        found = [
            min(column, key=lambda other: self._distance(op, other)) for _, column in groupby(kin, lambda o: o.gpu)
        ]
        return sorted([op, *found], key=lambda each: each.gpu or 0)

    def _distance(self, op: Op, other: Op) -> tuple[bool, int, int]:
        shared_letters = len(common_prefix([op.layers[0], other.layers[0]]))
        return other.name in self.members, len(list(differences(op, other, self.program.parameter))), -shared_letters

    def subject(self, group: Sequence[Op]) -> str:
        """Who is apart, and from whom."""
        alone = [op.layers[0] for op in group if op.name not in self.members]
        merged = [op.layers[0] for op in group if op.name in self.members]
        return f"{alone[0]} stays apart from {_listed(merged)}" if merged else f"{_listed(alone)} stay apart"

    def reason(self, group: Sequence[Op]) -> str:
        """Of candidates in the order of their GPUs."""
        first = group[0]
        for other in group[1:]:
            for what, own, others in differences(first, other, self.program.parameter):
                return f"{what} is {own} in {first.layers[0]} and {others} in {other.layers[0]}"
        for op in group:
            if not self.shared.isdisjoint(parameters_of(op)):
                return f"{op.layers[0]} has weights in common with other layers"
        if isinstance(first, Gather):
            return "each has connections of its own"
        if len({frozenset(op.inputs) for op in group}) == 1:
            return self._reason_of_dense(first)
        return self._reason_of_grouped(group)

    def _reason_of_dense(self, op: Op) -> str:
        """Why operators that read the same values are none."""
        if isinstance(op, Conv2d | LocallyConnected2d) and op.groups > 1:
            return "they have groups, and read the same maps"
        if len(set(op.inputs)) < len(op.inputs):
            return "they read a value twice"
        return "they read the same values, and have no weights that could be put side by side"

    def _reason_of_grouped(self, group: Sequence[Op]) -> str:
        """Why operators that read different values are none."""
        counts = {len(op.inputs): op.layers[0] for op in group}
        if len(counts) > 1:
            return f"they read {' and '.join(f'{count} values ({name})' for count, name in sorted(counts.items()))}"
        for names in zip(*(op.inputs for op in group), strict=True):
            if len(set(names)) > 1 and not all(name in self.members for name in names):
                sources = dict.fromkeys(self.program.values[name].layers[0] for name in names)
                return f"they read {_listed([*sources])}, which are apart as well"
        first = group[0]
        if not isinstance(first, GROUPED):
            return "each reads a tower of its own, and they have no groups"
        if isinstance(first, Weighted) and len(first.inputs) > 1:
            return "they read different values, several each"
        shared = next((name for op in group for name in op.inputs if name not in self.members), None)
        if shared is not None:
            return f"they read {self.program.values[shared].layers[0]}, which is no tower of either"
        read = {self.members[name] for op in group for name in op.inputs}
        if len({part.merged for part in read}) == 1 and len(read) < next(iter(read)).count:
            return f"they read {len(read)} of the {next(iter(read)).count} towers of {next(iter(read)).merged}"
        return "they do not pair off: another number of their kind is on each GPU, or they read different values"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

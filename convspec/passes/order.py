"""Orders of operators: levels of those that can run side by side, and one after another, each behind its inputs."""

from __future__ import annotations

import heapq
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from convspec.program.features import Concat, Slice
from convspec.program.moves import Transfer
from convspec.program.operators import Op


def levels(operators: Sequence[Op]) -> list[list[Op]]:
    """Operators by the length of the longest path that leads to them, on which those that only cut or join count nothing.
    Twins are on one level."""
    depth: dict[str, int] = {}
    found: dict[int, list[Op]] = defaultdict(list)
    for op in operators:
        step = 0 if isinstance(op, Slice | Concat) else 1
        depth[op.name] = step + max((depth[name] for name in op.inputs), default=-1)
        found[depth[op.name]].append(op)
    return [found[key] for key in sorted(found)]


def in_order(operators: Sequence[tuple[int, Op]]) -> tuple[Op, ...]:
    """By position, each after its inputs."""
    rank = {op.name: (position, i) for i, (position, op) in enumerate(operators)}
    remaining = _Remaining([op for _, op in operators])
    ready = [(rank[op.name], op.name) for op in remaining.first()]
    heapq.heapify(ready)
    ordered = []
    while ready:
        op = remaining.by_name[heapq.heappop(ready)[1]]
        ordered.append(op)
        for freed in remaining.done(op):
            heapq.heappush(ready, (rank[freed.name], freed.name))
    return tuple(ordered)


def by_turns(operators: Sequence[Op]) -> tuple[Op, ...]:
    """One operator of each GPU after another, in the order that they have on it; what is on the host, or comes from there,
    does not wait for a turn. A transfer between GPUs waits until there is nothing else that its target could do: torch
    queues it on both as a barrier, behind which neither goes on alone."""
    rank = {op.name: i for i, op in enumerate(operators)}
    remaining = _Remaining(operators)
    at_once, transfers = list[Op](), list[Op]()
    queues: dict[int, list[Op]] = defaultdict(list)

    def enter(op: Op) -> None:
        if isinstance(op, Transfer) and op.source is not None:
            transfers.append(op)
            return
        is_free = op.gpu is None or isinstance(op, Transfer)
        insort(at_once if is_free else queues[op.gpu or 0], op, key=lambda each: rank[each.name])

    for op in remaining.first():
        enter(op)
    ordered: list[Op] = []
    turn = -1
    while len(ordered) < len(operators):
        due = next((op for op in transfers if op.gpu is not None and not queues[op.gpu]), None)
        if at_once:
            op = at_once.pop(0)
        elif due is not None:
            transfers.remove(due)
            op = due
        else:
            gpus = sorted(gpu for gpu, waiting in queues.items() if waiting)
            turn = next((gpu for gpu in gpus if gpu > turn), gpus[0])
            op = queues[turn].pop(0)
        ordered.append(op)
        for freed in remaining.done(op):
            enter(freed)
    return tuple(ordered)


class _Remaining:
    """Operators that wait for their inputs."""

    def __init__(self, operators: Iterable[Op]) -> None:
        self.by_name = {op.name: op for op in operators}
        self._waiting = {op.name: len(set(op.inputs)) for op in self.by_name.values()}
        self._readers: dict[str, list[Op]] = defaultdict(list)
        for op in self.by_name.values():
            for name in set(op.inputs):
                self._readers[name].append(op)

    def first(self) -> list[Op]:
        """Those that read nothing."""
        return [self.by_name[name] for name, count in self._waiting.items() if count == 0]

    def done(self, op: Op) -> Iterator[Op]:
        """Those that waited for `op` alone."""
        for reader in self._readers[op.name]:
            self._waiting[reader.name] -= 1
            if self._waiting[reader.name] == 0:
                yield reader

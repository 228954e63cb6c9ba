"""Orders of operators: levels of those that can run side by side, and one after another, each behind its inputs."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from convspec.program.operators import Concat, Op, Slice, Transfer


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
    """One operator of each GPU after another, in the order that they have on it; what is on the host and what transfers
    does not wait for a turn."""
    rank = {op.name: i for i, op in enumerate(operators)}
    remaining = _Remaining(operators)
    queues: dict[int, list[tuple[int, str]]] = defaultdict(list)
    at_once: list[tuple[int, str]] = []

    def enter(op: Op) -> None:
        is_free = op.gpu is None or isinstance(op, Transfer)
        heapq.heappush(at_once if is_free or op.gpu is None else queues[op.gpu], (rank[op.name], op.name))

    for op in remaining.first():
        enter(op)
    ordered: list[Op] = []
    turn = -1
    while at_once or any(queues.values()):
        if at_once:
            queue = at_once
        else:
            gpus = sorted(gpu for gpu, waiting in queues.items() if waiting)
            turn = next((gpu for gpu in gpus if gpu > turn), gpus[0])
            queue = queues[turn]
        op = remaining.by_name[heapq.heappop(queue)[1]]
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

"""Orders of operators: levels of those that can run side by side, and one after another, each behind its inputs."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence

from convspec.program.operators import Concat, Op, Slice


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

"""Levels of a layered drawing, and the order in each: the first half of the method of Sugiyama, Tagawa and Toda (1981).

Every edge goes one level down: a longer one passes through bends, a place of its own in each level between. The order in a
level is by the medians of the neighbours, level after level, down and up, and then by exchanging neighbours where that
takes crossings away (Gansner, Koutsofios, North, Vo: A technique for drawing directed graphs, 1993).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

_SWEEPS = 12
# Edges between levels of which crossings are counted; in a larger drawing nobody sees them.
_MOST_EDGES = 20_000


class Bend(NamedTuple):
    """Where a long edge passes a level. `number` says which of its levels it is."""

    source: str
    target: str
    number: int


Item = str | Bend


@dataclass(frozen=True)
class Levels:
    """order: the items of each level, from left to right. above, below: neighbours of an item one level away.

    bends: of each long edge, from its source to its target.
    """

    order: list[list[Item]]
    above: Mapping[Item, list[Item]]
    below: Mapping[Item, list[Item]]
    bends: Mapping[tuple[str, str], tuple[Bend, ...]] = field(default_factory=dict)


def find_levels(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The level of each node of an acyclic graph, its nodes in an order in which edges point forward.

    A node is just below the lowest that it reads. What reads nothing stands just above its first reader, so that labels
    are near the cost and not at the top.
    """
    above: dict[str, list[str]] = {node: [] for node in nodes}
    below: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        above[target].append(source)
        below[source].append(target)
    levels: dict[str, int] = {}
    for node in nodes:
        levels[node] = 1 + max((levels[source] for source in above[node]), default=-1)
    for node in nodes:
        if not above[node] and below[node]:
            levels[node] = min(levels[target] for target in below[node]) - 1
    lowest = min(levels.values(), default=0)
    return {node: level - lowest for node, level in levels.items()}


def order_levels(nodes: Sequence[str], edges: Sequence[tuple[str, str]], levels: Mapping[str, int]) -> Levels:
    """The items of each level so that few edges cross. `nodes` says what stands first where there is a choice."""
    drawing = _with_bends(nodes, edges, levels)
    best, fewest = [list(level) for level in drawing.order], _crossings(drawing)
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        _sort_by_medians(drawing, downwards=sweep % 2 == 0)
        _exchange_neighbours(drawing)
        crossings = _crossings(drawing)
        if crossings < fewest:
            best, fewest = [list(level) for level in drawing.order], crossings
    drawing.order[:] = best
    return drawing


def _with_bends(nodes: Sequence[str], edges: Sequence[tuple[str, str]], levels: Mapping[str, int]) -> Levels:
    """Items by level, in the order in which a walk from the first nodes meets them."""
    above: dict[Item, list[Item]] = {node: [] for node in nodes}
    below: dict[Item, list[Item]] = {node: [] for node in nodes}
    bends: dict[tuple[str, str], tuple[Bend, ...]] = {}
    level_of: dict[Item, int] = {node: levels[node] for node in nodes}
    for source, target in edges:
        chain = tuple(Bend(source, target, i) for i in range(levels[target] - levels[source] - 1))
        if chain:
            bends[source, target] = chain
        for number, bend in enumerate(chain, start=levels[source] + 1):
            level_of[bend] = number
            above[bend], below[bend] = [], []
        way: list[Item] = [source, *chain, target]
        for upper, lower in pairwise(way):
            below[upper].append(lower)
            above[lower].append(upper)
    order: list[list[Item]] = [[] for _ in range(max(levels.values(), default=-1) + 1)]
    seen: set[Item] = set()
    for node in nodes:
        waiting: list[Item] = [] if above[node] else [node]
        while waiting:
            item = waiting.pop()
            if item not in seen:
                seen.add(item)
                order[level_of[item]].append(item)
                waiting.extend(reversed(below[item]))
    return Levels(order, above, below, bends)


def _sort_by_medians(drawing: Levels, *, downwards: bool) -> None:
    levels = drawing.order if downwards else drawing.order[::-1]
    neighbours = drawing.above if downwards else drawing.below
    for fixed, level in pairwise(levels):
        place = {item: i for i, item in enumerate(fixed)}
        medians = [_median([place[n] for n in neighbours[item]]) for item in level]
        free = iter(sorted((m, i) for i, m in enumerate(medians) if m is not None))
        # An item without neighbours there stays where it is.
        level[:] = [
            item if median is None else level[next(free)[1]] for item, median in zip(list(level), medians, strict=True)
        ]


def _median(places: list[int]) -> float | None:
    places.sort()
    middle = len(places) // 2
    if not places:
        return None
    return places[middle] if len(places) % 2 else (places[middle - 1] + places[middle]) / 2


def _exchange_neighbours(drawing: Levels) -> None:
    """Let two neighbours change places wherever fewer edges cross then."""
    for number, level in enumerate(drawing.order):
        places = [
            {item: i for i, item in enumerate(drawing.order[other])} if 0 <= other < len(drawing.order) else {}
            for other in (number - 1, number + 1)
        ]
        for i in range(len(level) - 1):
            left, right = level[i], level[i + 1]
            kept = swapped = 0
            for neighbours, place in zip((drawing.above, drawing.below), places, strict=True):
                ones, others = ([place[n] for n in neighbours[item]] for item in (left, right))
                kept += _pairs_crossed(ones, others)
                swapped += _pairs_crossed(others, ones)
            if swapped < kept:
                level[i], level[i + 1] = right, left


def _pairs_crossed(left: list[int], right: list[int]) -> int:
    """Crossings of the edges of two items next to each other, whose other ends are at these places."""
    right = sorted(right)
    return sum(bisect_left(right, place) for place in left)


def _crossings(drawing: Levels) -> int:
    """All pairs of edges that cross; 0 for a drawing too large to care."""
    if sum(map(len, drawing.below.values())) > _MOST_EDGES:
        return 0
    total = 0
    for upper, lower in pairwise(drawing.order):
        place = {item: i for i, item in enumerate(lower)}
        seen: list[int] = []
        for item in upper:
            ends = sorted(place[n] for n in drawing.below[item])
            total += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            seen = sorted([*seen, *ends])
    return total

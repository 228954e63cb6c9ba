"""Where the items of a layered drawing stand in their levels, so that chains and long edges are straight lines.

The method of Brandes and Köpf (Fast and simple horizontal coordinate assignment, 2001): four drawings, each aligning an
item with the median of its neighbours above or below and pushed to the left or to the right; the mean of the two in the
middle is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from statistics import mean

from convspec.report.layering import Bend, Item, Levels

_Places = dict[Item, float]


def assign_places(levels: Levels, width: Callable[[Item], float], gap: float) -> _Places:
    """The middle of each item, from 0. Items of a level are `gap` apart at the least, beside half their widths."""
    crossed = _crossed_by_long_edges(levels)
    drawings: list[_Places] = []
    for upwards in (True, False):
        for leftwards in (True, False):
            order = levels.order if upwards else levels.order[::-1]
            order = order if leftwards else [level[::-1] for level in order]
            roots = _align(order, levels.above if upwards else levels.below, crossed)
            places = _compact(order, roots, width, gap)
            drawings.append(places if leftwards else {item: -place for item, place in places.items()})
    _justify(drawings, width)
    middle = {item: mean(sorted(drawing[item] for drawing in drawings)[1:3]) for item in drawings[0]}
    left = min((place - width(item) / 2 for item, place in middle.items()), default=0.0)
    return {item: place - left for item, place in middle.items()}


def _crossed_by_long_edges(levels: Levels) -> set[tuple[Item, Item]]:
    """Edges between two levels that cross the inner part of a long edge, which shall be straight. Upper end first."""
    crossed: set[tuple[Item, Item]] = set()
    for upper, lower in pairwise(levels.order):
        place = {item: i for i, item in enumerate(upper)}
        ends = [_inner_end(levels, item) for item in lower]
        rightmost = list(accumulate((-1 if end is None else place[end] for end in ends), max, initial=-1))
        tops = (len(upper) if end is None else place[end] for end in reversed(ends))
        leftmost = list(accumulate(tops, min, initial=len(upper)))[::-1]
        for i, item in enumerate(lower):
            if ends[i] is None:
                crossed.update((e, item) for e in levels.above[item] if not rightmost[i] < place[e] < leftmost[i + 1])
    return crossed


def _inner_end(levels: Levels, item: Item) -> Item | None:
    """The bend above a bend of the same edge."""
    if not isinstance(item, Bend):
        return None
    return next((end for end in levels.above[item] if isinstance(end, Bend)), None)


def _align(
    order: Sequence[Sequence[Item]], neighbours: Mapping[Item, list[Item]], crossed: set[tuple[Item, Item]]
) -> dict[Item, Item]:
    """The first item of the block of each item: blocks are what stands in one vertical line."""
    root: dict[Item, Item] = {item: item for level in order for item in level}
    for fixed, level in pairwise(order):
        place = {item: i for i, item in enumerate(fixed)}
        last = -1
        for item in level:
            ends = sorted(neighbours[item], key=place.__getitem__)
            for end in ends[(len(ends) - 1) // 2 : len(ends) // 2 + 1]:
                is_free = root[item] is item and place[end] > last
                if is_free and (end, item) not in crossed and (item, end) not in crossed:
                    root[item] = root[end]
                    last = place[end]
    return root


def _compact(
    order: Sequence[Sequence[Item]], root: Mapping[Item, Item], width: Callable[[Item], float], gap: float
) -> _Places:
    """Blocks as far to the left as their neighbours allow, and then as far to the right as costs no width."""
    apart: dict[Item, dict[Item, float]] = {block: {} for block in root.values()}
    before: dict[Item, dict[Item, float]] = {block: {} for block in root.values()}
    for level in order:
        for left, right in pairwise(level):
            distance = (width(left) + width(right)) / 2 + gap
            known = apart[root[left]].get(root[right], 0.0)
            apart[root[left]][root[right]] = before[root[right]][root[left]] = max(known, distance)
    blocks = _from_left_to_right(apart, before)
    places: _Places = {}
    for block in blocks:
        places[block] = max((places[left] + d for left, d in before[block].items()), default=0.0)
    for block in reversed(blocks):
        room = min((places[right] - d for right, d in apart[block].items()), default=places[block])
        places[block] = max(places[block], room)
    return {item: places[block] for item, block in root.items()}


def _from_left_to_right(
    apart: Mapping[Item, Mapping[Item, float]], before: Mapping[Item, Mapping[Item, float]]
) -> list[Item]:
    waiting = {block: len(lefts) for block, lefts in before.items()}
    blocks = [block for block, count in waiting.items() if count == 0]
    for block in blocks:
        for right in apart[block]:
            waiting[right] -= 1
            if waiting[right] == 0:
                blocks.append(right)
    return blocks


def _justify(drawings: list[_Places], width: Callable[[Item], float]) -> None:
    """Move the four drawings over the narrowest: those pushed to the left by their left ends, the others by their right."""

    def ends(places: _Places) -> tuple[float, float]:
        return (
            min(place - width(item) / 2 for item, place in places.items()),
            max(place + width(item) / 2 for item, place in places.items()),
        )

    if not drawings[0]:
        return
    bounds = [ends(drawing) for drawing in drawings]
    narrowest = min(bounds, key=lambda bound: bound[1] - bound[0])
    for number, (drawing, bound) in enumerate(zip(drawings, bounds, strict=True)):
        shift = narrowest[number % 2] - bound[number % 2]
        for item in drawing:
            drawing[item] += shift

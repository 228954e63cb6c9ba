"""Where boxes and lines of a drawing of a network are: levels from the top to the bottom, a column for each GPU.

Layers of one GPU stand in its column, in the order of a layered drawing of their own; what is on several GPUs has a column
in the middle. Lines between columns are crossings; long ones run in the gap beside a column, so that no line passes
through a box.

A layout of our own: of the libraries on PyPI, grandalf does the same for one column but is under the GPL and had its last
release in 2023, and all others need a program or a compiled library. None knows columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from convspec.report.coordinates import assign_places
from convspec.report.layering import Bend, Item, Levels, find_levels, order_levels

# Pixels between boxes of a level; between levels, and more for each crossing; between columns; of a line beside boxes;
# between ends at one box.
_GAP = 22.0
_DROP = 34.0
_ROOM, _MOST_ROOM = 5.0, 40.0
_ALLEY = 56.0
_TRACK = 12.0
_BEND_WIDTH = 4.0
_PORTS = 16.0


class Box(NamedTuple):
    """Left and top corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


class Point(NamedTuple):
    x: float
    y: float


class Column(NamedTuple):
    """The column of a GPU, or of what is on several (gpu None)."""

    gpu: int | None
    left: float
    right: float


@dataclass(frozen=True)
class Layout:
    """boxes: of the nodes. routes: the points that each edge passes, from box to box; between the points 2i and 2i+1 it
    goes straight down. columns: from the left to the right."""

    boxes: Mapping[str, Box]
    routes: Mapping[tuple[str, str], tuple[Point, ...]]
    columns: tuple[Column, ...]
    width: float
    height: float


def lay_out(
    sizes: Mapping[str, tuple[float, float]], edges: Sequence[tuple[str, str]], gpus: Mapping[str, tuple[int, ...]]
) -> Layout:
    """Boxes and lines of an acyclic graph.

    sizes: width and height of each node, in an order in which edges point forward. edges: each once, source first.
    gpus: of each node; where no node is on a single GPU of several there is one column.
    """
    return _Drawing(sizes, edges, gpus).layout()


class _Drawing:
    def __init__(
        self,
        sizes: Mapping[str, tuple[float, float]],
        edges: Sequence[tuple[str, str]],
        gpus: Mapping[str, tuple[int, ...]],
    ) -> None:
        self.sizes = sizes
        self.edges = edges
        self.column_of = _columns(gpus)
        self.level_of = find_levels(list(sizes), edges)
        self.gpus = sorted({gpu for gpu in self.column_of.values() if gpu is not None})
        self.tracks = self._tracks()
        self.tops, self.bottoms = self._rows()

    def layout(self) -> Layout:
        boxes: dict[str, Box] = {}
        bends: dict[Bend, float] = {}
        columns: list[Column] = []
        left = 0.0
        for gpu in self._order_of_columns():
            levels = self._levels_of(gpu)
            middles = assign_places(self._without_side_inputs(levels), self._width, _GAP)
            width = max((place + self._width(item) / 2 for item, place in middles.items()), default=0.0)
            if self._is_left(gpu):
                middles = {item: width - place for item, place in middles.items()}
            start = self._start_of(gpu, width, columns, left)
            for item, place in middles.items():
                if isinstance(item, Bend):
                    bends[item] = start + place
                else:
                    box_width, height = self.sizes[item]
                    top = self.tops[self.level_of[item]]
                    boxes[item] = Box(start + place - box_width / 2, top, box_width, height)
            columns.append(Column(gpu, start, start + width))
            left = max(left, start + width + _ALLEY + _TRACK * self._track_count(gpu))
        routes, right = self._routes(boxes, bends, columns)
        least = min((column.left for column in columns), default=0.0)
        return _moved(boxes, routes, columns, -least, right, max(self.bottoms, default=0.0))

    def _rows(self) -> tuple[list[float], list[float]]:
        """The top and the bottom of each level. Where many lines cross, they get more room."""
        count = max(self.level_of.values(), default=-1) + 1
        heights = [0.0] * count
        for name, (_, height) in self.sizes.items():
            level = self.level_of[name]
            heights[level] = max(heights[level], height)
        crossings = Counter(
            self.level_of[target] for source, target in self.edges if self.column_of[source] != self.column_of[target]
        )
        tops, bottoms, y = [], [], 0.0
        for level, height in enumerate(heights):
            y += min(_MOST_ROOM, _ROOM * crossings[level]) if level else 0.0
            tops.append(y)
            bottoms.append(y + height)
            y += height + _DROP
        return tops, bottoms

    def _tracks(self) -> dict[tuple[str, str], int]:
        """Which of the tracks beside its column each long line to another column takes: the first that is free there.
        Lines from one box run together until they part."""
        long = [
            (source, target)
            for source, target in self.edges
            if self.column_of[source] != self.column_of[target] and self.level_of[target] - self.level_of[source] > 1
        ]
        lowest: dict[str, int] = {}
        for source, target in long:
            lowest[source] = max(lowest.get(source, 0), self.level_of[target])
        taken: dict[tuple[int | None, int], list[tuple[int, int]]] = {}
        number_of: dict[str, int] = {}
        for source, last in lowest.items():
            first, column, number = self.level_of[source], self.column_of[source], 0
            while any(start < last and first < end for start, end in taken.get((column, number), [])):
                number += 1
            taken.setdefault((column, number), []).append((first, last))
            number_of[source] = number
        return {(source, target): number_of[source] for source, target in long}

    def _track_count(self, gpu: int | None) -> int:
        return max((n + 1 for (source, _), n in self.tracks.items() if self.column_of[source] == gpu), default=0)

    def _is_left(self, gpu: int | None) -> bool:
        """Whether a column is in the left half, and so drawn as its mirror: towers stand face to face."""
        return gpu is not None and self.gpus.index(gpu) < len(self.gpus) // 2

    def _order_of_columns(self) -> list[int | None]:
        """GPUs from the left to the right; what is shared stands in the middle."""
        if None not in self.column_of.values():
            return [*self.gpus]
        middle = (len(self.gpus) + 1) // 2
        # Last of all it is laid over what stands already.
        return [*self.gpus, None] if self._is_over_the_gap else [*self.gpus[:middle], None, *self.gpus[middle:]]

    @cached_property
    def _is_over_the_gap(self) -> bool:
        """Whether what is shared needs no column of its own: at none of its levels is there anything of one GPU, or a long
        line beside a column."""
        shared = {self.level_of[name] for name, gpu in self.column_of.items() if gpu is None}
        for source, target in self.edges:
            if self.column_of[source] is None and self.column_of[target] is None:
                shared.update(range(self.level_of[source], self.level_of[target]))
        single = {self.level_of[name] for name, gpu in self.column_of.items() if gpu is not None}
        passed = {level for edge in self.tracks for level in range(self.level_of[edge[0]], self.level_of[edge[1]] + 1)}
        return bool(self.gpus) and not shared & (single | passed)

    def _levels_of(self, gpu: int | None) -> Levels:
        names = [name for name in self.sizes if self.column_of[name] == gpu]
        own = set(names)
        return order_levels(names, [e for e in self.edges if e[0] in own and e[1] in own], self.level_of)

    def _without_side_inputs(self, levels: Levels) -> Levels:
        """Without the lines from what reads nothing to what reads more than that: labels do not draw the cost aside."""
        reading = {target for _, target in self.edges}
        fed = {target for source, target in self.edges if source in reading}
        side = {(source, target) for source, target in self.edges if source not in reading and target in fed}
        above = {item: [end for end in ends if (end, item) not in side] for item, ends in levels.above.items()}
        below = {item: [end for end in ends if (item, end) not in side] for item, ends in levels.below.items()}
        return Levels(levels.order, above, below, levels.bends)

    def _start_of(self, gpu: int | None, width: float, columns: Sequence[Column], left: float) -> float:
        if gpu is not None or not self._is_over_the_gap:
            return left
        last = columns[len(columns) // 2 - 1] if len(columns) % 2 == 0 else columns[len(columns) // 2]
        middle = (last.right + columns[len(columns) // 2].left) / 2
        return middle - width / 2

    def _width(self, item: Item) -> float:
        return _BEND_WIDTH if isinstance(item, Bend) else self.sizes[item][0]

    def _routes(
        self, boxes: Mapping[str, Box], bends: Mapping[Bend, float], columns: Sequence[Column]
    ) -> tuple[dict[tuple[str, str], tuple[Point, ...]], float]:
        """The points of each edge, and how far to the right all that reaches."""
        passes = {edge: self._passes(edge, bends, columns) for edge in self.edges}
        ports = self._ports(boxes, {edge: xs[-1] if xs else boxes[edge[0]].middle for edge, xs in passes.items()})
        right = max((column.right for column in columns), default=0.0)
        routes: dict[tuple[str, str], tuple[Point, ...]] = {}
        for edge in self.edges:
            source, target = (boxes[name] for name in edge)
            first, last = (self.level_of[name] for name in edge)
            points = [Point(source.middle, source.y + source.height), Point(source.middle, self.bottoms[first])]
            for level, x in enumerate(passes[edge], start=first + 1):
                points += [Point(x, self.tops[level]), Point(x, self.bottoms[level])]
            points += [Point(ports[edge], self.tops[last]), Point(ports[edge], target.y)]
            routes[edge] = tuple(points)
        reached = max((p.x for points in routes.values() for p in points), default=0.0)
        return routes, max(right, reached)

    def _passes(self, edge: tuple[str, str], bends: Mapping[Bend, float], columns: Sequence[Column]) -> list[float]:
        """Where an edge passes each of the levels between its ends."""
        source, target = edge
        count = self.level_of[target] - self.level_of[source] - 1
        if edge not in self.tracks:
            return [bends[Bend(source, target, i)] for i in range(count)]
        column = next(column for column in columns if column.gpu == self.column_of[source])
        return [column.right + _TRACK * (1 + self.tracks[edge])] * count

    def _ports(self, boxes: Mapping[str, Box], coming: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
        """Where each edge meets the top of its target: side by side, in the order of the places that they come from."""
        incoming: dict[str, list[tuple[str, str]]] = {}
        for edge in self.edges:
            incoming.setdefault(edge[1], []).append(edge)
        ports: dict[tuple[str, str], float] = {}
        for target, edges in incoming.items():
            middle = boxes[target].middle
            step = min(_PORTS, boxes[target].width / (2 * len(edges)))
            order = sorted(edges, key=coming.__getitem__)
            # What comes straight from above goes on straight; else they share the room evenly.
            straight = next((i for i, e in enumerate(order) if abs(coming[e] - middle) < 1), (len(order) - 1) / 2)
            for number, edge in enumerate(order):
                ports[edge] = middle + (number - straight) * step
        return ports


def _columns(gpus: Mapping[str, tuple[int, ...]]) -> dict[str, int | None]:
    """The GPU whose column a node stands in, None for the shared one. A network on one GPU, or all on all, is one column."""
    single = {on[0] for on in gpus.values() if len(on) == 1}
    if len(single) < 2:
        return dict.fromkeys(gpus)
    return {name: on[0] if len(on) == 1 else None for name, on in gpus.items()}


def _moved(
    boxes: Mapping[str, Box],
    routes: Mapping[tuple[str, str], tuple[Point, ...]],
    columns: Sequence[Column],
    shift: float,
    right: float,
    height: float,
) -> Layout:
    return Layout(
        {name: box._replace(x=box.x + shift) for name, box in boxes.items()},
        {edge: tuple(p._replace(x=p.x + shift) for p in points) for edge, points in routes.items()},
        tuple(column._replace(left=column.left + shift, right=column.right + shift) for column in columns),
        right + shift,
        height,
    )

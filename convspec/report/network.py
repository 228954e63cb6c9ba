"""A network as a picture: boxes with sizes, window arithmetic and parameters, GPUs as coloured bands, crossings between them.

SVG without scripts, fonts or links. Its colours are those of a light page, and of a dark one where the reader prefers it.
The same network gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from convspec.checker import Checked
from convspec.diagnostics import DiagnosticError
from convspec.diagnostics.visible import visible
from convspec.graph.summary import LayerSummary
from convspec.passes.pipeline import Target
from convspec.plan.plan import program_for
from convspec.program.crossings import Crossing, between_gpus
from convspec.report.layering import find_levels
from convspec.report.layout import Box, Column, Layout, Point, lay_out
from convspec.report.network_style import COLORS, LEGEND_SIZE, NAME_SIZE, TEXT_SIZE, TITLE_SIZE, style_sheet
from convspec.report.svg import escape, number
from convspec.report.text_width import text_width

_MARGIN = 32.0
_PAD_X, _PAD_Y = 12.0, 9.0
_LINE = 16.0
_NARROWEST = 96.0
_BETWEEN = 18.0
_BAND = 14.0
_BAR = 5.0
_RADIUS = 7.0
# Between the layer and the reader in the name of a box that shows the layer once more; no layer's name has a line end.
_COPY = "\n"


class _Card(NamedTuple):
    """The texts of a box."""

    name: str
    shape: str
    notes: tuple[str, ...]
    learns: bool

    @property
    def width(self) -> float:
        title = text_width(self.name, NAME_SIZE, is_bold=True) + _BETWEEN + text_width(self.shape, NAME_SIZE)
        notes = (text_width(note, TEXT_SIZE) for note in self.notes)
        return max(_NARROWEST, 2 * _PAD_X + max(title, *notes))

    @property
    def height(self) -> float:
        return 2 * _PAD_Y + _LINE * (1 + len(self.notes)) - 2


def draw_network(checked: Checked) -> str:
    """The picture of a network without errors: the text of an SVG file."""
    assert checked.ok
    rows = {row.name: row for row in checked.layers}
    order = [layer.name for layer in checked.graph.order]
    cards = {name: _card(rows[name]) for name in order}
    width = max((card.width for card in cards.values()), default=_NARROWEST)
    boxes = _with_copies([(source, name) for name in order for source in dict.fromkeys(rows[name].inputs)], order)
    sizes = {}
    for name in boxes.order:
        card = cards[_layer_of(name)]
        sizes[name] = (width if rows[_layer_of(name)].inputs else card.width, card.height)
    layout = lay_out(sizes, boxes.edges, {name: rows[_layer_of(name)].gpus for name in boxes.order})
    return "".join(f"{line}\n" for line in _Picture(checked, rows, cards, layout).lines())


class _Boxes(NamedTuple):
    order: list[str]
    edges: list[tuple[str, str]]


def _with_copies(edges: Sequence[tuple[str, str]], order: Sequence[str]) -> _Boxes:
    """Data that a layer far below reads beside something else is drawn again just above it: labels beside each cost."""
    levels = find_levels(order, edges)
    reading = {target for _, target in edges}
    fed = {target for source, target in edges if source in reading}
    copies = {
        target: source
        for source, target in edges
        if source not in reading and target in fed and levels[target] - levels[source] > 1
    }
    nodes: list[str] = []
    for name in order:
        nodes += [f"{copies[name]}{_COPY}{name}", name] if name in copies else [name]
    drawn = [
        (f"{source}{_COPY}{target}" if copies.get(target) == source else source, target) for source, target in edges
    ]
    return _Boxes(nodes, drawn)


def _layer_of(box: str) -> str:
    """The layer that a box shows."""
    return box.partition(_COPY)[0]


def _card(row: LayerSummary) -> _Card:
    formula, comma, rounded = row.window.partition(", rounded")
    notes = [", ".join(filter(None, [row.type, row.neuron])), formula]
    if comma:
        head, equals, value = formula.rpartition(" = ")
        notes[1:] = [head, f"= {value}, rounded{rounded}"] if equals else [row.window]
    if row.weights or row.biases:
        notes.append(f"{row.weights + row.biases:,} parameters")
    shape = "x".join(map(str, row.shape or ())).replace("x", "\N{MULTIPLICATION SIGN}")
    return _Card(visible(row.name), shape, tuple(visible(note) for note in notes if note), bool(row.weights))


class _Picture:
    def __init__(
        self, checked: Checked, rows: dict[str, LayerSummary], cards: dict[str, _Card], layout: Layout
    ) -> None:
        self.checked = checked
        self.rows = rows
        self.cards = cards
        self.layout = layout
        self.gpus = sorted(checked.totals.gpus)
        self.red = [(s, t) for s, t in layout.routes if _crosses(rows[_layer_of(s)], rows[t])]
        self.crossings = _crossings(checked) if self.red else ()
        self.legend = list(self._legend())
        self.top = _MARGIN + TITLE_SIZE + _LINE + 8 + _LINE * len(self.legend) + 14
        self.has_bands = any(column.gpu is not None for column in layout.columns)
        if self.has_bands:
            self.top += _BAND + 18

    def lines(self) -> Iterator[str]:
        """The lines of the file."""
        legend = max((text_width(text, LEGEND_SIZE) + 28 for _, text in self.legend), default=0.0)
        title = text_width(self._title(), TITLE_SIZE, is_bold=True)
        numbers = text_width(self._numbers(), LEGEND_SIZE)
        width = max(self.layout.width + 2 * _BAND * self.has_bands, legend, title, numbers) + 2 * _MARGIN
        height = self.top + self.layout.height + _BAND * self.has_bands + _MARGIN
        size = f'width="{number(width)}" height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}"'
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">'
        yield f'<title id="title">{escape(self._title())}</title>'
        yield f'<desc id="description">{escape(self._description())}</desc>'
        yield f"<style>\n{style_sheet(has_gpus=len(self.gpus) > 1)}\n</style>"
        yield '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        yield '<path class="head" d="M0 .8 8 4 0 7.2z"/></marker>'
        yield '<marker id="crossing-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        yield '<path class="crossing-head" d="M0 .8 8 4 0 7.2z"/></marker></defs>'
        yield '<rect class="page" width="100%" height="100%"/>'
        yield from self._heading()
        left = max(_MARGIN + _BAND * self.has_bands, (width - self.layout.width) / 2)
        yield f'<g transform="translate({number(left)} {number(self.top)})">'
        yield from self._bands()
        yield from self._edges()
        for name, box in self.layout.boxes.items():
            yield from self._box(name, box)
        yield "</g>"
        yield "</svg>"

    def _title(self) -> str:
        name = self.checked.graph.net.network_name
        if not name:
            name = self.checked.document.file.name.replace("\\", "/").rpartition("/")[2]
        return visible(name)

    def _numbers(self) -> str:
        total = self.checked.totals.network
        return f"{total.parameters:,} parameters, {total.macs:,} multiply-adds an image"

    def _description(self) -> str:
        """The network in words, for those who do not see the picture."""
        gpus = f" on {len(self.gpus)} GPUs" if len(self.gpus) > 1 else ""
        layers = (
            f"{card.name} ({', '.join([card.shape, *card.notes])}"
            + (f"; GPU {_listed(self.rows[name].gpus)}" if gpus else "")
            + (f"; reads {visible(', '.join(self.rows[name].inputs))})" if self.rows[name].inputs else ")")
            for name, card in self.cards.items()
        )
        return f"A network of {len(self.rows)} layers{gpus}, {self._numbers()}. {'. '.join(layers)}."

    def _legend(self) -> Iterator[tuple[str, str]]:
        """The class of each sample, and its text."""
        if len(self.gpus) < 2:
            return
        for gpu in self.gpus:
            load = self.checked.totals.gpus[gpu]
            text = f"GPU {gpu}: {load.parameters:,} parameters, {load.macs:,} multiply-adds an image"
            yield self._color(gpu), text
        if self.red:
            count = f"{len(self.red)} lines from one GPU to another" if len(self.red) > 1 else "a line between GPUs"
            yield "crossing", count + self._crossing_numbers()

    def _crossing_numbers(self) -> str:
        """How much crosses when the network trains, as `convspec plan` has it; nothing where it cannot be compiled."""
        if not self.crossings:
            return ""
        forward = round(sum(each.numbers_forward for each in self.crossings))
        back = round(sum(each.numbers_backward for each in self.crossings))
        return f": {forward:,} numbers an image forward, {'as many' if back == forward else f'{back:,}'} back"

    def _color(self, gpu: int) -> str:
        return f"g{self.gpus.index(gpu) % COLORS}"

    def _heading(self) -> Iterator[str]:
        y = _MARGIN + TITLE_SIZE * 0.8
        yield f'<text class="title" x="{number(_MARGIN)}" y="{number(y)}">{escape(self._title())}</text>'
        y += _LINE + 6
        yield f'<text class="legend" x="{number(_MARGIN)}" y="{number(y)}">{escape(self._numbers())}</text>'
        y += 4
        for sample, text in self.legend:
            y += _LINE
            if sample == "crossing":
                yield f'<path class="crossing" d="M{number(_MARGIN)} {number(y - 4)}h14"/>'
            else:
                yield f'<rect class="{sample}" x="{number(_MARGIN)}" y="{number(y - 9)}" width="14" height="10" rx="2"/>'
            yield f'<text class="legend" x="{number(_MARGIN + 22)}" y="{number(y)}">{escape(text)}</text>'

    def _bands(self) -> Iterator[str]:
        """A band behind the column of each GPU, with its name above."""
        for column in self.layout.columns:
            if column.gpu is not None:
                yield from self._band(column, self._color(column.gpu))

    def _band(self, column: Column, color: str) -> Iterator[str]:
        x, width = column.left - _BAND, column.right - column.left + 2 * _BAND
        top, height = -_BAND, self.layout.height + 2 * _BAND
        yield (
            f'<rect class="band {color}" x="{number(x)}" y="{number(top)}" width="{number(width)}" height="{number(height)}" rx="10"/>'
        )
        yield f'<text class="gpu {color}" x="{number(column.left - _BAND + 4)}" y="{number(top - 7)}">GPU {column.gpu}</text>'

    def _edges(self) -> Iterator[str]:
        """The lines, crossings last, so that no other lies over them."""
        crossings = set(self.red)
        for is_crossing in (False, True):
            for (source, target), points in self.layout.routes.items():
                if ((source, target) in crossings) is is_crossing:
                    yield self._edge(source, target, points, is_crossing=is_crossing)

    def _edge(self, source: str, target: str, points: Sequence[Point], *, is_crossing: bool) -> str:
        kind, head = ("crossing", "crossing-head") if is_crossing else ("line", "head")
        row = self.rows[_layer_of(source)]
        shape = self.cards[row.name].shape
        text = f"{row.name} to {target}: {shape}"
        if is_crossing:
            text += f", GPU {_listed(row.gpus)} to GPU {_listed(self.rows[target].gpus)}"
            own = [each for each in self.crossings if row.name in each.layers and target in each.readers]
            if own:
                text += f", {round(sum(each.numbers_forward for each in own)):,} numbers an image"
        path = f'<path class="{kind}" marker-end="url(#{head})" d="{_path(points)}">'
        return f"{path}<title>{escape(visible(text))}</title></path>"

    def _box(self, name: str, box: Box) -> Iterator[str]:
        card, row = self.cards[_layer_of(name)], self.rows[_layer_of(name)]
        kind = "box learns" if card.learns else "box" if row.inputs else "box source"
        yield f"<g><title>{escape(', '.join([card.name, card.shape, *card.notes]))}</title>"
        frame = f'x="{number(box.x)}" y="{number(box.y)}" width="{number(box.width)}" height="{number(box.height)}"'
        yield f'<rect class="{kind}" {frame} rx="{number(_RADIUS)}"/>'
        left, right = box.x + _PAD_X, box.x + box.width - _PAD_X
        if len(self.gpus) > 1:
            yield from self._bars(row.gpus, box)
        y = box.y + _PAD_Y + NAME_SIZE * 0.85
        yield f'<text class="name" x="{number(left)}" y="{number(y)}">{escape(card.name)}</text>'
        yield f'<text class="shape" x="{number(right)}" y="{number(y)}">{escape(card.shape)}</text>'
        for note in card.notes:
            y += _LINE
            yield f'<text class="note" x="{number(left)}" y="{number(y)}">{escape(note)}</text>'
        yield "</g>"

    def _bars(self, gpus: Sequence[int], box: Box) -> Iterator[str]:
        """A stripe at the left edge of a box, with a part for each of its GPUs."""
        top, height = box.y + _RADIUS, box.height - 2 * _RADIUS
        part = height / max(len(gpus), 1)
        for place, gpu in enumerate(gpus):
            frame = f'x="{number(box.x - 1)}" y="{number(top + place * part)}" width="{number(_BAR)}" height="{number(part)}"'
            yield f'<rect class="{self._color(gpu)}" {frame} rx="1"/>'


def _crosses(source: LayerSummary, target: LayerSummary) -> bool:
    """Whether a value must move between GPUs. Several GPUs of one layer share the images of a batch; data comes from
    outside to wherever it is read."""
    return bool(source.inputs) and set(source.gpus) != set(target.gpus)


def _crossings(checked: Checked) -> tuple[Crossing, ...]:
    """What crosses between GPUs in the program of a network; nothing where it has layers that cannot be compiled."""
    try:
        return between_gpus(program_for(checked, Target.SPMD))
    except DiagnosticError:
        return ()


def _listed(gpus: Sequence[int]) -> str:
    return ",".join(map(str, gpus))


def _path(points: Sequence[Point]) -> str:
    """Straight down between the points 2i and 2i+1, and a curve that begins and ends downwards from there to the next."""
    first = points[0]
    parts = [f"M{number(first.x)} {number(first.y)}"]
    for place, (start, end) in enumerate(pairwise(points)):
        if start == end:
            continue
        if place % 2 == 0 or start.x == end.x:
            parts.append(f"L{number(end.x)} {number(end.y)}")
        else:
            middle = number((start.y + end.y) / 2)
            parts.append(f"C{number(start.x)} {middle} {number(end.x)} {middle} {number(end.x)} {number(end.y)}")
    return "".join(parts)

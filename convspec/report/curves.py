"""Curves over a run: errors or losses against epochs, as Figure 1 of the paper draws them; as SVG.

Where everything stands is worked out once, in `Plot`, so that the PNG (`curve_picture`) shows the same picture. SVG without
scripts, fonts or links, in the colours of a light page, and of a dark one where the reader prefers it. The same curves give
the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from typing import NamedTuple

from convspec.diagnostics.visible import visible
from convspec.report.network_style import DARK, LIGHT
from convspec.report.svg import escape, number
from convspec.report.text_width import FONTS, text_width

WIDTH, HEIGHT = 720.0, 460.0
TITLE_SIZE, LABEL_SIZE = 16.0, 12.0
LARGEST = 1e12
"""Values beyond are left out."""
DASHES: tuple[tuple[float, ...], ...] = ((), (7, 4), (2, 3), (10, 3, 2, 3))
"""Solid, dashed and so on: the patterns of series in their order, in pixels of line and gap."""

_MARGIN = 20.0
_TICK = 5.0
_NARROWEST = 1e-9
_TICKS = 6
_SAMPLE = 34.0
_ROW = 18.0


@dataclass(frozen=True, slots=True)
class Series:
    """Curves of one name: one training, or the same with several seeds. They are drawn alike.

    lines: the points (x, y) of each, x rising.
    """

    label: str
    lines: Sequence[Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is to be drawn.

    level: a value of y that is marked by a dotted line, and its name. is_share: y is in [0, 1] and shown in percent.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    level: float | None = None
    is_share: bool = False


class Text(NamedTuple):
    """anchor: `start`, `middle` or `end` of the text is at x; y is its base line. turned: read from below."""

    x: float
    y: float
    text: str
    size: float = LABEL_SIZE
    anchor: str = "start"
    is_bold: bool = False
    is_turned: bool = False


class Stroke(NamedTuple):
    """A drawn line in pixels. color: number of its series; None for what belongs to the axes."""

    points: Sequence[tuple[float, float]]
    color: int | None
    dashes: tuple[float, ...] = ()
    width: float = 1.0


@dataclass(frozen=True)
class Plot:
    """A chart, laid out: strokes and texts in pixels, what is drawn first at the front."""

    chart: Chart
    width: float = WIDTH
    height: float = HEIGHT
    strokes: list[Stroke] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


class _Axis(NamedTuple):
    """Values low..high at pixels start..end."""

    low: float
    high: float
    step: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        count = round((self.high - self.low) / self.step)
        return [self.low + i * self.step for i in range(count + 1)]


def lay_out(chart: Chart) -> Plot:
    """Axes from 0, or from below the lowest value where that is negative, to a round number above the largest."""
    plot = Plot(chart)
    points = [point for series in chart.series for line in series.lines for point in line if _is_drawn(point)]
    ys = [y for _, y in points] + ([chart.level] if chart.level is not None else [])
    legend = max(text_width(visible(each.label), LABEL_SIZE) for each in chart.series) if chart.series else 0
    bottom = plot.height - _MARGIN - 2 * _ROW - _TICK
    y_axis = _axis(min([0.0, *ys]), max([*ys, 0.0]) or 1.0, bottom, _MARGIN + 2 * _ROW)
    y_texts = [_tick_text(tick, y_axis.step, is_share=chart.is_share) for tick in y_axis.ticks]
    left = _MARGIN + _ROW + max(text_width(text, LABEL_SIZE) for text in y_texts) + 2 * _TICK
    x_axis = _axis(0.0, max((x for x, _ in points), default=1.0) or 1.0, left, plot.width - _MARGIN, is_tight=True)
    _draw_axes(plot, x_axis, y_axis, y_texts)
    if chart.level is not None:
        y = y_axis.place(chart.level)
        plot.strokes.append(Stroke([(left, y), (x_axis.end, y)], None, (1, 3)))
    for place, series in enumerate(chart.series):
        dashes = DASHES[place % len(DASHES)]
        for line in series.lines:
            places = [(x_axis.place(x), y_axis.place(y)) for x, y in line if _is_drawn((x, y))]
            plot.strokes.append(Stroke(places, place, dashes, 2.0 if len(series.lines) == 1 else 1.3))
    _draw_legend(plot, x_axis.end - legend - _SAMPLE - 14, y_axis.end + 8)
    return plot


def draw_curves(chart: Chart) -> str:
    """The text of an SVG file."""
    return "".join(f"{line}\n" for line in _svg_lines(lay_out(chart)))


def _is_drawn(point: tuple[float, float]) -> bool:
    """Not where a value is no number, or one that would make a line of all others."""
    return all(abs(value) <= LARGEST for value in point)


def _axis(low: float, high: float, start: float, end: float, *, is_tight: bool = False) -> _Axis:
    """From a multiple of a round step to another. is_tight: the axis ends where the values do."""
    high = max(high, low + _NARROWEST)
    step = _round_step((high - low) / _TICKS)
    first, last = floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step
    return _Axis(first, high if is_tight else last, step, start, end)


def _round_step(least: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten, and at least `least`."""
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def _tick_text(value: float, step: float, *, is_share: bool) -> str:
    value, step = (100 * value, 100 * step) if is_share else (value, step)
    decimals = max(0, -floor(log10(step) + 1e-9)) + (round(step / 10.0 ** floor(log10(step) + 1e-9), 6) == 2.5)
    return f"{value + 0.0:,.{decimals}f}{'%' if is_share else ''}"


def _draw_axes(plot: Plot, x_axis: _Axis, y_axis: _Axis, y_texts: Sequence[str]) -> None:
    left, right, bottom, top = x_axis.start, x_axis.end, y_axis.start, y_axis.end
    chart = plot.chart
    for tick, text in zip(y_axis.ticks, y_texts, strict=True):
        y = y_axis.place(tick)
        plot.strokes.append(Stroke([(left - _TICK, y), (left, y)], None))
        plot.texts.append(Text(left - 2 * _TICK, y + LABEL_SIZE / 3, text, anchor="end"))
    for tick in x_axis.ticks:
        x = x_axis.place(tick)
        if x > right + 1:
            continue
        plot.strokes.append(Stroke([(x, bottom), (x, bottom + _TICK)], None))
        text = _tick_text(tick, x_axis.step, is_share=False)
        plot.texts.append(Text(x, bottom + _TICK + LABEL_SIZE + 2, text, anchor="middle"))
    plot.strokes.append(Stroke([(left, top), (left, bottom), (right, bottom)], None))
    plot.texts.append(Text((left + right) / 2, plot.height - _MARGIN, chart.x_label, anchor="middle"))
    plot.texts.append(Text(_MARGIN, (top + bottom) / 2, chart.y_label, anchor="middle", is_turned=True))
    plot.texts.append(Text(left, _MARGIN + TITLE_SIZE / 2, visible(chart.title), TITLE_SIZE, is_bold=True))


def _draw_legend(plot: Plot, left: float, top: float) -> None:
    for place, series in enumerate(plot.chart.series):
        y = top + place * _ROW
        dashes = DASHES[place % len(DASHES)]
        plot.strokes.append(Stroke([(left, y), (left + _SAMPLE, y)], place, dashes, 2.0))
        plot.texts.append(Text(left + _SAMPLE + 8, y + LABEL_SIZE / 3, visible(series.label)))


def _svg_lines(plot: Plot) -> Iterator[str]:
    chart = plot.chart
    size = f'width="{number(plot.width)}" height="{number(plot.height)}" viewBox="0 0 {number(plot.width)} {number(plot.height)}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="curves">'
    yield f'<title id="curves">{escape(visible(chart.title))}</title>'
    yield f"<style>\n{_style_sheet(len(chart.series))}\n</style>"
    yield f'<rect class="page" width="{number(plot.width)}" height="{number(plot.height)}"/>'
    for stroke in plot.strokes:
        kind = "axis" if stroke.color is None else f"c{stroke.color % len(LIGHT)}"
        dashes = f' stroke-dasharray="{" ".join(map(number, stroke.dashes))}"' if stroke.dashes else ""
        points = " ".join(f"{number(x)},{number(y)}" for x, y in stroke.points)
        yield f'<polyline class="{kind}" points="{points}" stroke-width="{number(stroke.width)}"{dashes}/>'
    for text in plot.texts:
        where = f'x="{number(text.x)}" y="{number(text.y)}" font-size="{number(text.size)}" text-anchor="{text.anchor}"'
        turn = f' transform="rotate(-90 {number(text.x)} {number(text.y)})"' if text.is_turned else ""
        bold = ' font-weight="bold"' if text.is_bold else ""
        yield f"<text {where}{bold}{turn}>{escape(text.text)}</text>"
    yield "</svg>"


def _style_sheet(series: int) -> str:
    def colors(table: Sequence[str]) -> str:
        return "\n".join(f".c{i}{{stroke:{color}}}" for i, color in enumerate(table[:series]))

    light = (
        f"text{{font-family:{FONTS};fill:#1c2733}}\n.page{{fill:#ffffff}}\npolyline{{fill:none;stroke-linejoin:round}}"
    )
    dark = "text{fill:#e3e9ef}\n.page{fill:#12171c}\n.axis{stroke:#a3b1bf}"
    axis = ".axis{stroke:#4b5a69}"
    parts = [light, axis, colors(LIGHT), "@media (prefers-color-scheme:dark){", dark, colors(DARK), "}"]
    return "\n".join(filter(None, parts))

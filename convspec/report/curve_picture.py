"""Curves as a picture of pixels: what `curves.draw_curves` gives as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import hypot

from PIL import Image, ImageDraw, ImageFont

from convspec.report.curves import Chart, Stroke, Text, lay_out
from convspec.report.network_style import LIGHT

_FINER = 3
"""Lines are drawn this much larger and reduced, which smooths them."""
_PAGE, _AXIS, _TEXT = "#ffffff", "#4b5a69", "#1c2733"

_Point = tuple[float, float]


def picture_of_curves(chart: Chart, scale: int = 2) -> Image.Image:
    """The picture in RGB, on white. scale: pixels of it to one of the SVG."""
    plot = lay_out(chart)
    size = round(plot.width * scale), round(plot.height * scale)
    large = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), _PAGE)
    draw = ImageDraw.Draw(large)
    for stroke in plot.strokes:
        _draw_stroke(draw, stroke, scale * _FINER)
    picture = large.resize(size, Image.Resampling.BOX)
    for text in plot.texts:
        _draw_text(picture, text, scale)
    return picture


def _draw_stroke(draw: ImageDraw.ImageDraw, stroke: Stroke, scale: int) -> None:
    color = _AXIS if stroke.color is None else LIGHT[stroke.color % len(LIGHT)]
    width = max(1, round(stroke.width * scale))
    for piece in _dashed(stroke.points, stroke.dashes):
        draw.line([(x * scale, y * scale) for x, y in piece], color, width, joint="curve")


def _dashed(points: Sequence[_Point], dashes: Sequence[float]) -> Iterator[list[_Point]]:
    """The pieces of a line that are drawn: lengths of line and gap in turn, in pixels along it."""
    if not dashes:
        if len(points) > 1:
            yield list(points)
        return
    number, left = 0, dashes[0]
    piece = list(points[:1])
    for (x0, y0), (x1, y1) in pairwise(points):
        length = hypot(x1 - x0, y1 - y0)
        done = 0.0
        while length - done > left:
            done += left
            border = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length)
            if number % 2 == 0:
                yield [*piece, border]
            piece = [border]
            number += 1
            left = dashes[number % len(dashes)]
        left -= length - done
        if number % 2 == 0:
            piece.append((x1, y1))
    if number % 2 == 0 and len(piece) > 1:
        yield piece


def _draw_text(picture: Image.Image, text: Text, scale: int) -> None:
    font = ImageFont.load_default(text.size * scale)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
    stroke = scale // 2 if text.is_bold else 0
    if not text.is_turned:
        place = text.x * scale, text.y * scale
        ImageDraw.Draw(picture).text(place, text.text, _TEXT, font, anchor, stroke_width=stroke)
        return
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text.text, anchor="ls"))
    label = Image.new("RGB", (right - left, bottom - top), _PAGE)
    ImageDraw.Draw(label).text((-left, -top), text.text, _TEXT, font, "ls")
    label = label.transpose(Image.Transpose.ROTATE_90)
    # the base line of the text, now upright, comes to x
    picture.paste(label, (round(text.x * scale + top), round(text.y * scale - label.height / 2)))

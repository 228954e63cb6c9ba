"""A contact sheet: a row of pictures for each class, with its name and how many it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from convspec.report.letters import draw_text
from convspec.report.panels import Pixels, paste_fitted

SIDE = 96
"""Pixels a side that a picture has in a sheet."""

COLUMNS = 8

_GAP = 6
_MARGIN = 16
_NAMES = 190
_LINE = 20
_PAPER, _INK, _FAINT, _PLACE = "#ffffff", "#1c2733", "#5b6b7a", "#e8ecef"


@dataclass(frozen=True, slots=True)
class Row:
    """name: of a class. count: its pictures. pictures: some of them, uint8 (H, W, 1 or 3); None for one that is broken."""

    name: str
    count: int
    pictures: Sequence[Pixels | None]


def draw_sheet(title: str, rows: Sequence[Row]) -> Image.Image:
    """At most `COLUMNS` pictures a row, on white. The place of a broken one stays grey."""
    width = 2 * _MARGIN + _NAMES + COLUMNS * (SIDE + _GAP) - _GAP
    top = 2 * _MARGIN + _LINE
    sheet = Image.new("RGB", (width, top + len(rows) * (SIDE + _GAP) - _GAP + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    place = (_MARGIN, _MARGIN + _LINE / 2)
    draw_text(draw, place, title, size=16, color=_INK, width=width - 2 * _MARGIN, anchor="lm")
    for number, row in enumerate(rows):
        _draw_row(sheet, row, top + number * (SIDE + _GAP))
    return sheet


def _draw_row(sheet: Image.Image, row: Row, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    middle = top + SIDE / 2
    width = _NAMES - _MARGIN
    draw_text(draw, (_MARGIN, middle - _LINE / 2), row.name, size=14, color=_INK, width=width, anchor="lm")
    count = f"{row.count:,}" if row.count else "none"
    draw_text(draw, (_MARGIN, middle + _LINE / 2), count, size=12, color=_FAINT, width=width, anchor="lm")
    for column, picture in enumerate(row.pictures[:COLUMNS]):
        left = _MARGIN + _NAMES + column * (SIDE + _GAP)
        if picture is None:
            draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), fill=_PLACE)
        else:
            paste_fitted(sheet, picture, left, top, SIDE)

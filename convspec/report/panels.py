"""The panels of Figure 4 of the paper: pictures with their five likeliest classes, and pictures with their nearest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convspec.report.letters import draw_text

Pixels = NDArray[np.uint8]

SIDE = 160
"""Pixels a side that a picture has in a panel."""

MOST_DRAWN = 64
"""Pictures, or rows of them, that a panel has at most."""

MOST_BARS, MOST_FOUND = 20, 20
"""Guesses below a picture, and pictures beside a query, that a panel has at most."""

_COLUMNS = 4
_GAP = 16
_BAR, _BAR_GAP = 20, 3
_LABEL = 22
_TEXT = 13
_PAPER, _INK, _FRAME = "#ffffff", "#1c2733", "#8795a3"
# A right guess is red and any other one blue, as in the paper; and the right one has a frame as well, for those who do
# not see red and blue as others do. Light, so that words can be read on them.
RIGHT, OTHER = "#f48b94", "#9cc3ea"
_RIGHT_FRAME = "#b3122a"
_NARROWEST = 2
# Pictures that are shown this many times as large as they are keep the edges of their pixels.
_BLOCKY = 4


@dataclass(frozen=True, slots=True)
class Guess:
    """A class, how probable it is, in [0, 1], and whether it is the true one."""

    name: str
    probability: float
    is_right: bool = False


@dataclass(frozen=True, slots=True)
class Guessed:
    """picture: uint8 (H, W, 1 or 3). label: its true class, None where it is not known. guesses: likeliest first."""

    picture: Pixels
    label: str | None
    guesses: Sequence[Guess]


@dataclass(frozen=True, slots=True)
class Found:
    """A picture as in `Guessed`. caption: what stands below it."""

    picture: Pixels
    caption: str
    is_alike: bool = False
    """Whether it is of the same class as what it was found for."""


def draw_guesses(cells: Sequence[Guessed]) -> Image.Image:
    """Figure 4, left: pictures side by side, the true label beneath, and a bar for each guess; the right one in `RIGHT`.

    The width of a bar is its probability; the narrowest can just be seen.
    """
    lines = max(len(cell.guesses) for cell in cells)
    columns = min(_COLUMNS, len(cells))
    height = SIDE + _LABEL + lines * (_BAR + _BAR_GAP)
    panel = _panel(columns, -(-len(cells) // columns), height)
    for i, cell in enumerate(cells):
        row, column = divmod(i, columns)
        _draw_guessed(panel, cell, _GAP + column * (SIDE + _GAP), _GAP + row * (height + _GAP))
    return panel


def draw_neighbours(rows: Sequence[tuple[Found, Sequence[Found]]]) -> Image.Image:
    """Figure 4, right: a row a query, the query first and then what is nearest to it, with captions beneath.

    The caption of one of the same class is in red, and its picture framed.
    """
    columns = 1 + max(len(nearest) for _, nearest in rows)
    height = SIDE + _LABEL
    panel = _panel(columns, len(rows), height, after_first=_GAP)
    line = _GAP + SIDE + _GAP
    ImageDraw.Draw(panel).line([(line, _GAP), (line, panel.height - _GAP)], fill=_FRAME)
    for row, (query, nearest) in enumerate(rows):
        top = _GAP + row * (height + _GAP)
        for column, found in enumerate([query, *nearest]):
            _draw_found(panel, found, _GAP + column * (SIDE + _GAP) + (_GAP if column else 0), top)
    return panel


def nothing() -> Pixels:
    """A grey square, in the place of a picture that is not there."""
    return np.full((SIDE, SIDE, 1), 208, np.uint8)


def _panel(columns: int, rows: int, height: int, *, after_first: int = 0) -> Image.Image:
    """White paper for cells that are `SIDE` wide, with gaps between and around them."""
    width = _GAP + columns * (SIDE + _GAP) + after_first
    return Image.new("RGB", (width, _GAP + rows * (height + _GAP)), _PAPER)


def _draw_guessed(panel: Image.Image, cell: Guessed, left: int, top: int) -> None:
    draw = ImageDraw.Draw(panel)
    paste_fitted(panel, cell.picture, left, top, SIDE)
    if cell.label is not None:
        middle = (left + SIDE / 2, top + SIDE + _LABEL / 2)
        draw_text(draw, middle, cell.label, size=_TEXT, color=_INK, width=SIDE, anchor="mm")
    for i, guess in enumerate(cell.guesses):
        above = top + SIDE + _LABEL + i * (_BAR + _BAR_GAP)
        length = max(_NARROWEST, round(min(1.0, max(0.0, guess.probability)) * SIDE))
        draw.rectangle(
            (left, above, left + length - 1, above + _BAR - 1),
            fill=RIGHT if guess.is_right else OTHER,
            outline=_RIGHT_FRAME if guess.is_right else None,
        )
        place = (left + 5, above + _BAR / 2)
        draw_text(draw, place, guess.name, size=_TEXT, color=_INK, width=SIDE - 10, anchor="lm")


def _draw_found(panel: Image.Image, found: Found, left: int, top: int) -> None:
    paste_fitted(panel, found.picture, left, top, SIDE)
    draw = ImageDraw.Draw(panel)
    color = _RIGHT_FRAME if found.is_alike else _INK
    if found.is_alike:
        draw.rectangle((left - 2, top - 2, left + SIDE + 1, top + SIDE + 1), outline=_RIGHT_FRAME, width=2)
    middle = (left + SIDE / 2, top + SIDE + _LABEL / 2)
    draw_text(draw, middle, found.caption, size=_TEXT, color=color, width=SIDE, anchor="mm")


def paste_fitted(panel: Image.Image, picture: Pixels, left: int, top: int, side: int) -> None:
    """The whole picture, as large as fits, in the middle of its square. Small ones keep their pixels' edges."""
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).convert("RGB")
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    resampling = Image.Resampling.NEAREST if scale > _BLOCKY else Image.Resampling.BICUBIC
    if size != image.size:
        image = image.resize(size, resampling)
    panel.paste(image, (left + (side - size[0]) // 2, top + (side - size[1]) // 2))

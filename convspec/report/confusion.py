"""A confusion of classes as a picture: a row a class, a column for each class that it was taken for, darker for more."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.confusion import Confusion

MOST_CLASSES = 4096
"""A picture with more rows than this would take more than 64 MiB."""

NAMED_CLASSES = 64
"""With more classes than this, names would not fit beside their rows."""

_SIDE = 960
_LARGEST_CELL = 28
_LIGHT, _DARK = np.array([255.0, 255.0, 255.0]), np.array([8.0, 48.0, 107.0])
_INK = (40, 40, 40)
_GAP = 6


def check_drawable(classes: int) -> None:
    """Raises DiagnosticError CS740 for more classes than a picture takes."""
    if classes > MOST_CLASSES:
        message = f"{classes:,} classes are too many for a picture, which takes {MOST_CLASSES:,}"
        raise DiagnosticError(Diagnostic("CS740", message, help="write a table: --confusion FILE.csv"))


def draw_confusion(confusion: Confusion) -> Image.Image:
    """Each row is scaled to the pictures of its class. Names stand beside up to `NAMED_CLASSES` classes."""
    counts = np.stack(list(confusion.rows()))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1e-12)
    cell = max(1, min(_LARGEST_CELL, _SIDE // len(shares)))
    pixels = (_LIGHT + shares[..., None] * (_DARK - _LIGHT)).round().astype(np.uint8)
    matrix = Image.fromarray(pixels.repeat(cell, 0).repeat(cell, 1))
    if len(shares) > NAMED_CLASSES:
        return matrix
    return _with_names(matrix, confusion.classes, cell)


def _with_names(matrix: Image.Image, classes: tuple[str, ...], cell: int) -> Image.Image:
    font = ImageFont.load_default(max(9, min(14, cell - 4)))
    names = [_name(text, font) for text in classes]
    margin = max(name.width for name in names) + 2 * _GAP
    picture = Image.new("RGB", (margin + matrix.width + 1, margin + matrix.height + 1), "white")
    picture.paste(matrix, (margin, margin))
    for i, name in enumerate(names):
        middle = margin + i * cell + cell // 2
        picture.paste(name, (margin - _GAP - name.width, middle - name.height // 2))
        upright = name.rotate(90, expand=True)
        picture.paste(upright, (middle - upright.width // 2, margin - _GAP - upright.height))
    frame = (margin - 1, margin - 1, margin + matrix.width, margin + matrix.height)
    ImageDraw.Draw(picture).rectangle(frame, outline=_INK)
    return picture


def _name(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    """The name of a class, dark on white."""
    shown = text if len(text) <= 24 else f"{text[:23]}\N{HORIZONTAL ELLIPSIS}"
    left, top, right, bottom = font.getbbox(shown)
    image = Image.new("RGB", (max(1, round(right - left)), max(1, round(bottom - top))), "white")
    ImageDraw.Draw(image).text((-left, -top), shown, fill=_INK, font=font)
    return image

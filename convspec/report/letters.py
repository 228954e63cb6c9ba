"""Text in pictures of pixels, in the font that comes with Pillow: the same words give the same pixels everywhere.

That font has the letters of ASCII. A text with others is drawn in the font of the machine that lacks the fewest of
them, or in ours without accents, whichever is better; what is missing then shows as an empty box.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from PIL import ImageDraw, ImageFont

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.diagnostics.visible import visible

Font = ImageFont.FreeTypeFont

# Looked for in the font folders of the system, by what Linux, macOS and Windows call them.
_FONTS_OF_MACHINES = (
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
    "msgothic.ttc",
    "malgun.ttf",
)
_DOTS = "..."
_NO_CHARACTER = "\U0010ffff"


def draw_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    *,
    size: int,
    color: str,
    width: float,
    anchor: str,
) -> None:
    """Write one line, shortened to `width` pixels. anchor: Pillow's, "lm" or "mm": what of the text lies at `place`."""
    text, font = _drawable(visible(text), size)
    draw.text(place, _fitted(text, font, width), fill=color, font=font, anchor=anchor)


def _drawable(text: str, size: int) -> tuple[str, Font]:
    """The text, or what of it can be drawn, and a font for it."""
    bundled = _bundled(size)
    if text.isascii():
        return text, bundled
    letters = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    others = [(text, font) for name in _FONTS_OF_MACHINES if (font := _of_machine(name, size)) is not None]
    return min([*others, (plain, bundled)], key=lambda pair: _count_missing(*pair))


@cache
def _bundled(size: int) -> Font:
    try:
        font = ImageFont.load_default(size)
    except ImportError:
        font = None
    if not isinstance(font, Font):
        message = "pictures with text need FreeType, which this Pillow was built without"
        raise DiagnosticError(Diagnostic("CS801", message, help="type: pip install --force-reinstall pillow"))
    return font


@cache
def _of_machine(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _count_missing(text: str, font: Font) -> int:
    box = bytes(font.getmask(_NO_CHARACTER))
    return sum(bytes(font.getmask(letter)) == box for letter in text if not letter.isspace())


def _fitted(text: str, font: Font, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + _DOTS) <= width else (low, middle - 1)
    return text[:low].rstrip() + _DOTS

"""How wide a text is in Helvetica and in what stands in for it (Arial, Liberation Sans): their widths are the same.

A picture is drawn without asking the machine that will show it for its fonts. Thousandths of the font size, from the
tables of the standard fonts of PDF.
"""

from __future__ import annotations

import unicodedata

FONTS = "Helvetica, Arial, 'Liberation Sans', sans-serif"
_FIRST = 32
# fmt: off
_REGULAR = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556,
    556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)
_BOLD = (
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611, 556, 333, 611,
    611, 278, 278, 556, 278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
)
# fmt: on
# Of letters outside ASCII: those of East Asia fill a square, accents over a letter nothing, all others are taken as wide.
_WIDE = 1000
_OTHER = 722
# A viewer without any of these fonts shows another one, a little wider as a rule.
_SPARE = 1.04


def text_width(text: str, size: float, *, is_bold: bool = False) -> float:
    """Pixels that a text of a font size, in pixels, needs at most."""
    table = _BOLD if is_bold else _REGULAR
    return sum(_width(character, table) for character in text) * size / 1000 * _SPARE


def _width(character: str, table: tuple[int, ...]) -> int:
    place = ord(character) - _FIRST
    if 0 <= place < len(table):
        return table[place]
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return _WIDE if unicodedata.east_asian_width(character) in ("W", "F") else _OTHER

"""Colours of a terminal: what each thing is written in, and whether a stream is to have any."""

from __future__ import annotations

import os
from enum import Enum
from typing import Protocol


class Style(Enum):
    """Colours and weights by what they are for (ECMA-48)."""

    ERROR = "1;31"
    WARNING = "1;33"
    NOTE = "1;36"
    STRONG = "1"
    GUTTER = "1;34"
    LABEL = "34"
    ADDED = "32"
    REMOVED = "31"
    CHANGED = "33"
    PLACE = "36"


class Stream(Protocol):
    def isatty(self) -> bool: ...


def painted(text: str, style: Style, *, color: bool) -> str:
    """The text in a style; as it is without colour, or where there is nothing to see."""
    return f"\x1b[{style.value}m{text}\x1b[0m" if color and text else text


def wants_color(stream: Stream) -> bool:
    """Whether to write colours to a stream: never under NO_COLOR, always under FORCE_COLOR, else on a terminal.

    An environment variable that is empty counts as absent (no-color.org).
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"

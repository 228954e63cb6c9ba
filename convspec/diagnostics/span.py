"""Places in source text: a half-open range of characters in one file."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import cached_property
from typing import NamedTuple


class SourceFile:
    """A text and the name it goes by in messages: a path as the user typed it, or `<string>`.

    encoding: of the bytes of the file, for who writes it again.
    """

    def __init__(self, name: str, text: str, encoding: str = "utf-8") -> None:
        self.name = name
        self.text = text
        self.encoding = encoding
        # asked for again and again where much is wrong in one line, which may be long
        self._last_line = 0, ""

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        find = self.text.find
        while (newline := find("\n", starts[-1])) >= 0:
            starts.append(newline + 1)
        return starts

    @cached_property
    def _headers(self) -> list[int]:
        """The numbers of the lines that start with a bracket."""
        return [number for number, start in enumerate(self._line_starts, 1) if self.text.startswith("[", start)]

    def header_above(self, number: int) -> int | None:
        """The nearest line above one that starts with a bracket; None if this line itself does, or none."""
        above = bisect_left(self._headers, number)
        is_header = self._headers[above : above + 1] == [number]
        return None if is_header or not above else self._headers[above - 1]

    def locate(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both from 1."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line_start(self, number: int) -> int:
        """The first character of a line, numbered from 1."""
        return self._line_starts[number - 1]

    def line(self, number: int) -> str:
        """Text of a line, numbered from 1, without its end."""
        if self._last_line[0] != number:
            start = self._line_starts[number - 1]
            end = self.text.find("\n", start)
            self._last_line = number, self.text[start : end if end >= 0 else None].rstrip("\r")
        return self._last_line[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceFile) and (self.name, self.text) == (other.name, other.text)

    def __hash__(self) -> int:
        return hash((self.name, len(self.text)))

    def __repr__(self) -> str:
        return f"SourceFile({self.name!r}, {len(self.text)} characters)"


class Span(NamedTuple):
    """Characters `start` to `end` of `file`; empty where something is missing."""

    file: SourceFile
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.file.locate(self.start)[0]

    @property
    def line_start(self) -> tuple[str, int]:
        """Its file and line, to compare."""
        return self.file.name, self.line

    @property
    def column(self) -> int:
        return self.file.locate(self.start)[1]

    @property
    def end_line(self) -> int:
        return self.file.locate(self.end)[0]

    @property
    def end_column(self) -> int:
        """Column just after the last character."""
        return self.file.locate(self.end)[1]

    @property
    def text(self) -> str:
        return self.file.text[self.start : self.end]

    def within(self, start: int, end: int) -> Span:
        """The characters `start` to `end` of this span."""
        return Span(self.file, self.start + start, self.start + end)

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}:{self.column}"

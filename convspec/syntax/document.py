"""A layer or parameter file as it was written: sections and lines with their spans, and nothing thrown away.

`Document.text()` gives back the very characters that were parsed, comments and layout included, so that tools can
change one value and leave the rest of a file alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from convspec.diagnostics import SourceFile, Span


class TriviaKind(Enum):
    BLANK = "blank"
    COMMENT = "comment"
    JUNK = "junk"


class Trivia(NamedTuple):
    """A line that says nothing to the compiler; junk has been reported by the parser."""

    kind: TriviaKind
    text: str


class Piece(NamedTuple):
    """Characters `start` to `end` of a value that was put together, and the text that they came from."""

    start: int
    end: int
    span: Span


class Fault(NamedTuple):
    """What is wrong with a value before anyone reads it: the characters `start` to `end`, and what to say of them."""

    start: int
    end: int
    message: str
    help: str


class Entry(NamedTuple):
    """`key=value`.

    key: in lower case, as the originals compare it. written_key: as it stands in the file.
    value: without blanks around it and without a ` ;` comment; continuation lines are joined by newlines.
    text: the whole of it, line ends and continuation lines included.
    pieces: of a value that stands like this in no file, where its parts come from; else empty.
    fault: a reference that leads nowhere; a mistake only where the key is read.
    """

    key: str
    written_key: str
    value: str
    text: str
    key_span: Span
    value_span: Span
    pieces: tuple[Piece, ...] = ()
    fault: Fault | None = None

    def part(self, start: int, end: int) -> Span:
        """Where the characters `start` to `end` of the value stand in the file."""
        if self.pieces:
            return self._part_of_pieces(start, end)
        written = self.value_span.text
        if written == self.value:
            return self.value_span.within(start, end)
        # Continuation lines: each line of the value stands on its own line of the file, with blanks around it.
        value_start = text_start = 0
        for line in self.value.split("\n"):
            text_start = written.index(line, text_start)
            if start <= value_start + len(line):
                break
            value_start += len(line) + 1
            text_start += len(line)
        end = min(end, value_start + len(line))
        return self.value_span.within(text_start + start - value_start, text_start + end - value_start)

    def _part_of_pieces(self, start: int, end: int) -> Span:
        """As exactly as can be said: within one piece that is as it was written, that piece, or all of the value."""
        for piece in self.pieces:
            if piece.start <= start and end <= piece.end and piece.start < piece.end:
                is_as_written = piece.span.text == self.value[piece.start : piece.end]
                return piece.span.within(start - piece.start, end - piece.start) if is_as_written else piece.span
        return self.value_span


Line = Entry | Trivia


class Section(NamedTuple):
    """A header and the lines below it. `name_span` is the name between the brackets."""

    name: str
    header_text: str
    lines: tuple[Line, ...]
    name_span: Span

    @property
    def entries(self) -> Iterator[Entry]:
        return (line for line in self.lines if isinstance(line, Entry))

    @property
    def unreadable_words(self) -> frozenset[str]:
        """The first word of each line of junk, in lower case."""
        junk = (line.text for line in self.lines if isinstance(line, Trivia) and line.kind is TriviaKind.JUNK)
        return frozenset(words[0] for text in junk if (words := text.lower().replace("=", " ").split(maxsplit=1)))

    @property
    def span(self) -> Span:
        """The header from bracket to bracket, of which one may be missing."""
        file, start, end = self.name_span
        return Span(file, start - (file.text[start - 1 : start] == "["), end + (file.text[end : end + 1] == "]"))


class Document(NamedTuple):
    """prologue: the lines before the first section. has_mark: whether a byte order mark stood before everything."""

    file: SourceFile
    prologue: tuple[Line, ...]
    sections: tuple[Section, ...]
    has_mark: bool = False

    def text(self) -> str:
        """The characters of the file."""
        parts = [line.text for line in self.prologue]
        for section in self.sections:
            parts.append(section.header_text)
            parts.extend(line.text for line in section.lines)
        return "".join(parts)

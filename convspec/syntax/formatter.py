"""The layout that `convspec fmt` gives a file: what it says and its comments stay, blanks and line ends become one way.

`key=value` without blanks around the sign, one blank line between sections, at most one inside them, a line end at the
end of the file. A comment right above a section header belongs to it and stays there. Formatting twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from convspec.syntax.document import Document, Entry, Line, Trivia, TriviaKind

# What the grammar takes for blank; control characters beside them are text that nobody meant, and stay for a person to see.
_BLANKS = " \t\r\n\f\v"


def format_document(document: Document) -> str:
    """Text of the document in the one layout; it parses to an equal network."""
    parts = [("", document.prologue), *((section.header_text, section.lines) for section in document.sections)]
    blocks = []
    above: list[str] = []
    for position, (header, lines) in enumerate(parts, start=1):
        body, below = _split_heading(lines) if position < len(parts) else ([*map(_text, lines)], [])
        blocks.append("\n".join(_without_outer_blanks([*above, header.rstrip(), *body])))
        above = below
    text = "\n\n".join(block for block in blocks if block)
    return f"{text}\n" if text else ""


def _split_heading(lines: Sequence[Line]) -> tuple[list[str], list[str]]:
    """Lines of a section as text, and the comments at its end that no blank line parts from the next header."""
    end = len(lines)
    while end and isinstance(line := lines[end - 1], Trivia) and line.kind is TriviaKind.COMMENT:
        end -= 1
    return [_text(line) for line in lines[:end]], [_text(line) for line in lines[end:]]


def _without_outer_blanks(texts: Sequence[str]) -> list[str]:
    """The lines with runs of blank ones as one, and none at either end."""
    kept = [text for i, text in enumerate(texts) if text or (i and texts[i - 1])]
    while kept and not kept[-1]:
        kept.pop()
    while kept and not kept[0]:
        kept.pop(0)
    return kept


def _text(line: Line) -> str:
    match line:
        case Entry():
            return _entry(line)
        case Trivia(kind=TriviaKind.BLANK):
            return ""
        case Trivia(text=text):
            return text.rstrip(_BLANKS)


def _entry(entry: Entry) -> str:
    """`key=value`, its ` ;` comment and its continuation lines."""
    first, *rest = entry.text.rstrip().split("\n")
    value = entry.value.split("\n")[0]
    separator = min(i for i in map(first.find, "=:") if i >= 0)
    tail = first[separator + 1 :].strip().removeprefix(value).strip()
    head = f"{entry.written_key}={value}" + (f" {tail}" if tail else "")
    return "\n".join([head, *(_continuation(line) for line in rest)])


def _continuation(line: str) -> str:
    return f"    {line.strip()}" if line[:1].isspace() and line.strip() else line.rstrip()

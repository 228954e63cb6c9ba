"""Diagnostics as text: with their source lines for people, one a line for editors, as data for programs.

A renderer is a function from diagnostics to text, and `render` chooses it; those that most runs do not need are modules
of their own. Nothing is read from disk: spans carry their files.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from convspec.diagnostics.diagnostic import Diagnostic, Label, Severity
from convspec.diagnostics.origin import Origin
from convspec.diagnostics.span import SourceFile, Span
from convspec.diagnostics.style import Style, painted
from convspec.diagnostics.visible import escape, is_harmful, visible

# A line longer than this is cut to so many characters, a third of them before the place of interest.
_LONGEST_LINE = 120
_TAB = 4
_NOWHERE = Origin()

_Paint = Callable[[str, Style], str]


class Format(Enum):
    FULL = "full"
    CONCISE = "concise"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def render(diagnostics: Iterable[Diagnostic], format: Format, *, color: bool = False, origin: Origin = _NOWHERE) -> str:
    """The diagnostics in their order, with a line end behind the last; empty text for none (JSON and SARIF: data).

    color: whether FULL and CONCISE have terminal colours. origin: what SARIF and GITHUB say of the run.
    """
    paint = partial(painted, color=color)
    match format:
        case Format.FULL:
            return "\n".join(_full(diagnostic, paint) for diagnostic in diagnostics)
        case Format.CONCISE:
            return "".join(f"{_concise(diagnostic, paint)}\n" for diagnostic in diagnostics)
        case Format.JSON:
            import json

            return json.dumps([diagnostic_as_data(diagnostic) for diagnostic in diagnostics], indent=2) + "\n"
        case Format.SARIF:
            import json

            from convspec.diagnostics.sarif import sarif_log

            return json.dumps(sarif_log(list(diagnostics), origin), indent=2) + "\n"
        case Format.GITHUB:
            from convspec.diagnostics.github import workflow_command

            return "".join(f"{workflow_command(diagnostic, origin)}\n" for diagnostic in diagnostics)


def summary_line(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`; `no errors` where there is nothing to count."""
    found = [diagnostic.severity for diagnostic in diagnostics]
    counts = ((found.count(severity), severity.value) for severity in Severity)
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count) or "no errors"


def diagnostic_as_data(diagnostic: Diagnostic) -> dict[str, Any]:
    """What JSON says of a diagnostic: a contract, to which fields may be added.

    Lines and columns count characters from 1, `end_column` is the one behind the last character; `file` and the four
    numbers are None where no text is wrong.
    """
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        **_place(diagnostic.span),
        "labels": [{"message": label.text, **_place(label.span)} for label in diagnostic.labels],
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
    }


def _place(span: Span | None) -> Mapping[str, str | int | None]:
    if span is None:
        return dict.fromkeys(("file", "line", "column", "end_line", "end_column"))
    line, column = span.file.locate(span.start)
    end_line, end_column = span.file.locate(span.end)
    return {"file": span.file.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column}


class _Mark(NamedTuple):
    """Characters `start` to `end` of a line to underline, and what to say of them. `end` is above `start`."""

    start: int
    end: int
    text: str
    is_primary: bool


def _concise(diagnostic: Diagnostic, paint: _Paint) -> str:
    place = "" if diagnostic.span is None else f"{visible(str(diagnostic.span))}: "
    return f"{place}{_title(diagnostic, paint)}"


def _title(diagnostic: Diagnostic, paint: _Paint) -> str:
    head = paint(f"{diagnostic.severity.value}[{diagnostic.code}]", Style[diagnostic.severity.name])
    return f"{head}: {paint(visible(diagnostic.message), Style.STRONG)}"


def _full(diagnostic: Diagnostic, paint: _Paint) -> str:
    """Header, source lines, notes and help; each line with its end."""
    files = _marked_files(diagnostic)
    numbers = {file: _shown_lines(file, marks) for file, marks in files.items()}
    width = max((len(str(number)) for shown in numbers.values() for number in shown), default=1)
    margin = " " * (width + 1)
    rows = [_title(diagnostic, paint)]
    for file, marks in files.items():
        rows.append(f"{' ' * width}{paint('-->', Style.GUTTER)} {_first_place(file, diagnostic)}")
        rows.append(f"{margin}{paint('|', Style.GUTTER)}")
        for number in numbers[file]:
            for text, underlines in _excerpts(file.line(number), marks.get(number, [])):
                gutter = paint(f"{number:>{width}} |", Style.GUTTER)
                rows.append(f"{gutter} {text}".rstrip() if text else gutter)
                rows += [
                    f"{margin}{paint('|', Style.GUTTER)} {_underline(mark, diagnostic, paint)}" for mark in underlines
                ]
    asides = [("note", note) for note in diagnostic.notes]
    asides += [("help", diagnostic.help)] if diagnostic.help is not None else []
    rows += [_aside(margin, kind, text, paint) for kind, text in asides]
    return "".join(f"{row}\n" for row in rows)


def _aside(margin: str, kind: str, text: str, paint: _Paint) -> str:
    """`= help: ...`; further lines of the text stand under the first."""
    below = "\n" + margin + " " * len(f"= {kind}: ")
    lines = below.join(visible(line) for line in text.splitlines())
    return f"{margin}{paint('=', Style.GUTTER)} {paint(kind, Style.STRONG)}: {lines}"


def _marked_files(diagnostic: Diagnostic) -> dict[SourceFile, dict[int, list[_Mark]]]:
    """The marks by file and line; the file of the primary span comes first, and its mark is the first of its line."""
    primary = [] if diagnostic.span is None else [Label(diagnostic.span, "")]
    files: dict[SourceFile, dict[int, list[_Mark]]] = {}
    for index, label in enumerate([*primary, *diagnostic.labels]):
        line, mark = _mark(label, is_primary=index < len(primary))
        files.setdefault(label.span.file, {}).setdefault(line, []).append(mark)
    return files


def _mark(label: Label, *, is_primary: bool) -> tuple[int, _Mark]:
    """The line of a label and the mark on it; of a span of several lines, what stands on its first one."""
    line, column = label.span.file.locate(label.span.start)
    start = column - 1
    line_length = len(label.span.file.line(line))
    end = min(start + label.span.end - label.span.start, line_length)
    return line, _Mark(start, max(end, start + 1), label.text, is_primary)


def _shown_lines(file: SourceFile, marks: Iterable[int]) -> list[int]:
    """The marked lines, and above each the header of its section."""
    shown = {header for number in marks if (header := file.header_above(number)) is not None}
    return sorted(shown.union(marks))


def _first_place(file: SourceFile, diagnostic: Diagnostic) -> str:
    spans = [diagnostic.span, *(label.span for label in diagnostic.labels)]
    return visible(str(next(span for span in spans if span is not None and span.file == file)))


def _excerpts(line: str, marks: Sequence[_Mark]) -> list[tuple[str, list[_Mark]]]:
    """What to print of a line, with its marks counted in terminal cells.

    It is once the whole line, or, of one too long, the surroundings of each mark.
    """
    if len(line) <= _LONGEST_LINE:
        return [_in_cells(line, 0, marks)]
    if not marks:
        return [_in_cells(line, 0, [])]
    excerpts: list[tuple[str, list[_Mark]]] = []
    waiting = list(marks)
    while waiting:
        first = max(0, waiting[0].start - _LONGEST_LINE // 3)
        last = first + _LONGEST_LINE
        inside = [mark for mark in waiting if mark is waiting[0] or (first <= mark.start and mark.end <= last)]
        excerpts.append(_in_cells(line, first, inside))
        waiting = [mark for mark in waiting if mark not in inside]
    return excerpts


def _in_cells(line: str, first: int, marks: Sequence[_Mark]) -> tuple[str, list[_Mark]]:
    """`_LONGEST_LINE` characters of a line from `first` on, as a terminal shows them, and the marks on it."""
    last = min(len(line), first + _LONGEST_LINE)
    before, after = "..." if first else "", "..." if last < len(line) else ""
    text, edges = before, [len(before)]
    for character in line[first:last]:
        shown, width = _cell(character, edges[-1] - len(before))
        text += shown
        edges.append(edges[-1] + width)
    starts = [edges[mark.start - first] for mark in marks]
    ends = [edges[min(mark.end, last) - first] for mark in marks]
    moved = [
        mark._replace(start=start, end=max(end, start + 1))
        for mark, start, end in zip(marks, starts, ends, strict=True)
    ]
    return text + after, moved


def _underline(mark: _Mark, diagnostic: Diagnostic, paint: _Paint) -> str:
    line = ("^" if mark.is_primary else "-") * (mark.end - mark.start)
    text = f"{line} {visible(mark.text)}" if mark.text else line
    return " " * mark.start + paint(text, Style[diagnostic.severity.name] if mark.is_primary else Style.LABEL)


def _cell(character: str, column: int) -> tuple[str, int]:
    """What a terminal is given for a character at a column, and how many cells that fills."""
    if " " <= character <= "~":
        return character, 1
    if character == "\t":
        width = _TAB - column % _TAB
        return " " * width, width
    if is_harmful(character):
        shown = escape(character)
        return shown, len(shown)
    if unicodedata.category(character) in ("Mn", "Me"):
        return character, 0
    return character, 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1

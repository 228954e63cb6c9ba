"""Text to Document: `grammars/structure.lark` and what is reported on the way.

The grammar is total: every text has exactly one parse, so one run reports every mistake of a file. A token is a whole
line, because lexing is most of the time of a parse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import cast

from lark import Lark, Token

from convspec.diagnostics import Diagnostic, DiagnosticError, Report, SourceFile, Span, closest
from convspec.resources import spec_names
from convspec.syntax.document import Document, Entry, Line, Section, Trivia, TriviaKind
from convspec.syntax.tables import load_parser

MAXIMUM_BYTES = 256 * 2**20
_MOST_NAMED = 5
_SEPARATOR = re.compile("[:=]")
_COMMENT = re.compile(r"(?:^|(?<=\s));")
_BYTE_ORDER_MARK = "\ufeff"


def read_source(path: str) -> SourceFile:
    """The text of a file: UTF-8, or Latin-1 where it is not that. Raises DiagnosticError with CS101 or CS102."""
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAXIMUM_BYTES + 1)
    except (OSError, ValueError) as error:
        raise DiagnosticError(_unreadable(path, error)) from None
    if len(data) > MAXIMUM_BYTES:
        raise DiagnosticError(Diagnostic("CS102", f"{path} is longer than the {MAXIMUM_BYTES} bytes of a layer file"))
    if b"\0" in data:
        offset = data.index(b"\0")
        raise DiagnosticError(
            Diagnostic(
                "CS102",
                f"{path} is not a text file: byte {offset} is zero",
                help="name a layer file, such as specs/alexnet.cfg",
            )
        )
    try:
        return SourceFile(path, data.decode("utf-8"))
    except UnicodeDecodeError:
        return SourceFile(path, data.decode("latin-1"), "latin-1")


def parse_document(file: SourceFile, report: Report) -> Document:
    """The Document of a text, whatever it is. Reports CS103 to CS105, CS108 and CS111."""
    has_mark = file.text.startswith(_BYTE_ORDER_MARK)
    if has_mark:
        file = SourceFile(file.name, file.text.lstrip(_BYTE_ORDER_MARK))
    prologue: list[Token] = []
    sections: list[Section] = []
    for child in _lark().parse(file.text, start="document").children:
        if isinstance(child, Token):
            prologue.append(child)
        else:
            sections.append(_section(file, cast("list[Token]", child.children), report))
    document = Document(file, _lines(file, prologue, report), tuple(sections), has_mark)
    for line in document.prologue:
        if isinstance(line, Entry):
            report.add(
                "CS104",
                line.key_span,
                f"{line.written_key} stands before the first [section]",
                help="put the header of its layer above it",
            )
    return document


def _unreadable(path: str, error: Exception) -> Diagnostic:
    match error:
        case FileNotFoundError():
            return Diagnostic("CS101", f"there is no file {path}", help=_instead_of(Path(path)))
        case IsADirectoryError():
            return Diagnostic("CS101", f"{path} is a folder", help="name a layer file in it")
        case _:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return Diagnostic("CS101", f"{path} cannot be read: {reason}")


def _instead_of(path: Path) -> str:
    """Which layer file may be meant: one beside it, or one that comes with convspec."""
    beside = sorted(each.name for each in path.parent.glob("*.cfg")) if path.parent.is_dir() else []
    known = [*beside, *(spec_names() if path.parent.name in ("", "specs") else ())]
    meant = next((name for name in known if name == f"{path.name}.cfg"), None) or closest(path.name, known)
    if meant is not None:
        return f"did you mean '{path.with_name(meant)}'?"
    if beside:
        return f"{path.parent} has {', '.join(beside[:_MOST_NAMED])}" + (", ..." if len(beside) > _MOST_NAMED else "")
    return f"there is no .cfg file in {path.parent}"


@cache
def _lark() -> Lark:
    return load_parser("structure")


def _lines(file: SourceFile, tokens: Sequence[Token], report: Report) -> tuple[Line, ...]:
    """The lines under one header; a continuation line becomes part of the entry above it."""
    lines: list[Line] = []
    last_entry: int | None = None
    has_indented = False
    for token in tokens:
        start, end = _range(token)
        match token.type:
            case "ENTRY":
                last_entry = len(lines)
                lines.append(_entry(file, start, end))
            case "CONTINUATION" if last_entry is not None:
                entry = lines[last_entry]
                assert isinstance(entry, Entry)
                lines[last_entry:] = [_entry(file, entry.key_span.start, end)]
            case "CONTINUATION":
                if not has_indented:
                    report.add(
                        "CS111",
                        _trimmed(file, start, end),
                        "an indented line continues the key above it, and there is none in this section",
                        help="start each line of the section in column 1",
                    )
                has_indented = True
                lines.append(Trivia(TriviaKind.JUNK, str(token)))
            case "COMMENT":
                lines.append(Trivia(TriviaKind.COMMENT, str(token)))
            case "BLANK":
                lines.append(Trivia(TriviaKind.BLANK, str(token)))
            case _:
                _report_junk(_trimmed(file, start, end), report)
                lines.append(Trivia(TriviaKind.JUNK, str(token)))
    return tuple(lines)


def _range(token: Token) -> tuple[int, int]:
    assert token.start_pos is not None
    return token.start_pos, token.start_pos + len(token)


def _trimmed(file: SourceFile, start: int, end: int) -> Span:
    """The text without the blanks around it; of nothing but blanks, all but the line end."""
    text = file.text[start:end]
    if not text.strip():
        return Span(file, start, start + len(text.rstrip("\r\n")))
    return Span(file, start + len(text) - len(text.lstrip()), start + len(text.rstrip()))


def _entry(file: SourceFile, start: int, end: int) -> Entry:
    """The entry that fills `file.text[start:end]`, a line and its continuation lines."""
    text = file.text[start:end]
    separator = _SEPARATOR.search(text)
    assert separator is not None
    written_key = text[: separator.start()].rstrip()
    first_end = text.find("\n") + 1 or len(text)
    first = _without_comment(text[separator.end() : first_end])
    value_start = separator.end() + len(first) - len(first.lstrip())
    value, value_end = first.strip(), separator.end() + len(first.rstrip())
    if first_end < len(text):
        rest = [line.strip() for line in text[first_end:].splitlines() if line[:1].isspace() and line.strip()]
        value, value_end = "\n".join([value, *rest]), len(text.rstrip())
    return Entry(
        key=written_key.lower(),
        written_key=written_key,
        value=value,
        text=text,
        key_span=Span(file, start, start + len(written_key)),
        value_span=Span(file, start + value_start, start + max(value_end, value_start)),
    )


def _without_comment(text: str) -> str:
    """`text` up to a `;` with a blank before it.

    ConfigParser looks at the first `;` only, so that no comment can stand behind `exp[base=1;tgtFactor=2]`; we look at all.
    """
    comment = _COMMENT.search(text)
    return text if comment is None else text[: comment.start()]


def _section(file: SourceFile, tokens: Sequence[Token], report: Report) -> Section:
    header = str(tokens[0])
    start, end = _range(tokens[0])
    name_start = start + header.startswith("[")
    closing = header.find("]")
    name = header[name_start - start : closing] if closing >= 0 else _without_comment(header[1:]).rstrip()
    section = Section(name, header, _lines(file, tokens[1:], report), Span(file, name_start, name_start + len(name)))
    if not name.strip():
        report.add("CS105", section.span, "a section needs a name", help="write [conv1], say")
    elif name_start == start or closing < 0:
        bracket = "opening" if name_start == start else "closing"
        message = f"the header of section {name.strip()} has no {bracket} bracket"
        report.add("CS105", section.span, message, help=f"write [{name.strip()}]")
    tail = _trimmed(file, section.span.end, end)
    if closing >= 0 and tail.text.strip() and tail.text[0] not in ";#":
        message, help = f"this text after [{name}] is ignored", "delete it, or start it with ;"
        if "]" in tail.text and name.strip():
            message += f": the name of a section ends at its first bracket, and is {name}"
            help = "leave brackets out of names"
        report.add("CS108", tail, message, help=help)
    return section


def _report_junk(span: Span, report: Report) -> None:
    words = _without_comment(span.text).rstrip().split(maxsplit=1)
    is_entry = len(words) == 2 and words[0].isidentifier() and len(words[1].split()) == 1
    report.add(
        "CS103",
        span,
        "this line is neither a [section], a key=value nor a comment",
        help=f"write {words[0]}={words[1]}" if is_entry else "a comment starts with # or ; in column 1",
    )

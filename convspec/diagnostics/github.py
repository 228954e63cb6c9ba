"""Diagnostics as workflow commands of GitHub Actions, which become annotations on the lines of a pull request.

    ::error file=specs/my.cfg,line=83,endLine=83,col=7,endColumn=9,title=CS403::the 60x60 windows of pool1a ...

A command is one line; what would end it or a property early is escaped as the runner undoes it (`%0A`, `%3A`, `%2C`).
"""

from __future__ import annotations

from collections.abc import Mapping

from convspec.diagnostics.diagnostic import Diagnostic, Severity
from convspec.diagnostics.origin import Origin
from convspec.diagnostics.span import Span
from convspec.diagnostics.visible import visible

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def workflow_command(diagnostic: Diagnostic, origin: Origin) -> str:
    """One line, without its end. Columns are given where the place is within one line: the runner takes no others."""
    properties: dict[str, str | int] = {**_place(diagnostic.span, origin), "title": f"convspec {diagnostic.code}"}
    lines = (line for part in (diagnostic.message, *_asides(diagnostic, origin)) for line in part.split("\n"))
    text = "\n".join(visible(line) for line in lines)
    return f"::{_COMMANDS[diagnostic.severity]} {_properties(properties)}::{_data(text)}"


def _asides(diagnostic: Diagnostic, origin: Origin) -> list[str]:
    """Labels with their lines, notes, help: an annotation has one place and no others."""
    labels = [
        f"{_path(label.span.file.name, origin)}:{label.span.line}: {label.text}"
        for label in diagnostic.labels
        if label.text
    ]
    notes = [f"note: {note}" for note in diagnostic.notes]
    return [*labels, *notes, *([] if diagnostic.help is None else [f"help: {diagnostic.help}"])]


def _place(span: Span | None, origin: Origin) -> dict[str, str | int]:
    if span is None or not origin.is_file(span.file):
        return {"file": _path(origin.subject, origin)} if origin.subject else {}
    place: dict[str, str | int] = {
        "file": _path(span.file.name, origin),
        "line": span.line,
        "endLine": span.end_line,
    }
    if span.line == span.end_line:
        place |= {"col": span.column, "endColumn": max(span.end_column, span.column + 1)}
    return place


def _path(name: str, origin: Origin) -> str:
    return visible(origin.relative(name) or name)


def _properties(properties: Mapping[str, str | int]) -> str:
    return ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

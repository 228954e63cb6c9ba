"""Workflow commands: one line each, and the runner's parser gives back what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convspec.diagnostics import Diagnostic, Label, Severity, SourceFile, Span
from convspec.diagnostics.github import workflow_command
from convspec.diagnostics.origin import Origin
from convspec.diagnostics.visible import visible

ORIGIN = Origin(subject="/repo/my.cfg", root="/repo")


def parse(line: str) -> tuple[str, dict[str, str], str]:
    """As actions/runner reads it (ActionCommand.TryParseV2 and its unescaping)."""
    assert line.startswith("::")
    head, _, data = line[2:].partition("::")
    command, _, properties = head.partition(" ")
    pairs = (part.split("=", 1) for part in properties.split(",") if part)
    return command, {key: undo(value, ("%2C", ","), ("%3A", ":")) for key, value in pairs}, undo(data)


def undo(text: str, *more: tuple[str, str]) -> str:
    for escaped, meant in (*more, ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(escaped, meant)
    return text


def test_an_error_with_its_place() -> None:
    file = SourceFile("/repo/specs/my.cfg", "[a]\nsizeX=60\n")
    labels = (Label(Span(file, 0, 3), "in here"),)
    diagnostic = Diagnostic("CS403", "too large: 100%, say", Span(file, 10, 12), labels, ("n",), "shrink")
    line = workflow_command(diagnostic, ORIGIN)
    assert line == (
        "::error file=specs/my.cfg,line=2,endLine=2,col=7,endColumn=9,title=convspec CS403::"
        "too large: 100%25, say%0Aspecs/my.cfg:1: in here%0Anote: n%0Ahelp: shrink"
    )
    assert parse(line)[2] == "too large: 100%, say\nspecs/my.cfg:1: in here\nnote: n\nhelp: shrink"


@pytest.mark.parametrize(
    ("severity", "command"), [(Severity.ERROR, "error"), (Severity.WARNING, "warning"), (Severity.NOTE, "notice")]
)
def test_severities(severity: Severity, command: str) -> None:
    assert parse(workflow_command(Diagnostic("CS101", "m", severity=severity), ORIGIN))[0] == command


def test_a_place_of_several_lines_has_no_columns() -> None:
    file = SourceFile("/elsewhere/a.cfg", "[a]\nx=1,\n 2\n")
    _, place, _ = parse(workflow_command(Diagnostic("CS204", "m", Span(file, 6, 11)), ORIGIN))
    assert place == {"file": "/elsewhere/a.cfg", "line": "2", "endLine": "3", "title": "convspec CS204"}


def test_what_has_no_file_stands_at_the_spec() -> None:
    override = Span(SourceFile("--set a.b=1", "[a]\nb=1\n"), 4, 5)
    for diagnostic in (Diagnostic("CS101", "m"), Diagnostic("CS204", "m", override)):
        assert parse(workflow_command(diagnostic, ORIGIN))[1] == {
            "file": "my.cfg",
            "title": f"convspec {diagnostic.code}",
        }
    assert workflow_command(Diagnostic("CS101", "m"), Origin()) == "::error title=convspec CS101::m"


@given(st.text(), st.text(min_size=1).filter(lambda name: name[0] not in "-<" and "\0" not in name))
def test_any_text_is_one_line_that_reads_back(message: str, name: str) -> None:
    file = SourceFile(f"/repo/x{name}", "x")
    line = workflow_command(Diagnostic("CS204", message, Span(file, 0, 1)), ORIGIN)
    assert line.splitlines() == [line]
    command, properties, data = parse(line)
    assert (command, properties["title"]) == ("error", "convspec CS204")
    assert data == "\n".join(map(visible, message.split("\n")))
    assert properties["file"] == visible(ORIGIN.relative(file.name) or file.name)

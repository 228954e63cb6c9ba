"""How diagnostics look: a dozen whole texts in `renderings/`, and the corners of terminals one by one.

`python -m tests.diagnostics.test_render` writes the texts again; read the difference before you keep it.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from convspec.checker import check
from convspec.diagnostics import Diagnostic, Label, Report, Severity, SourceFile, Span
from convspec.diagnostics.render import Format, diagnostic_as_data, render, summary_line
from convspec.diagnostics.style import wants_color

HERE = Path(__file__).parent
PINNED = {
    "CS103-missing-equals",
    "CS105-no-closing-bracket",
    "CS106",
    "CS203-misspelt",
    "CS203-several-are-one",
    "CS203-wrong-file",
    "CS204-continuation",
    "CS206",
    "CS302",
    "CS305-swapped",
    "CS402-classes",
    "CS403-conv",
    "CS406",
    "CS409",
    "several",
}


def rendering(name: str) -> str:
    """The case `name` in full, under the name that its file has without its folder."""
    layers, params = (HERE / "cases" / f"{name}{suffix}.cfg" for suffix in ("", ".params"))
    text = render(check(layers, params if params.exists() else None).diagnostics, Format.FULL, color=False)
    return text.replace(f"{layers.parent}/", "")


@pytest.mark.parametrize("name", sorted(PINNED))
def test_pinned_rendering(name: str) -> None:
    assert rendering(name) == (HERE / "renderings" / f"{name}.txt").read_text(encoding="utf-8")


def shown(text: str, start: int, end: int, *labels: Label) -> list[str]:
    """The source lines and underlines of an error at these characters of a file."""
    diagnostic = Diagnostic("CS204", "wrong", Span(SourceFile("a.cfg", text), start, end), labels)
    return render([diagnostic], Format.FULL, color=False).splitlines()[3:]


def test_the_look_of_a_diagnostic() -> None:
    text = "[conv1]\ntype=conv\nstride=4\n\n[fc6]\ntype=fc\n"
    file = SourceFile("specs/my.cfg", text)
    at = {word: Span(file, text.index(word), text.index(word) + len(word)) for word in ("stride=4", "[fc6]")}
    report = Report()
    report.add(
        "CS402",
        at["[fc6]"],
        "fc6 expects 9216 inputs but pool5 gives 256x5x5 = 6400",
        labels=[Label(at["stride=4"], "54x54 here: (224 + 2*0 - 11) / 4 + 1 = 54.25, rounded down")],
        notes=["a note\nof two lines"],
        help="use a 227x227 input",
    )
    assert render(report, Format.FULL, color=False) == (
        "error[CS402]: fc6 expects 9216 inputs but pool5 gives 256x5x5 = 6400\n"
        " --> specs/my.cfg:5:1\n"
        "  |\n"
        "1 | [conv1]\n"
        "3 | stride=4\n"
        "  | -------- 54x54 here: (224 + 2*0 - 11) / 4 + 1 = 54.25, rounded down\n"
        "5 | [fc6]\n"
        "  | ^^^^^\n"
        "  = note: a note\n"
        "          of two lines\n"
        "  = help: use a 227x227 input\n"
    )


def test_diagnostics_are_set_apart_and_none_is_nothing() -> None:
    diagnostic = Diagnostic("CS101", "there is no file x", help="look")
    assert render([], Format.FULL, color=False) == render([], Format.CONCISE, color=False) == ""
    assert render([diagnostic] * 2, Format.FULL, color=False) == (
        "error[CS101]: there is no file x\n  = help: look\n\nerror[CS101]: there is no file x\n  = help: look\n"
    )


def test_span_of_no_length_and_at_the_end_of_a_file_has_one_caret() -> None:
    assert shown("[a]\nx=\n", 6, 6) == ["1 | [a]", "2 | x=", "  |   ^"]
    assert shown("[a]\n", 4, 4) == ["1 | [a]", "2 |", "  | ^"]
    assert shown("", 0, 0) == ["1 |", "  | ^"]


def test_span_of_several_lines_shows_the_first() -> None:
    assert shown("[a]\nx=1,\n  2\n", 6, 12) == ["1 | [a]", "2 | x=1,", "  |   ^^"]


def test_labels_of_one_line_stand_below_each_other() -> None:
    file = SourceFile("a.cfg", "x=1,2\n")
    assert shown(file.text, 2, 3, Label(Span(file, 4, 5), "two"), Label(Span(file, 0, 1), "")) == [
        "1 | x=1,2",
        "  |   ^",
        "  |     - two",
        "  | -",
    ]


def test_label_in_another_file_has_a_block_of_its_own() -> None:
    other = SourceFile("b.cfg", "\n" * 99 + "[b]\n")
    assert shown("[a]\n", 0, 3, Label(Span(other, 99, 102), "here")) == [
        "  1 | [a]",
        "    | ^^^",
        "   --> b.cfg:100:1",
        "    |",
        "100 | [b]",
        "    | --- here",
    ]


@pytest.mark.parametrize(
    ("line", "character", "expected"),
    [
        ("a\tb=c", "b", ["1 | a   b=c", "  |     ^"]),
        ("中文=c", "c", ["1 | 中文=c", "  |      ^"]),
        ("中文=c", "文", ["1 | 中文=c", "  |   ^^"]),
        ("e\u0301=c", "c", ["1 | e\u0301=c", "  |   ^"]),
        ("a\x1b[31m=c", "c", ["1 | a\\x1b[31m=c", "  |           ^"]),
        ("a\u202eb=c", "\u202e", ["1 | a\\u202eb=c", "  |  ^^^^^^"]),
        ("a\rb=c", "c", ["1 | a\\x0db=c", "  |        ^"]),
        ("\U000e0041=c", "c", ["1 | \\U000e0041=c", "  |            ^"]),
    ],
)
def test_carets_stand_under_their_characters(line: str, character: str, expected: list[str]) -> None:
    start = line.index(character)
    assert shown(line + "\n", start, start + 1) == expected


def test_messages_cannot_write_to_the_terminal() -> None:
    span = Span(SourceFile("a\x1b.cfg", "x\n"), 0, 1)
    diagnostic = Diagnostic("CS204", "a\nb\x07\ud800", span, (Label(span, "c\r"),), ("d\x9b",), "e\u2028")
    for form in Format:
        text = render([diagnostic], form, color=False)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\ud800]", text)


@pytest.mark.parametrize("at", [0, 50, 400, 990, 999])
def test_long_line_is_cut_around_its_mark(at: int) -> None:
    line = "".join(chr(ord("a") + i % 26) for i in range(1000))
    source, caret = shown(line + "\n", at, at + 1)
    assert len(source) < 140
    assert source[caret.index("^")] == line[at]
    assert ("..." in source[:8]) == (at > 40)
    assert source.endswith("...") == (at < 900)


def test_marks_far_apart_on_a_long_line_have_excerpts_of_their_own() -> None:
    file = SourceFile("a.cfg", "x" * 1000)
    rows = shown(file.text, 10, 11, Label(Span(file, 900, 901), "far"), Label(Span(file, 20, 21), "near"))
    assert [row.strip(" |^") for row in rows if "x" not in row] == ["", "- near", "- far"]


def test_concise() -> None:
    span = Span(SourceFile("a.cfg", "x\nyz\n"), 3, 4)
    diagnostics = [Diagnostic("CS204", "wrong", span), Diagnostic("CS112", "none", severity=Severity.WARNING)]
    assert render(diagnostics, Format.CONCISE, color=False) == (
        "a.cfg:2:2: error[CS204]: wrong\nwarning[CS112]: none\n"
    )


def test_json_is_the_contract() -> None:
    file = SourceFile("a.cfg", "x=1\ny=2\n")
    diagnostic = Diagnostic("CS204", "m", Span(file, 4, 7), (Label(Span(file, 0, 1), "l"),), ("n",), "h")
    data = {
        "code": "CS204",
        "severity": "error",
        "message": "m",
        "file": "a.cfg",
        "line": 2,
        "column": 1,
        "end_line": 2,
        "end_column": 4,
        "labels": [{"message": "l", "file": "a.cfg", "line": 1, "column": 1, "end_line": 1, "end_column": 2}],
        "notes": ["n"],
        "help": "h",
    }
    assert diagnostic_as_data(diagnostic) == data
    assert json.loads(render([diagnostic], Format.JSON, color=True)) == [data]
    nowhere = diagnostic_as_data(Diagnostic("CS101", "m"))
    assert (nowhere["file"], nowhere["line"], nowhere["help"]) == (None, None, None)


def test_summary_line() -> None:
    error, warning = Diagnostic("CS101", ""), Diagnostic("CS106", "", severity=Severity.WARNING)
    note = Diagnostic("CS409", "", severity=Severity.NOTE)
    assert summary_line([]) == "no errors"
    assert summary_line([warning, error, error]) == "2 errors, 1 warning"
    assert summary_line([note, note]) == "2 notes"


def test_colours_are_around_the_text_and_nothing_else_changes() -> None:
    file = SourceFile("a.cfg", "[a]\nx=1\n")
    diagnostic = Diagnostic("CS204", "m", Span(file, 4, 5), (Label(Span(file, 6, 7), "l"),), ("n",), "h")
    for form in (Format.FULL, Format.CONCISE):
        colored = render([diagnostic], form, color=True)
        assert "\033[1;31merror[CS204]\033[0m" in colored
        assert re.sub(r"\033\[[\d;]*m", "", colored) == render([diagnostic], form, color=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "on_terminal", "elsewhere"),
    [
        ({}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_wants_color(
    environment: dict[str, str], on_terminal: bool, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_color(Terminal()) is on_terminal
    assert wants_color(io.StringIO()) is elsewhere


if __name__ == "__main__":
    for name in sorted(PINNED):
        (HERE / "renderings" / f"{name}.txt").write_text(rendering(name), encoding="utf-8")

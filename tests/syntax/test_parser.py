"""The structure of a file, rule by rule as Python 2's ConfigParser read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from convspec.checker import check
from convspec.diagnostics import DiagnosticError, Report, SourceFile
from convspec.syntax.document import Document, Entry, Trivia, TriviaKind
from convspec.syntax.parser import parse_document, read_source


def parse(text: str, *codes: str) -> Document:
    """The document of a text, for which these diagnostics are expected."""
    report = Report()
    document = parse_document(SourceFile("a.cfg", text), report)
    assert [d.code for d in report] == list(codes)
    assert document.text() == text.removeprefix("\ufeff")
    return document


def entries(document: Document) -> dict[str, dict[str, str]]:
    """Values by section and key; of a section that stands twice, the last one."""
    return {section.name: {entry.key: entry.value for entry in section.entries} for section in document.sections}


def only(document: Document) -> Entry:
    [section] = document.sections
    [entry] = section.entries
    return entry


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("stride=4", "stride", "4"),
        ("stride: 4", "stride", "4"),
        ("stride = 4", "stride", "4"),
        ("stride =4   ", "stride", "4"),
        ("GPU=0", "gpu", "0"),
        ("filterSize=11", "filtersize", "11"),
        ("inputs=data,  labels", "inputs", "data,  labels"),
        ("a=b=c:d", "a", "b=c:d"),
        ("a:b=c", "a", "b=c"),
        ("a key with blanks = 1", "a key with blanks", "1"),
        ("stride=", "stride", ""),
        ("stride=4 ; of the paper", "stride", "4"),
        ("stride=4\t; of the paper", "stride", "4"),
        ("stride=4;5", "stride", "4;5"),
        ("stride= ; none", "stride", ""),
        ("epsW=exp[base=1;tgtFactor=2] ; slow", "epsw", "exp[base=1;tgtFactor=2]"),
        ("stride=4 # not a comment", "stride", "4 # not a comment"),
        ("stride=4#x", "stride", "4#x"),
        ("a=%(b)s", "a", "%(b)s"),
        ("remark=1", "remark", "1"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_entry(line: str, key: str, value: str, end: str) -> None:
    entry = only(parse(f"[a]\n{line}{end}"))
    assert (entry.key, entry.value) == (key, value)
    assert entry.key_span.text == entry.written_key
    assert entry.value_span.text == value


@pytest.mark.parametrize("line", ["# c", "; c", "rem c", "REM c", "rem", "#", ";", "#stride=4", ";[b]", "rem a=b"])
def test_comment_stands_in_the_first_column(line: str) -> None:
    [section] = parse(f"[a]\n{line}\n").sections
    assert section.lines == (Trivia(TriviaKind.COMMENT, f"{line}\n"),)


def test_indented_line_continues_the_value() -> None:
    entry = only(parse("[a]\ninputs=b,\n    c,\n\td  \n"))
    assert entry.value == "b,\nc,\nd"
    assert entry.text == "inputs=b,\n    c,\n\td  \n"
    assert [entry.part(*at).text for at in ((0, 1), (3, 4), (6, 7))] == ["b", "c", "d"]
    assert [entry.part(*at).line for at in ((0, 1), (3, 4), (6, 7))] == [2, 3, 4]


def test_indented_comment_and_key_are_parts_of_the_value_too() -> None:
    entry = only(parse("[a]\nstride=4 ; four\n  # c\n  padding=2 ; two\n"))
    assert entry.value == "4\n# c\npadding=2 ; two"


def test_comments_and_blank_lines_do_not_end_a_value() -> None:
    entry = only(parse("[a]\nx=1\n  2\n"))
    assert entry.value == "1\n2"
    # A line between them keeps its place in the text, so the continuation has to be part of the entry.
    document = parse("[a]\nx=1\n# c\n\n  2\n")
    [entry] = document.sections[0].entries
    assert "2" in entry.value


def test_part_of_a_value_on_one_line() -> None:
    entry = only(parse("[a]\ninputs =  bb, cc ; two\n"))
    span = entry.part(4, 6)
    assert (span.text, span.line, span.column) == ("cc", 2, 15)


def test_header_tail_is_ignored_with_a_warning() -> None:
    assert [s.name for s in parse("[a] x=1\n", "CS108").sections] == ["a"]
    assert [s.name for s in parse("[a] ; x\n[b] # x\n[c]\t \n").sections] == ["a", "b", "c"]


def test_header_ends_at_the_first_bracket() -> None:
    document = parse("[conv4[0]]\nx=1\n", "CS108")
    assert entries(document) == {"conv4[0": {"x": "1"}}


@pytest.mark.parametrize("name", [" conv1 ", "conv32-2", "a b", "a.b", "é", "@net", "a:b=c"])
def test_name_of_a_section_is_what_stands_between_the_brackets(name: str) -> None:
    [section] = parse(f"[{name}]\n").sections
    assert section.name == section.name_span.text == name
    assert section.span.text == f"[{name}]"


@pytest.mark.parametrize(
    ("header", "name", "shown"),
    [
        ("[conv1", "conv1", "[conv1"),
        ("[conv1 ; first", "conv1", "[conv1"),
        ("conv1]", "conv1", "conv1]"),
        ("conv1] ; first", "conv1", "conv1]"),
        ("[]", "", "[]"),
        ("[ ]", " ", "[ ]"),
        ("[", "", "["),
    ],
)
def test_header_without_a_bracket_or_name_still_begins_a_section(header: str, name: str, shown: str) -> None:
    document = parse(f"[a]\nx=1\n{header}\nx=2\n", "CS105")
    assert [(s.name, s.span.text) for s in document.sections] == [("a", "[a]"), (name, shown)]
    assert [next(s.entries).value for s in document.sections] == ["1", "2"]


def test_junk_is_kept_and_reported_line_by_line() -> None:
    [section] = parse("[a]\njunk\nx=1\nmore junk\n=1\n", "CS103", "CS103", "CS103").sections
    assert [entry.key for entry in section.entries] == ["x"]
    assert section.unreadable_words == {"junk", "more", "1"}


def test_help_of_a_line_without_equals_is_the_line_with_it() -> None:
    report = Report()
    parse_document(SourceFile("a.cfg", "[a]\nstride 4 ; four\nthis is prose\n"), report)
    assert [d.help for d in report] == ["write stride=4", "a comment starts with # or ; in column 1"]


def test_keys_before_the_first_section() -> None:
    document = parse("# c\nx=1\n[a]\n", "CS104")
    assert [type(line) for line in document.prologue] == [Trivia, Entry]


def test_indented_lines_without_a_key_are_reported_once_a_section() -> None:
    parse("[a]\n x=1\n y=2\n[b]\n x=1\n", "CS111", "CS111")


def test_byte_order_mark_is_no_character_of_the_file() -> None:
    document = parse("\ufeff[a]\nx=1\n")
    assert document.sections[0].span.column == 1
    assert not document.file.text.startswith("\ufeff")


def test_empty_file_has_no_sections() -> None:
    assert parse("") == parse("")
    assert parse("").sections == ()
    assert parse("\n \n\t").sections == ()


NET = "[@net]\ninput=data:3x8x8\noutputs=x\n[data]\ntype=data\ndataIdx=0\n"


def codes(text: str, params: str | None = None) -> list[str]:
    return [d.code for d in check(text, params).diagnostics]


def test_last_of_two_equal_keys_and_sections_counts() -> None:
    checked = check(NET + "[x]\ntype=neuron\ninputs=data\nneuron=relu\nNeuron=abs\n[x]\nneuron=square\n")
    assert [d.code for d in checked.diagnostics] == ["CS107", "CS106", "CS107"]
    assert checked.layers[-1].neuron == "square"


def test_default_section_feeds_every_other() -> None:
    text = NET + "[x]\ntype=neuron\ninputs=data\n[DEFAULT]\nneuron=relu\nnobody=1\n"
    assert codes(text) == []
    assert check(text).layers[-1].neuron == "relu"
    assert codes(text + "[default]\n") == ["CS201"]


def test_default_section_of_the_parameter_file() -> None:
    layers = NET + "[x]\ntype=fc\ninputs=data\noutputs=4\ninitW=1\n"
    assert codes(layers, "[DEFAULT]\nepsW=1\nepsB=1\nmomW=0\nmomB=0\n[x]\nwc=0\n") == []
    assert codes(layers, "[DEFAULT]\nepsW=x\nepsB=1\nmomW=0\nmomB=0\n") == ["CS204"]


def test_interpolation_is_an_error_only_where_the_key_is_read() -> None:
    neuron = "[x]\ntype=neuron\ninputs=data\nneuron=relu\n"
    assert codes(NET + neuron + "title=%(nothing)s 100%\n") == ["CS207"]
    assert codes(NET + neuron.replace("relu", "%(nothing)s")) == ["CS229"]


def test_blanks_in_a_name_count() -> None:
    assert codes(NET.replace("outputs=x\n", "") + "[ x ]\ntype=neuron\ninputs=data\nneuron=relu\n") == ["CS304"]
    assert codes(NET + "[ x ]\ntype=neuron\ninputs=data\nneuron=relu\n") == ["CS301"]


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"[a]\n", "[a]\n"), ("[é]\n".encode(), "[é]\n"), (b"[\xe9]\n", "[é]\n"), (b"\xef\xbb\xbf[a]\n", "\ufeff[a]\n")],
)
def test_files_are_utf_8_or_latin_1(data: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_bytes(data)
    assert read_source(str(path)).text == text


@pytest.mark.parametrize("name", ["absent.cfg", ".", "a\0b", "x" * 5000, "a.cfg/b.cfg"])
def test_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text("")
    with pytest.raises(DiagnosticError) as caught:
        read_source(f"{tmp_path}/{name}")
    assert [d.code for d in caught.value.diagnostics] == ["CS101"]


def test_absent_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "alexnet.cfg").write_text("")
    with pytest.raises(DiagnosticError) as caught:
        read_source(f"{tmp_path}/alexnt.cfg")
    assert "alexnet.cfg" in (caught.value.diagnostics[0].help or "")


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0", "[a]\n".encode("utf-16")])
def test_binary_file(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_bytes(data)
    with pytest.raises(DiagnosticError, match="CS102"):
        read_source(str(path))

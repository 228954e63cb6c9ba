"""The one layout: it says what the text said, keeps its comments, and is its own layout. For every real file, and any text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convspec.diagnostics import Report, SourceFile
from convspec.syntax.document import Document, Line, Trivia, TriviaKind
from convspec.syntax.formatter import format_document
from convspec.syntax.parser import parse_document, read_source
from tests.faults.specs import CORPUS, ROOT, Spec, clean_corpus

without_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not beside this checkout")


def parsed(text: str) -> Document:
    return parse_document(SourceFile("x.cfg", text), Report())


def says(document: Document) -> list[tuple[str, list[tuple[str, str]]]]:
    """Sections with keys and values, in their order."""
    return [(s.name, [(entry.written_key, entry.value) for entry in s.entries]) for s in document.sections]


def remarks(document: Document) -> list[str]:
    """Comments that are lines of their own, and lines that are nothing, in their order."""
    lines: Iterator[Line] = (
        line for part in (document.prologue, *(s.lines for s in document.sections)) for line in part
    )
    return [line.text.strip() for line in lines if isinstance(line, Trivia) and line.kind is not TriviaKind.BLANK]


def tails(text: str) -> list[str]:
    """What stands behind a `;` that begins a comment behind something else."""
    lines = (line for line in text.splitlines() if not line.startswith((";", "#")))
    return [line.split(" ;", 1)[1].strip() for line in lines if " ;" in line]


def assert_kept(text: str) -> str:
    formatted = format_document(parsed(text))
    before, after = parsed(text), parsed(formatted)
    assert says(after) == says(before)
    assert remarks(after) == remarks(before)
    assert format_document(after) == formatted
    return formatted


def real_texts() -> list[tuple[str, str]]:
    """Every layer and parameter file of the corpus, and the tiny ones."""
    if not CORPUS.is_dir():
        return []
    files = [
        (path.relative_to(CORPUS).as_posix(), read_source(str(path)).text)
        for path in sorted(CORPUS.glob("files/*/*.cfg"))
    ]
    with (CORPUS / "micro.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    tiny = [(f"{row['name']} {kind}", row[kind] or "") for row in rows for kind in ("layers", "params")]
    return files + tiny


@without_corpus
def test_real_files_say_what_they_said_and_keep_their_comments() -> None:
    texts = real_texts()
    for name, text in texts:
        formatted = assert_kept(text)
        assert tails(formatted) == tails(text), name
        assert "\r" not in formatted, name
        assert formatted == "" or formatted.endswith("\n"), name
        assert "\n\n\n" not in formatted, name
    print(f"{len(texts)} files")
    assert len(texts) >= 2 * (83 + 128)


@without_corpus
@pytest.mark.parametrize("spec", clean_corpus(), ids=lambda spec: spec.name)
def test_a_formatted_pair_is_the_same_network(spec: Spec) -> None:
    layers = assert_kept(spec.layers)
    params = None if spec.params is None else assert_kept(spec.params)
    before, after = spec.check(), spec.check(layers, params)
    assert [(d.code, d.message) for d in after.diagnostics] == [(d.code, d.message) for d in before.diagnostics]
    assert after.resolved_text == before.resolved_text
    assert after.layers == tuple(
        row._replace(line=new.line) for row, new in zip(before.layers, after.layers, strict=True)
    )


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.cfg")), ids=lambda path: path.name)
def test_a_spec_of_ours_is_the_same_network_however_it_is_written(path: str) -> None:
    text = read_source(str(path)).text
    untidy = re.sub(r"(?m)^(\w+)=", r"\1 =\t", text).replace("\n\n", " \n\n  \n\n").replace("\n", "\r\n").rstrip()
    assert untidy != text
    assert assert_kept(untidy) == text


_LINES = st.sampled_from(
    [
        "[a]",
        "[b ] ; x",
        "[",
        "k=v",
        "k : v ; why",
        " more",
        "  ; c",
        "# c",
        "; c",
        "",
        "  ",
        "junk",
        "k=",
        "=v",
        "k=a;b",
        "k = a ;b",
    ]
)


@given(st.lists(st.tuples(_LINES, st.sampled_from(["\n", "\r\n", "\n\n"]))).map(lambda ls: "".join(map("".join, ls))))
@example("[a]\nk=v\n more\n\n  still\n")
@example("[a]\n# about b\n[b]\n")
def test_any_lines(text: str) -> None:
    assert_kept(text)


@given(st.text())
@example("\x1f")
@example("[a]\nk=v\n\x1c\n\n\x85x\n")
def test_any_text(text: str) -> None:
    assert_kept(text)

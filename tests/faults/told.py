"""What holds of any text: its diagnostics lie in it and are sentences, and its parse loses nothing."""

from __future__ import annotations

import re

from convspec.checker import Checked
from convspec.diagnostics import Diagnostic, Report, SourceFile
from convspec.diagnostics.render import Format, render
from convspec.syntax.parser import parse_document

_LEADS_NOWHERE = re.compile(r"(?:\b(?:are|be|has|is|it|of|takes|to)|[:,]) $")


def assert_told(checked: Checked) -> None:
    """Every diagnostic lies in its file, is a whole sentence and can be written in every format; every layer has its row."""
    for diagnostic in checked.diagnostics:
        assert_inside(diagnostic)
        assert_whole(diagnostic)
    for form in Format:
        render(checked.diagnostics, form, color=True).encode("utf-8")
    assert len(checked.layers) == len(checked.graph.layers)
    assert checked.totals.batch >= 1


def assert_inside(diagnostic: Diagnostic) -> None:
    for span in [diagnostic.span, *(label.span for label in diagnostic.labels)]:
        if span is not None:
            assert 0 <= span.start <= span.end <= len(span.file.text)
            assert (span.line, span.column) <= (span.end_line, span.end_column)


def assert_whole(diagnostic: Diagnostic) -> None:
    """No list that a sentence leads up to is empty."""
    for sentence in (diagnostic.message, *diagnostic.notes, diagnostic.help or "-"):
        assert sentence.strip()
        assert not _LEADS_NOWHERE.search(sentence), sentence


def assert_lossless(text: str) -> None:
    document = parse_document(SourceFile("any.cfg", text), Report())
    again = parse_document(SourceFile("any.cfg", document.text()), Report())
    assert document.text() == text.lstrip("\ufeff")
    assert again == document._replace(has_mark=False)

"""docs/dialects.md says what the tables say, all of it."""

from __future__ import annotations

from pathlib import Path

from convspec.graph.dialect_page import DOCUMENTED, DOCUMENTED_LEARNING, document
from convspec.layers.dialects import DIALECTS, ROWS, Dialect, Learning

ROOT = Path(__file__).parents[2]


def test_document_is_made_from_the_tables() -> None:
    written = (ROOT / "docs" / "dialects.md").read_text(encoding="utf-8")
    assert written == document(), "run: python -m convspec.graph.dialect_page > docs/dialects.md"


def test_every_field_and_every_row_has_its_line() -> None:
    assert set(Dialect._fields) == DOCUMENTED
    assert set(Learning._fields) == DOCUMENTED_LEARNING
    text = document()
    assert all(f"`{name}`" in text for name in DIALECTS)
    keys = text.partition("## Keys")[2]
    assert len([line for line in keys.splitlines() if line.startswith("| `")]) == len(ROWS)

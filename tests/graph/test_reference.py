"""docs/keys.md says what the classes of layer types and settings say."""

from __future__ import annotations

from pathlib import Path

from convspec.graph.reference import SETTINGS, document
from convspec.layers import BUILT_IN

ROOT = Path(__file__).parents[2]


def test_the_document_is_made_from_the_classes() -> None:
    written = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")
    assert written == document(), "run: python -m convspec.graph.reference > docs/keys.md"


def test_every_key_of_every_type_has_a_row() -> None:
    tables = {block.partition("\n")[0]: block for block in document().split("\n## ")[1:]}
    shared = tables["All layers"] + tables["All layers that learn"]
    for name, cls in {**BUILT_IN, **SETTINGS}.items():
        own = tables[f"`[{name}]`" if name in SETTINGS else f"`{name}`"]
        for key in cls.keys.values():
            assert f"| `{key.spelling}` | {key.doc} |" in own + shared, (name, key.spelling)

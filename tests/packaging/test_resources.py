"""Grammars and specs are found, whether convspec is installed or runs from its source tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from convspec.resources import read_grammar, spec_path

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("grammar", sorted((ROOT / "grammars").iterdir()), ids=lambda path: path.name)
def test_every_grammar_is_found(grammar: Path) -> None:
    assert read_grammar(grammar.name) == grammar.read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", sorted((ROOT / "specs").glob("*.cfg")), ids=lambda path: path.name)
def test_every_spec_is_found(spec: Path) -> None:
    assert spec_path(spec.name).read_bytes() == spec.read_bytes()


@pytest.mark.parametrize("name", ["alexnet.cgf", "", "..", "../pyproject.toml", str(ROOT / "specs" / "alexnet.cfg")])
def test_any_other_name_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"^no spec '.*' comes with convspec; there is .*\balexnet\.cfg"):
        spec_path(name)

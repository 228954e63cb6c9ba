"""The tables beside the grammars: in step with them, equal to what Lark builds, and left aside where they are not."""

from __future__ import annotations

import json
from pathlib import Path

import lark
import pytest

from convspec.resources import grammar_path
from convspec.syntax import tables
from convspec.syntax.tables import STARTS, load_parser, serialized_tables


@pytest.mark.parametrize("grammar", STARTS)
def test_they_are_in_step_with_the_grammar(grammar: str) -> None:
    """By what they were made from: the order of what Lark writes differs from process to process."""
    made_from = json.loads(grammar_path(f"{grammar}.json").read_text())["made_from"]
    if not made_from.startswith(f"lark {lark.__version__},"):
        pytest.skip("the tables were made by another Lark, so the parser is built from the text")
    now = json.loads(serialized_tables(grammar))["made_from"]
    assert made_from == now, "write them anew with: python -m convspec.syntax"


@pytest.mark.parametrize("spoiled", ["", "[]", "{}", '{"made_from": "lark 0.1, grammar 00000000", "data": 1}'])
def test_without_good_tables_the_text_is_read(spoiled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "values.json").write_text(spoiled)
    monkeypatch.setattr(tables, "grammar_path", lambda name: tmp_path / name)
    assert load_parser("values").parse("a, b", start="names").children == ["a", "b"]


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ("integers", "1, -2,3"),
        ("numbers", ".5,1e-3"),
        ("schedules", "0.1,dexp[base=0.02;tgtFactor=250;numSteps=4]"),
        ("neuron", "tanh[1.7,0.66]"),
        ("inputs", "data:3x227x227, labels:1"),
        ("flag", "True"),
    ],
)
def test_both_ways_parse_alike(start: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_parser("values").parse(text, start=start)
    monkeypatch.setattr(tables, "_read_tables", lambda grammar, fingerprint: None)
    assert load_parser("values").parse(text, start=start) == loaded

"""Variants, templates and repetitions in any combination: no exception, spans in their files, and one meaning.

Where `check` finds no error, the resolved spec is plain sections that say the same.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import convspec
from convspec.checker import Checked
from convspec.diagnostics import DiagnosticError
from convspec.syntax.formatter import format_document
from convspec.syntax.parser import Report, SourceFile, parse_document
from tests.faults.told import assert_told

CASES = int(os.environ.get("CONVSPEC_STRUCTURES", "250"))
HEAD = "[@net]\ninput=data:3x6x6\n[data]\ntype=data\ndataIdx=0\n"
NAMES = st.sampled_from(["a", "b", "c", "data", "a_1", "a_2", "a.x", "a_2.x", "b.x.y", "x", "y"])
LISTS = st.sampled_from(["data", "data", "$inputs", "a"]) | st.lists(
    NAMES | st.sampled_from(["$inputs", "$p", "$q"]), min_size=1, max_size=3
).map(",".join)
VALUES = {
    "inputs": LISTS,
    "type": st.sampled_from(
        ["neuron", "neuron", "neuron", "neuron", "concat", "eltsum", "t", "t", "u", "pool", "conv", "$p", "v"]
    ),
    "neuron": st.sampled_from(["relu", "abs", "relu", "$q", "tanh[$q,1]", "${q}", "$$"]),
    "repeat": st.sampled_from(["1", "2", "3", "0", "$p", "30000", "x"]),
    "remove": st.sampled_from(["1", "1", "0", "$p", "maybe"]),
    "after": NAMES | st.sampled_from(["$p", "a,b", ""]),
    "expect": st.sampled_from(["6x6x3", "108", "$p", "x"]),
    "p": st.sampled_from(["2", "a", "relu", "$q", "$inputs", ""]),
    "q": st.sampled_from(["abs", "1", "b", "$p", "$p$p$p"]),
    "weightsource": st.sampled_from(["a", "x[0]", "$p"]),
    "filters": st.sampled_from(["2", "$p"]),
}


@st.composite
def sections(draw: st.DrawFn) -> str:
    """Some sections: layers, templates and their layers, each with a few keys."""
    headers = st.one_of(
        NAMES,
        st.sampled_from(
            ["@template t", "@template u", "@t.x", "@t.y", "@u.x", "@u.z", "@params neuron", "@params conv"]
        ),
    )
    parts = []
    for header in draw(st.lists(headers, min_size=1, max_size=7)):
        keys = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=5, unique=True))
        if not header.startswith("@") or "." in header:
            keys = list(dict.fromkeys(["type", "inputs", "neuron", *keys])) if draw(st.integers(0, 3)) else keys
        parts.append(f"[{header}]\n" + "".join(f"{key}={draw(VALUES[key])}\n" for key in keys))
    return "".join(parts)


def rows(checked: Checked) -> list[tuple[object, ...]]:
    return [(r.name, r.type, r.inputs, r.neuron, r.shape, r.gpus, r.weights) for r in checked.layers]


def assert_one_meaning(checked: Checked) -> None:
    assert_told(checked)
    event(f"{'ok' if checked.ok else 'wrong'}, {'plain' if len(checked.layers) < 4 else 'several layers'}")
    if checked.ok:
        resolved = checked.resolved_text
        # Nobody reads the defaults of a type that no layer has.
        read = re.sub(r"(?ms)^\[@params .*?(?=^\[|\Z)", "", resolved)
        assert not any(word in read for word in ("extends=", "remove=", "after=", "repeat=", "[@template", "$"))
        again = convspec.check(resolved)
        assert again.ok, again.diagnostics
        assert rows(again) == rows(checked)
        assert again.resolved_text == resolved


@given(sections(), st.lists(NAMES, max_size=3).map(",".join))
@settings(max_examples=CASES)
def test_any_network(text: str, outputs: str) -> None:
    spec = f"{HEAD}[@net]\noutputs={outputs}\n{text}"
    assert_one_meaning(convspec.check(spec))
    formatted = format_document(parse_document(SourceFile("any.cfg", spec), Report()))
    assert format_document(parse_document(SourceFile("any.cfg", formatted), Report())) == formatted


@given(base=sections(), middle=sections(), top=sections(), output=st.sampled_from(["a", "b", "x", "a_2.x"]))
@settings(max_examples=CASES)
def test_any_chain(base: str, middle: str, top: str, output: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "chain-base.cfg").write_text(f"{HEAD}[@net]\noutputs={output}\n{base}")
    (folder / "chain-middle.cfg").write_text(f"[@net]\nextends=chain-base.cfg\n{middle}")
    (folder / "chain-top.cfg").write_text(f"[@net]\nextends=chain-middle.cfg\n{top}")
    checked = convspec.check(folder / "chain-top.cfg")
    assert_one_meaning(checked)
    names = {Path(d.span.file.name).name for d in checked.diagnostics if d.span is not None}
    assert names <= {"chain-base.cfg", "chain-middle.cfg", "chain-top.cfg"}


@given(sections(), st.lists(st.tuples(NAMES, st.sampled_from(sorted(VALUES)), LISTS), max_size=3))
@settings(max_examples=CASES // 2)
def test_any_overrides_of_a_network(text: str, overrides: list[tuple[str, str, str]]) -> None:
    spec = f"{HEAD}[@net]\noutputs=a\n{text}"
    assert_one_meaning(convspec.check(spec, overrides=[f"{name}.{key}={value}" for name, key, value in overrides]))


@given(st.text(alphabet="./abcdefg\\~\0 \n$%", max_size=12))
@settings(max_examples=CASES // 4)
def test_any_path_to_extend(path: str) -> None:
    try:
        checked = convspec.check(f"[@net]\nextends={path}\n")
    except DiagnosticError as error:
        raise AssertionError(error) from error
    assert_told(checked)

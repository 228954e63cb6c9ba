"""Values as text: what a form reads from it is the same value."""

from __future__ import annotations

from typing import Any

import pytest

from convspec.diagnostics import SourceFile, Span
from convspec.syntax import forms
from convspec.syntax.document import Entry, Piece
from convspec.syntax.forms import Form
from convspec.syntax.values import DeclineCall, ScheduleCall


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (forms.NEURON, "relu"),
        (forms.NEURON, "tanh[1.7159,0.66666667]"),
        (forms.SCHEDULE, "0.01"),
        (forms.SCHEDULE, "1e-05"),
        (forms.SCHEDULE, "const[base=0.5;tgtFactor=2]"),
        (forms.SCHEDULE, "dexp[base=0.02;tgtFactor=250;numSteps=4]"),
        (forms.DECLINE, "default"),
        (forms.DECLINE, "dexp[tgtFactor=250,noiseStdev=0.1,numSteps=4]"),
        (forms.DECLINE, "dexp[250,0,4]"),
        (forms.CALL, "initw.makew"),
        (forms.CALL, "initw.makewcat(runs/a b,fc1,fc2)"),
        (forms.EXTENT, "3"),
        (forms.EXTENT, "-3x5"),
        (forms.NAME, "conv4[0"),
    ],
)
def test_text_of_a_value_is_what_a_form_read(form: Form[Any], text: str) -> None:
    assert str(form.parse(text)) == text


def test_lists_of_sizes_and_sources() -> None:
    assert list(map(str, forms.INPUTS.parse("data:3x227x227, labels:1"))) == ["data:3x227x227", "labels:1"]
    assert list(map(str, forms.SOURCES.parse("conv1, ,fc2[1]"))) == ["conv1[0]", "None", "fc2[1]"]


def test_arguments_get_their_spelling_back() -> None:
    assert str(forms.SCHEDULE.parse("EXP[BASE=1;TGTFACTOR=10]")) == "EXP[base=1;tgtFactor=10]"
    # what nobody knows stays as values hold it
    assert str(ScheduleCall("exp", (("other", 2),))) == "exp[other=2]"
    assert str(DeclineCall("exp", (("", 1), ("noisestdev", 0.5)))) == "exp[1,noiseStdev=0.5]"


def test_each_source_knows_where_it_stands() -> None:
    """Whatever blanks and gaps are before it: what a diagnostic underlines."""
    text = "conv1 ,, \tfc2 [1],conv1, ,last[12]"
    sources = forms.SOURCES.parse(text)
    found = [None if each is None else (each.name.start, text[each.name.start : each.name.end]) for each in sources]
    assert found == [(0, "conv1"), None, (10, "fc2"), (18, "conv1"), None, (26, "last")]
    for entry in ("]", "a]"):
        with pytest.raises(forms.ValueSyntaxError) as raised:
            forms.SOURCES.parse(f"conv1, ,{entry} ,b")
        assert (raised.value.start, raised.value.end) == (8, 8 + len(entry))


def test_a_part_of_a_value_put_together_is_found_in_its_piece() -> None:
    """`ab` as it was written, `cd` from `$n`, nothing from `$e`, and `ef` as it was written."""
    file = SourceFile("a.cfg", "x=ab$n$eef\n")
    places = [((0, 2), (2, 4)), ((2, 4), (4, 6)), ((4, 4), (6, 8)), ((4, 6), (8, 10))]
    pieces = tuple(Piece(*part, Span(file, *place)) for part, place in places)
    entry = Entry("x", "x", "abcdef", file.text, Span(file, 0, 1), Span(file, 2, 10), pieces)
    expected = {
        (0, 1): "a", (1, 2): "b", (0, 2): "ab", (2, 3): "$n", (2, 4): "$n", (4, 5): "e", (5, 6): "f",
        (1, 3): "ab$n$eef", (3, 5): "ab$n$eef", (0, 6): "ab$n$eef",
    }  # fmt: skip
    for (start, end), text in expected.items():
        assert entry.part(start, end).text == text, (start, end)
    assert entry.part(5, 6).column == 10

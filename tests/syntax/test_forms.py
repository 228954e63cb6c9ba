"""The value languages: what they take, and where they say it is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from convspec.syntax import forms
from convspec.syntax.forms import Form, ValueSyntaxError
from convspec.syntax.values import Binding, DeclineCall, Extent, Name, NeuronCall, ScheduleCall

RIGHT: list[tuple[Form[Any], str, object]] = [
    (forms.INTEGER, "-4", -4),
    (forms.INTEGER, "+04", 4),
    (forms.INTEGERS, "1, 2,3", (1, 2, 3)),
    (forms.NUMBER, ".75", 0.75),
    (forms.NUMBER, "1.", 1.0),
    (forms.NUMBER, "-1e-3", -0.001),
    (forms.NUMBERS, "0.5,1E2", (0.5, 100.0)),
    (forms.WORD, "cost.logreg", "cost.logreg"),
    (forms.NAMES, "a b, c[0", (Name("a b", 0, 3), Name("c[0", 5, 8))),
    (forms.NAMES, "a:b", (Name("a:b", 0, 3),)),
    (forms.NAMES, "a,\n b", (Name("a", 0, 1), Name("b", 4, 5))),
    (forms.NEURON, "relu", NeuronCall("relu", ())),
    (forms.NEURON, "tanh[1.7, .66]", NeuronCall("tanh", (1.7, 0.66))),
    (forms.SCHEDULE, "1e-3", ScheduleCall("const", (("base", 0.001),))),
    (
        forms.SCHEDULE,
        "dexp[base=0.02;tgtFactor=250;numSteps=4]",
        ScheduleCall("dexp", (("base", 0.02), ("tgtfactor", 250.0), ("numsteps", 4.0))),
    ),
    (
        forms.SCHEDULES,
        "0,exp[base=1;tgtFactor=2]",
        (ScheduleCall("const", (("base", 0.0),)), ScheduleCall("exp", (("base", 1.0), ("tgtfactor", 2.0)))),
    ),
    (forms.DECLINE, "default", DeclineCall("default", ())),
    (forms.DECLINE, "default[]", DeclineCall("default", ())),
    (
        forms.DECLINE,
        "jdexp [TGTFACTOR=250, noiseStdev=.5,numSteps=4]",
        DeclineCall("jdexp", (("tgtfactor", 250), ("noisestdev", 0.5), ("numsteps", 4))),
    ),
    (forms.DECLINE, "dexp[250,0,4]", DeclineCall("dexp", (("", 250), ("", 0), ("", 4)))),
    (forms.INPUTS, "data:3x227x227, labels:1", (Binding("data", (3, 227, 227)), Binding("labels", (1,)))),
    (forms.CLAIM, "55X55x96", (55, 55, 96)),
    (forms.SQUARE, "3", Extent(3, 3)),
    (forms.SQUARES, "3,-1", (Extent(3, 3), Extent(-1, -1))),
    (forms.EXTENT, "3", Extent(3, 3)),
    (forms.EXTENT, "3x5", Extent(3, 5)),
    (forms.EXTENT, "-1 X 0", Extent(-1, 0)),
    (forms.EXTENTS, "3x5,3, 1x2", (Extent(3, 5), Extent(3, 3), Extent(1, 2))),
    *((forms.FLAG, text, True) for text in ("1", "true", "True", "YES", "on")),
    *((forms.FLAG, text, False) for text in ("0", "false", "No", "OFF")),
]


@pytest.mark.parametrize(("form", "text", "value"), RIGHT)
def test_value(form: Form[Any], text: str, value: object) -> None:
    assert form.parse(text) == value


@pytest.mark.parametrize(
    ("form", "text", "wrong"),
    [
        (forms.INTEGER, "4px", "4px"),
        (forms.INTEGER, "4.0", "4.0"),
        (forms.INTEGER, "1,2", "1,2"),
        (forms.INTEGER, "", ""),
        (forms.INTEGERS, "1,x2,3", "x2"),
        (forms.INTEGERS, "1, 2.5 ,3", "2.5"),
        (forms.INTEGERS, "1,,2", "1,,2"),
        (forms.INTEGERS, "1,2,", "1,2,"),
        (forms.SQUARE, "3x5", "3x5"),
        (forms.SQUARES, "3,3x5", "3x5"),
        (forms.EXTENT, "3x5x7", "3x5x7"),
        (forms.EXTENT, "3,5", "3,5"),
        (forms.EXTENT, "3x", "3x"),
        (forms.EXTENTS, "3x5,x3", "x3"),
        (forms.EXTENTS, "3x5,1.5x2", "1.5x2"),
        (forms.NUMBER, "nan", "nan"),
        (forms.NUMBER, "inf", "inf"),
        (forms.NUMBER, "0.o1", "0.o1"),
        (forms.NUMBER, "1e", "1e"),
        (forms.NUMBERS, "0.1,0..1", "0..1"),
        (forms.NEURON, "tanh[1.7", "tanh[1.7"),
        (forms.NEURON, "tanh()", "tanh()"),
        (forms.SCHEDULE, "exp[0.01]", "exp[0.01]"),
        (forms.SCHEDULES, "0.1,exp(2)", "exp(2)"),
        (forms.DECLINE, "dexp[250,x,4]", "x"),
        (forms.DECLINE, "dexp[tgtFactor=250;numSteps=4]", "dexp[tgtFactor=250;numSteps=4]"),
        (forms.INPUTS, "data=3x4x4", "data=3x4x4"),
        (forms.INPUTS, "data:3x", "data:3x"),
        (forms.FLAG, "2", "2"),
    ],
)
def test_wrong_value_and_the_part_that_is_wrong(form: Form[Any], text: str, wrong: str) -> None:
    with pytest.raises(ValueSyntaxError) as caught:
        form.parse(text)
    assert text[caught.value.start : caught.value.end] == wrong
    assert not caught.value.is_too_large


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (forms.INTEGER, "9" * 19),
        (forms.NUMBER, "1e400"),
        (forms.NEURON, "tanh[1e400,1]"),
        (forms.SCHEDULE, "1e400"),
        (forms.SCHEDULE, "exp[base=1;tgtFactor=1e400]"),
        (forms.INPUTS, f"data:{'9' * 19}"),
    ],
)
def test_number_that_nothing_holds(form: Form[Any], text: str) -> None:
    with pytest.raises(ValueSyntaxError) as caught:
        form.parse(text)
    assert caught.value.is_too_large

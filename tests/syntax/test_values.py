"""The value languages: what they take, and where they say it is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from convspec.syntax import values
from convspec.syntax.values import (
    Binding,
    DeclineCall,
    Extent,
    Form,
    Name,
    NeuronCall,
    ScheduleCall,
    ValueSyntaxError,
)

RIGHT: list[tuple[Form[Any], str, object]] = [
    (values.INTEGER, "-4", -4),
    (values.INTEGER, "+04", 4),
    (values.INTEGERS, "1, 2,3", (1, 2, 3)),
    (values.NUMBER, ".75", 0.75),
    (values.NUMBER, "1.", 1.0),
    (values.NUMBER, "-1e-3", -0.001),
    (values.NUMBERS, "0.5,1E2", (0.5, 100.0)),
    (values.WORD, "cost.logreg", "cost.logreg"),
    (values.NAMES, "a b, c[0", (Name("a b", 0, 3), Name("c[0", 5, 8))),
    (values.NAMES, "a:b", (Name("a:b", 0, 3),)),
    (values.NAMES, "a,\n b", (Name("a", 0, 1), Name("b", 4, 5))),
    (values.NEURON, "relu", NeuronCall("relu", ())),
    (values.NEURON, "tanh[1.7, .66]", NeuronCall("tanh", (1.7, 0.66))),
    (values.SCHEDULE, "1e-3", ScheduleCall("const", (("base", 0.001),))),
    (
        values.SCHEDULE,
        "dexp[base=0.02;tgtFactor=250;numSteps=4]",
        ScheduleCall("dexp", (("base", 0.02), ("tgtfactor", 250.0), ("numsteps", 4.0))),
    ),
    (
        values.SCHEDULES,
        "0,exp[base=1;tgtFactor=2]",
        (ScheduleCall("const", (("base", 0.0),)), ScheduleCall("exp", (("base", 1.0), ("tgtfactor", 2.0)))),
    ),
    (values.DECLINE, "default", DeclineCall("default", ())),
    (values.DECLINE, "default[]", DeclineCall("default", ())),
    (
        values.DECLINE,
        "jdexp [TGTFACTOR=250, noiseStdev=.5,numSteps=4]",
        DeclineCall("jdexp", (("tgtfactor", 250), ("noisestdev", 0.5), ("numsteps", 4))),
    ),
    (values.DECLINE, "dexp[250,0,4]", DeclineCall("dexp", (("", 250), ("", 0), ("", 4)))),
    (values.INPUTS, "data:3x227x227, labels:1", (Binding("data", (3, 227, 227)), Binding("labels", (1,)))),
    (values.CLAIM, "55X55x96", (55, 55, 96)),
    (values.SQUARE, "3", Extent(3, 3)),
    (values.SQUARES, "3,-1", (Extent(3, 3), Extent(-1, -1))),
    (values.EXTENT, "3", Extent(3, 3)),
    (values.EXTENT, "3x5", Extent(3, 5)),
    (values.EXTENT, "-1 X 0", Extent(-1, 0)),
    (values.EXTENTS, "3x5,3, 1x2", (Extent(3, 5), Extent(3, 3), Extent(1, 2))),
    *((values.FLAG, text, True) for text in ("1", "true", "True", "YES", "on")),
    *((values.FLAG, text, False) for text in ("0", "false", "No", "OFF")),
]


@pytest.mark.parametrize(("form", "text", "value"), RIGHT)
def test_value(form: Form[Any], text: str, value: object) -> None:
    assert form.parse(text) == value


@pytest.mark.parametrize(
    ("form", "text", "wrong"),
    [
        (values.INTEGER, "4px", "4px"),
        (values.INTEGER, "4.0", "4.0"),
        (values.INTEGER, "1,2", "1,2"),
        (values.INTEGER, "", ""),
        (values.INTEGERS, "1,x2,3", "x2"),
        (values.INTEGERS, "1, 2.5 ,3", "2.5"),
        (values.INTEGERS, "1,,2", "1,,2"),
        (values.INTEGERS, "1,2,", "1,2,"),
        (values.SQUARE, "3x5", "3x5"),
        (values.SQUARES, "3,3x5", "3x5"),
        (values.EXTENT, "3x5x7", "3x5x7"),
        (values.EXTENT, "3,5", "3,5"),
        (values.EXTENT, "3x", "3x"),
        (values.EXTENTS, "3x5,x3", "x3"),
        (values.EXTENTS, "3x5,1.5x2", "1.5x2"),
        (values.NUMBER, "nan", "nan"),
        (values.NUMBER, "inf", "inf"),
        (values.NUMBER, "0.o1", "0.o1"),
        (values.NUMBER, "1e", "1e"),
        (values.NUMBERS, "0.1,0..1", "0..1"),
        (values.NEURON, "tanh[1.7", "tanh[1.7"),
        (values.NEURON, "tanh()", "tanh()"),
        (values.SCHEDULE, "exp[0.01]", "exp[0.01]"),
        (values.SCHEDULES, "0.1,exp(2)", "exp(2)"),
        (values.DECLINE, "dexp[250,x,4]", "x"),
        (values.DECLINE, "dexp[tgtFactor=250;numSteps=4]", "dexp[tgtFactor=250;numSteps=4]"),
        (values.INPUTS, "data=3x4x4", "data=3x4x4"),
        (values.INPUTS, "data:3x", "data:3x"),
        (values.FLAG, "2", "2"),
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
        (values.INTEGER, "9" * 19),
        (values.NUMBER, "1e400"),
        (values.NEURON, "tanh[1e400,1]"),
        (values.SCHEDULE, "1e400"),
        (values.SCHEDULE, "exp[base=1;tgtFactor=1e400]"),
        (values.INPUTS, f"data:{'9' * 19}"),
    ],
)
def test_number_that_nothing_holds(form: Form[Any], text: str) -> None:
    with pytest.raises(ValueSyntaxError) as caught:
        form.parse(text)
    assert caught.value.is_too_large

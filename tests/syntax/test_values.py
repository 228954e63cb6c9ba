"""Values as text: what a form reads from it is the same value."""

from __future__ import annotations

from typing import Any

import pytest

from convspec.syntax import forms
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

"""Neurons, schedules and defaults: what the layers make of their values."""

from __future__ import annotations

import pytest

from convspec.checker import check
from convspec.diagnostics import Report
from convspec.layers import BUILT_IN, layer_type, layer_types
from convspec.layers.base import NEURON_ARGUMENTS
from convspec.layers.keys import Key
from convspec.layers.weights import WeightLayer
from convspec.program.features import Neuron
from convspec.program.schedule import ScheduleKind

HEAD = "[@net]\ninput=data:4\noutputs=x\n[data]\ntype=data\ndataIdx=0\n"
FC = "[x]\ntype=fc\ninputs=data\noutputs=4\n"


def codes(text: str) -> list[str]:
    return [d.code for d in check(text).diagnostics]


@pytest.mark.parametrize(("name", "count"), NEURON_ARGUMENTS.items())
def test_neuron_takes_its_arguments_and_no_others(name: str, count: int) -> None:
    def call(arguments: int) -> str:
        return f"{name}[{','.join(['0.5'] * arguments)}]" if arguments else name

    section = HEAD + "[x]\ntype=neuron\ninputs=data\nneuron={}\n"
    assert codes(section.format(call(count))) == []
    assert codes(section.format(call(count + 1))) == ["CS210"]
    assert codes(section.format(name.capitalize())) == ["CS210"]


def test_operators_know_every_neuron() -> None:
    assert {neuron.value for neuron in Neuron} == NEURON_ARGUMENTS.keys() - {"ident"}


def weight_layer(epsilon: str) -> WeightLayer:
    text = HEAD + FC + f"initW=0.01\nmomW=0.9\nmomB=0.9\nepsB=0.1\nepsW={epsilon}\n"
    checked = check(text)
    assert checked.ok, [d.message for d in checked.diagnostics]
    layer = checked.graph.layers["x"]
    assert isinstance(layer, WeightLayer)
    return layer


@pytest.mark.parametrize(
    ("text", "kind", "base", "factor", "steps"),
    [
        ("0.01", ScheduleKind.CONST, 0.01, 1.0, 1),
        ("1e-3", ScheduleKind.CONST, 0.001, 1.0, 1),
        ("const[base=.5]", ScheduleKind.CONST, 0.5, 1.0, 1),
        ("linear[base=1;tgtFactor=10]", ScheduleKind.LINEAR, 1.0, 10.0, 1),
        ("exp[base=1;tgtFactor=10]", ScheduleKind.EXP, 1.0, 10.0, 1),
        ("dexp[base=0.02;tgtFactor=250;numSteps=4]", ScheduleKind.DEXP, 0.02, 250.0, 4),
        ("DEXP[BASE=0.02;TGTFACTOR=250;NUMSTEPS=4]", ScheduleKind.DEXP, 0.02, 250.0, 4),
    ],
)
def test_schedule(text: str, kind: ScheduleKind, base: float, factor: float, steps: int) -> None:
    schedule = weight_layer(text).weight_update(0).rate
    assert (schedule.kind, schedule.base) == (kind, base)
    assert (schedule.target_factor, schedule.steps) == (factor, steps)


@pytest.mark.parametrize(
    "text",
    [
        "step[base=1;tgtFactor=2]",
        "exp[base=1]",
        "exp[tgtFactor=2;base=1]",
        "exp[base=1;tgtFactor=0]",
        "exp[base=1;tgtFactor=-2]",
        "dexp[base=1;tgtFactor=2;numSteps=0]",
        "dexp[base=1;tgtFactor=2;numSteps=1.5]",
        "dexp[base=1;tgtFactor=2;numSteps=99999]",
    ],
)
def test_schedule_that_cannot_be(text: str) -> None:
    assert codes(HEAD + FC + f"initW=0.01\nmomW=0.9\nmomB=0.9\nepsB=0.1\nepsW={text}\n") == ["CS211"]


def test_defaults_are_for_layers_that_do_not_say_otherwise() -> None:
    text = HEAD + "[@params]\nepsW=0.01\nepsB=0.02\nmomW=0.9\nmomB=0.8\ninitW=0.1\nwc=0.5\n" + FC + "epsW=0.3\n"
    layer = check(text).graph.layers["x"]
    assert isinstance(layer, WeightLayer)
    assert layer.weight_update(0).rate.base == 0.3
    assert (layer.weight_update(0).momentum, layer.bias_update.momentum) == (0.9, 0.8)
    assert layer.bias_update.rate.base == 0.02
    assert layer.init_w == (0.1,)


def test_missing_keys_of_a_layer_are_one_diagnostic() -> None:
    [diagnostic] = check(HEAD + "[x]\ntype=fc\ninputs=data\n").diagnostics
    assert diagnostic.message == "x needs initW, epsW, epsB, momW, momB and outputs"
    assert len(diagnostic.notes) == 6


@pytest.mark.parametrize("name", layer_types())
def test_each_type_is_found_by_its_name_and_describes_its_keys(name: str) -> None:
    cls = layer_type(name)
    assert cls is BUILT_IN[name]
    assert cls.__doc__
    assert all(isinstance(key, Key) and key.doc for key in cls.keys.values())
    assert all(key.name == key.spelling.lower() for key in cls.keys.values())


def test_unknown_type_is_none() -> None:
    assert layer_type("cnov") is None


def test_a_shared_mistake_is_reported_once() -> None:
    text = HEAD + "[@params]\nepsW=fast\nepsB=1\nmomW=0\nmomB=0\ninitW=1,2\n" + FC + FC.replace("x]", "y]")
    report = Report()
    report.extend(check(text.replace("outputs=x", "outputs=x,y")).diagnostics)
    assert [d.code for d in report] == ["CS204", "CS206"]

"""Weights that several layers teach at rates of their own, as the original programs let them, type by type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import convspec
from convspec.compiler import compile_checked, compile_spec
from convspec.diagnostics import DiagnosticError
from convspec.program.printer import print_program
from convspec.program.program import Program
from convspec.program.weighted import Conv2d, Linear, LocallyConnected2d
from tests.emit.comparison import assert_program_is_spec, lowered

NET = """[@net]
dialect={dialect}
input=data:3x6x6,labels:1
classes=5
[@params]
momW=0.9
momB=0.9
wc=0
initW=0.1
epsB=0.01
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[curve]
type=neuron
inputs=data
neuron=tanh[1,1]
gpu=0
[a]
inputs=data
{keys}
epsW={owner}
[b]
inputs=curve
weightSource=a
{keys}
epsW={sharer}
[fc]
type=fc
inputs=a,b
outputs=5
epsW=0.01,0.01
gpu=0
[probs]
type=softmax
inputs=fc
gpu=0
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
gpu=0
"""
WINDOWS = "filters=16\nfilterSize=3\nchannels=3\npadding=0\nstride=1\ngpu=0"
KEYS = {
    "conv": f"type=conv\n{WINDOWS}\npartialSum=1\nsumWidth=1",
    "local": f"type=local\n{WINDOWS}",
    "fc": "type=fc\noutputs=7\ngpu=0",
}
OWN = {"convspec": [], "ccn1": ["conv", "local", "fc"], "alexnet2012": ["local", "fc"], "ccn2": ["local", "fc"]}


def checked(dialect: str, kind: str, owner: str = "0.02", sharer: str = "0.05") -> convspec.Checked:
    spec = convspec.check(NET.format(dialect=dialect, keys=KEYS[kind], owner=owner, sharer=sharer))
    assert spec.ok, spec.diagnostics
    return spec


def scales(program: Program) -> list[float]:
    """Of the owner and of the sharer."""
    weighted = [op for op in program.operators if isinstance(op, Conv2d | Linear | LocallyConnected2d)]
    by_layer = {op.layers[0]: op.gradient_scale for op in weighted}
    return [by_layer["a"], by_layer["b"]]


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("dialect", OWN)
def test_a_sharer_teaches_at_the_rate_that_its_dialect_gives_it(dialect: str, kind: str) -> None:
    spec = checked(dialect, kind)
    program = lowered(spec)
    assert scales(program) == pytest.approx([1, 2.5 if kind in OWN[dialect] else 1])
    assert_program_is_spec(program, spec)


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("dialect", OWN)
def test_a_frozen_sharer_teaches_nothing(dialect: str, kind: str) -> None:
    spec = checked(dialect, kind, sharer="0")
    assert scales(lowered(spec)) == [1, 0]
    assert_program_is_spec(lowered(spec), spec)


def test_a_frozen_owner_is_frozen_for_all() -> None:
    program = lowered(checked("ccn1", "fc", owner="0"))
    assert program.parameter["a.weight"].update.rate.is_frozen
    assert scales(program) == [1, 1]


@pytest.mark.parametrize("scale", [1.0, 2.4, 0.0])
def test_another_scale_is_noticed(scale: float) -> None:
    """The broken twin."""
    spec = checked("ccn1", "conv")
    program = lowered(spec)
    operators = [
        replace(op, gradient_scale=scale) if isinstance(op, Conv2d) and op.layers == ("b",) else op
        for op in program.operators
    ]
    with pytest.raises(AssertionError):
        assert_program_is_spec(replace(program, operators=tuple(operators)), spec)


def test_the_module_says_it() -> None:
    source = compile_checked(checked("alexnet2012", "fc")).source
    assert 'F.linear(curve.flatten(1), scale_gradient(self.a.weight, 2.5), self.b["bias"])' in source
    assert "import scale_gradient" in source
    assert "self.a.weight.detach()" in compile_checked(checked("ccn2", "conv", sharer="0")).source
    assert "scale_gradient" not in compile_checked(checked("convspec", "fc")).source
    stages: list[str] = []
    compile_checked(checked("ccn1", "fc"), after=lambda name, program: stages.append(print_program(program)))
    assert "gradient_scale=2.5" in stages[0]
    assert stages[0].count("gradient_scale") == 1


FALLING = "dexp[base={};tgtFactor=250;numSteps=4]"


def test_schedules_that_fall_alike_keep_their_ratio() -> None:
    spec = checked("ccn2", "fc", FALLING.format(0.02), FALLING.format(0.05))
    assert scales(lowered(spec)) == pytest.approx([1, 2.5])


def test_schedules_that_part_are_refused(tmp_path: Path) -> None:
    text = NET.format(dialect="ccn2", keys=KEYS["fc"], owner=FALLING.format(0.02), sharer="0.05")
    with pytest.raises(DiagnosticError) as caught:
        compile_spec(text)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.code == "CS607"
    assert diagnostic.span is not None
    assert diagnostic.span.text == "0.05"
    assert compile_spec(text.replace("dialect=ccn2", "dialect=convspec")).source


def test_a_sharer_without_a_rate_is_told_of_like_any_other_layer() -> None:
    text = """
[@net]
input=data:3x8x8
outputs=second
[@params]
initW=1
epsB=1
momW=0
momB=0
[data]
type=data
dataIdx=0
[first]
type=fc
inputs=data
outputs=192
[second]
type=fc
inputs=first
outputs=192
weightSource=first
"""
    with pytest.raises(DiagnosticError) as caught:
        compile_spec(text)
    assert {d.code for d in caught.value.diagnostics} == {"CS203"}

"""Programs as text."""

from __future__ import annotations

import convspec
from convspec.program.printer import print_program
from convspec.resources import spec_path
from tests.emit.comparison import UNFUSED, lowered
from tests.emit.small_specs import TWO_TOWERS


def test_operators_and_parameters_stand_on_a_line_each() -> None:
    program = lowered(convspec.check(TWO_TOWERS))
    lines = print_program(program).splitlines()
    assert lines[0] == "program net"
    for op in program.operators:
        assert any(line.startswith(f"  {op.name}: {op.shape} = {type(op).__name__}(") for line in lines), op.name
    for parameter in program.parameters:
        assert any(line.startswith(f"  {parameter.name}: ") for line in lines), parameter.name
    assert "  return probs, cost" in lines


def test_towers_are_named_where_they_merged() -> None:
    text = print_program(lowered(convspec.check(TWO_TOWERS), passes=UNFUSED))
    assert "LocalResponseNorm(conv1, size=3, alpha=5.0, beta=0.75, k=2.0, groups=2)  # rnorm1a || rnorm1b" in text
    assert "# conv3a.weights.0, conv3a.weights.1, conv3b.weights.1, conv3b.weights.0" in text.replace(
        "conv3b.weights.0, conv3b.weights.1", "conv3b.weights.1, conv3b.weights.0"
    )


def test_gpus_are_named_where_they_did_not() -> None:
    text = print_program(lowered(convspec.check(TWO_TOWERS), (), ()))
    assert "MaxPool2d(rnorm1b, kernel_size=(3, 3), stride=(2, 2), start=(0, 0)) gpu 1" in text


def test_rates_are_printed_as_a_spec_writes_them() -> None:
    text = print_program(lowered(convspec.check(spec_path("alexnet-2012.cfg"))))
    assert "normal(std=0.01), rate dexp[base=0.01;tgtFactor=250;numSteps=4], momentum 0.9, decay 0.0005" in text
    assert "constant(1), rate dexp[base=0.02;tgtFactor=10;numSteps=2], momentum 0.9, decay 0" in text

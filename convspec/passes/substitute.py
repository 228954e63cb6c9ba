"""Renaming the values that operators read: the one thing that most passes share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from convspec.program.costs import CostOperator
from convspec.program.operators import Op
from convspec.program.program import Output, Program


def substitute(program: Program, operators: Iterable[Op], values: Mapping[str, str]) -> Program:
    """The program with these operators, in which every reader of a key of `values` reads what it maps to."""
    renamed = tuple(_substituted(op, values) for op in operators)
    outputs = tuple(Output(output.layer, values.get(output.value, output.value)) for output in program.outputs)
    return replace(program, operators=renamed, outputs=outputs)


def _substituted(op: Op, values: Mapping[str, str]) -> Op:
    if isinstance(op, CostOperator) and op.predictions is not None and op.predictions in values:
        op = replace(op, predictions=values[op.predictions])
    if values.keys().isdisjoint(op.inputs):
        return op
    return replace(op, inputs=tuple(values.get(name, name) for name in op.inputs))

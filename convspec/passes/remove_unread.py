"""Operators, parameters and buffers that no output needs."""

from __future__ import annotations

from dataclasses import replace

from convspec.program.moves import Input
from convspec.program.operators import buffers_of, parameters_of
from convspec.program.program import Program


def remove_unread(program: Program) -> Program:
    """Inputs stay: they are the signature of `forward`."""
    needed = {output.value for output in program.outputs} | {
        cost.predictions for cost in program.costs if cost.predictions
    }
    kept = []
    for op in reversed(program.operators):
        if op.name in needed or isinstance(op, Input):
            needed.update(op.inputs)
            kept.append(op)
    named = {name for op in kept for name in (*parameters_of(op), *buffers_of(op))}
    parameters = tuple(parameter for parameter in program.parameters if parameter.name in named)
    buffers = tuple(buffer for buffer in program.buffers if buffer.name in named)
    return replace(program, operators=tuple(reversed(kept)), parameters=parameters, buffers=buffers)

"""Operators that give what they read: dropout that keeps everything, a concat or a sum of one value, an empty reshape."""

from __future__ import annotations

from convspec.passes.substitute import substitute
from convspec.program.features import Add, Concat, Dropout, Maximum, Reshape
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.program.windows import ChannelPool


def remove_identities(program: Program) -> Program:
    """Their readers read their inputs instead."""
    instead: dict[str, str] = {}
    kept = []
    for op in program.operators:
        if _is_identity(op, program):
            instead[op.name] = instead.get(op.inputs[0], op.inputs[0])
        else:
            kept.append(op)
    return substitute(program, kept, instead) if instead else program


def _is_identity(op: Op, program: Program) -> bool:
    match op:
        case Dropout(keep=keep, rescale_at_test=rescale_at_test, enabled=enabled):
            return keep == 1 or not (enabled or rescale_at_test)
        case Concat(inputs=inputs):
            return len(inputs) == 1
        case Add(inputs=inputs, coefficients=coefficients):
            return len(inputs) == 1 and not coefficients
        case Maximum(inputs=inputs):
            return len(inputs) == 1
        case ChannelPool(size=1, stride=1, start=0, shape=shape, inputs=(source,)):
            return program.values[source].shape == shape
        case Reshape(inputs=(source,), shape=shape):
            return program.values[source].shape == shape
        case _:
            return False

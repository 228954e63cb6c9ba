"""What an operator computes and moves: multiply-adds and bytes, from its shapes alone."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from convspec.plan.recorder import FLOAT, Precision
from convspec.plan.tape import cases_of
from convspec.program.features import Concat, Reshape, Slice
from convspec.program.moves import Input, JoinCases, TakeCases, Transfer
from convspec.program.operators import Op, parameters_of
from convspec.program.program import Program
from convspec.program.weighted import BatchNorm, Conv2d, Linear, LocallyConnected2d, TreeLinear


class Work(NamedTuple):
    """Of one operator in one step. macs: multiply-adds. bytes: that it reads and writes in the memory of its device."""

    forward_macs: int = 0
    backward_macs: int = 0
    forward_bytes: int = 0
    backward_bytes: int = 0


def macs_a_case(op: Op, program: Program) -> int:
    """Multiply-adds of the forward pass for one case; 0 for what multiplies with no weight."""
    match op:
        case Conv2d(weight=weight, shape=shape):
            return prod(program.parameter[weight].shape[1:]) * shape.features
        case LocallyConnected2d(weight=weight) | Linear(weight=weight):
            return prod(program.parameter[weight].shape)
        case TreeLinear(weight=weight, shape=shape):
            return program.parameter[weight].shape[1] * shape.features
        case BatchNorm(shape=shape):
            return shape.features
        case _:
            return 0


def work_of(op: Op, program: Program, batch: int, precision: Precision, learning: frozenset[str]) -> Work:
    """The work of a step on `batch` images.

    An operator reads what it reads once and writes its result once, parameters included. Its gradient reads that of the
    result, and what the forward pass read, and writes the gradients. Each of the two sums of products of the backward
    pass, for what was read and for the weights, is as long as that of the forward pass; the first is left out where
    nothing below learns. What only names, cuts or joins tensors is free; crossings are counted elsewhere.

    learning: values that have a gradient.
    """
    if isinstance(op, Input | Transfer | Reshape | Slice | Concat | TakeCases | JoinCases):
        return Work()
    cases, width = cases_of(op, batch), precision.value
    read = sum(program.values[name].shape.features for name in op.inputs) * cases * width
    written = op.shape.features * cases * width
    parameters = [program.parameter[name] for name in parameters_of(op)]
    weights = sum(prod(each.shape) for each in parameters)
    macs = macs_a_case(op, program) * cases
    if op.name not in learning:
        return Work(macs, 0, read + written + weights * width, 0)
    reaches_below = any(name in learning for name in op.inputs)
    learns = any(not each.update.rate.is_frozen for each in parameters)
    return Work(
        macs,
        macs * (reaches_below + learns),
        read + written + weights * width,
        written + read * (1 + reaches_below) + weights * width * reaches_below + weights * FLOAT * learns,
    )

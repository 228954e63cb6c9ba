"""Python expressions for neurons and dropout, and what random numbers are drawn by."""

from __future__ import annotations

from typing import assert_never

from convspec.emit.cases import edge
from convspec.emit.lines import literal
from convspec.program.features import Activation, Dropout, Neuron
from convspec.program.operators import Op


def activation(op: Activation, x: str) -> str:  # noqa: C901 - a case a neuron
    """Values and gradients as cuda-convnet2 include/neuron.cuh, at the edges too: abs has slope -1 at 0, hardtanh has
    slope 0 at its corners, abstanh at 0, softrelu's slope goes by its input, and nrelu's noise is a constant to the
    gradient."""
    a, b = (*map(repr, op.arguments), "", "")[:2]
    match op.neuron:
        case Neuron.LOGISTIC:
            return f"torch.sigmoid({x})"
        case Neuron.ABS:
            return f"torch.where({x} > 0, {x}, -{x})"
        case Neuron.RELU:
            return f"F.relu({x})"
        case Neuron.SOFTRELU:
            return f"torch.where({x} > 4, {x}, F.softplus({x}))"
        case Neuron.SQUARE:
            return f"torch.square({x})"
        case Neuron.SQRT:
            return f"torch.sqrt({x})"
        case Neuron.TANH:
            return f"{a} * torch.tanh({b} * {x})"
        case Neuron.ABSTANH:
            return f"{a} * torch.tanh({b} * {x}).abs()"
        case Neuron.BRELU:
            return f"F.hardtanh({x}, 0.0, {a})"
        case Neuron.LINEAR:
            return f"{a} * {x} + {b}"
        case Neuron.LOG:
            return f"torch.log({a} + {x})"
        case Neuron.DRELU:
            return f"{x} - {a} * torch.tanh({x} / {a})"
        case Neuron.NRELU:
            return f"F.relu(F.relu({x}) + F.relu({x}).detach() * normal_like({x}, {_noise(op)}))"
        case _:
            assert_never(op.neuron)


def dropout(op: Dropout, x: str) -> str:
    """`dropout2` and `hs` are inverted dropout times `keep`: x * mask in training, x * keep at test."""
    if op.enabled and not 0 <= op.keep <= 1:
        return _certain(op, x)
    dropped = f"dropout({x}, {round(1 - op.keep, 15)!r}, self.training, {_noise(op)})" if op.enabled else x
    return f"{op.keep!r} * {dropped}" if op.rescale_at_test else dropped


def _certain(op: Dropout, x: str) -> str:
    """Dropout with a `keep` that is no probability: above 1 it keeps all units, below 0 none."""
    kept = 1.0 if op.keep > 1 else 0.0
    train, test = (kept, op.keep) if op.rescale_at_test else (kept / op.keep, 1.0)
    return f"({train!r} if self.training else {test!r}) * {x}"


def _noise(op: Op) -> str:
    """What random numbers are drawn by: the step, and the layers that have a run of the channels each."""
    first = "" if op.cases is None else edge(op.cases.first, op.cases.total)
    return ", ".join([f"noise and noise.from_case({first})" if first else "noise", *map(literal, op.layers)])

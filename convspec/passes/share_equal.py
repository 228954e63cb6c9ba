"""Operators that compute the same from the same become one: both towers pad the same image, for one.

What learns, keeps statistics or draws random numbers is never shared.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import fields, replace

from convspec.passes.substitute import substitute
from convspec.passes.twins import PLACE
from convspec.program.costs import CostOperator
from convspec.program.features import Activation, Dropout, Neuron
from convspec.program.images import Resize
from convspec.program.moves import Input
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.program.weighted import BatchNorm, Conv2d, Linear, LocallyConnected2d, TreeLinear


def share_equal(program: Program) -> Program:
    """One operator for each distinct computation; it belongs to the layers of all, and to no GPU if theirs differ."""
    return _share(program, lambda op: None)


def share_equal_on_gpus(program: Program) -> Program:
    """The same on each GPU by itself."""
    return _share(program, lambda op: (op.gpu, op.cases))


def _share(program: Program, place: Callable[[Op], Hashable]) -> Program:
    """place: what equal operators must have in common beside what they compute."""
    instead: dict[str, str] = {}
    first: dict[Hashable, Op] = {}
    kept: dict[str, Op] = {}
    for op in program.operators:
        inputs = tuple(instead.get(name, name) for name in op.inputs)
        attributes = tuple((f.name, getattr(op, f.name)) for f in fields(op) if f.name not in PLACE)
        key = (type(op), inputs, attributes, place(op))
        equal = first.get(key) if _is_sharable(op) else None
        if equal is None:
            first[key] = kept[op.name] = op
            continue
        instead[op.name] = equal.name
        gpu = equal.gpu if equal.gpu == op.gpu else None
        replicas = equal.replicas if equal.replicas == op.replicas else ()
        layers = tuple(dict.fromkeys((*equal.layers, *op.layers)))
        first[key] = kept[equal.name] = replace(equal, layers=layers, gpu=gpu, replicas=replicas)
    return substitute(program, kept.values(), instead) if instead else program


def _is_sharable(op: Op) -> bool:
    match op:
        case Input() | Dropout() | CostOperator():
            return False
        case Conv2d() | LocallyConnected2d() | Linear() | TreeLinear() | BatchNorm():
            return False
        case Resize(is_random=is_random):
            return not is_random
        case Activation(neuron=neuron):
            return neuron is not Neuron.NRELU
        case _:
            return True

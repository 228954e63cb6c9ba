"""What twins on different GPUs must have in common, and where two operators that look like twins differ."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from convspec.program.features import Activation, Add, Dropout, Maximum, Neuron, Reshape
from convspec.program.images import GaussianBlur, Pad, Pick2d
from convspec.program.operators import Op, buffers_of, parameters_of
from convspec.program.program import Buffer, Parameter
from convspec.program.schedule import Schedule
from convspec.program.shape import Shape
from convspec.program.weighted import BatchNorm, Conv2d, LocallyConnected2d
from convspec.program.windows import AvgPool2d, ContrastNorm, LocalResponseNorm, MaxAbsPool2d, MaxPool2d, ResponseNorm

GROUPED = (
    Activation,
    Add,
    AvgPool2d,
    BatchNorm,
    ContrastNorm,
    Conv2d,
    Dropout,
    GaussianBlur,
    LocallyConnected2d,
    LocalResponseNorm,
    MaxAbsPool2d,
    Maximum,
    MaxPool2d,
    Pad,
    Pick2d,
    Reshape,
    ResponseNorm,
)
"""Operators that treat every group of channels by itself, or can be told to."""
PLACE = frozenset({"name", "layers", "gpu", "inputs", "replicas", "cases"})
"""Attributes that say where an operator stands, and nothing of what it computes."""
_WORDS = {
    "groups": "number of groups",
    "size": "size of the window",
    "start": "start of the windows",
    "rate": "learning rate",
    "decay": "weight decay",
    "period": "update period",
    "norm": "bound on the norm",
    "spread": "bounds on the spread",
}
_OWN = PLACE | {"weight", "bias", "statistics"}


@dataclass(frozen=True, slots=True)
class Member:
    """Where a value went: channels `start` to `stop` of `merged`, the `index`-th of `count` equal parts."""

    merged: str
    index: int
    count: int
    start: int
    stop: int


def signature(op: Op, parameters: Mapping[str, Parameter], buffers: Mapping[str, Buffer]) -> Hashable:
    """All that twins must have in common, but for what they read."""
    attributes = tuple((f.name, getattr(op, f.name)) for f in fields(op) if f.name not in _OWN)
    read = (parameters[name] for name in parameters_of(op))
    kept = tuple(buffers[name]._replace(name="", blocks=()) for name in buffers_of(op))
    return type(op), attributes, tuple((p.shape, p.initialization, p.update) for p in read), kept


class Difference(NamedTuple):
    """`what` is `first` in one of two operators of a kind, and `second` in the other."""

    what: str
    first: str
    second: str


def differences(first: Op, second: Op, tensors: Mapping[str, Parameter]) -> Iterator[Difference]:
    """Where two operators of a kind differ: attributes, then sizes, then how their weights start and learn."""
    own, other = _facts(first, tensors), _facts(second, tensors)
    for what in dict.fromkeys((*own, *other)):
        if own.get(what) != other.get(what):
            yield Difference(what, _said(own.get(what)), _said(other.get(what)))


def _facts(op: Op, tensors: Mapping[str, Parameter]) -> dict[str, object]:
    """What there is to say of an operator, by what it is called."""
    skipped = _OWN | {"shape", "index"}  # an index is a name, and says nothing to whoever reads the spec
    facts: dict[str, object] = {
        f"the {_WORDS.get(f.name, f.name.replace('_', ' '))}": getattr(op, f.name)
        for f in fields(op)
        if f.name not in skipped
    }
    facts["the size of what it gives"] = op.shape
    for name in parameters_of(op):
        word = "bias" if name.endswith(".bias") else "weight"
        parameter = tensors[name]
        facts[f"the size of the {word}"] = Shape(parameter.shape)
        facts |= _start_facts(word, parameter)
        facts |= _update_facts(word, parameter)
    return facts


def _start_facts(word: str, parameter: Parameter) -> dict[str, object]:
    std, constant, rows = parameter.initialization
    return {
        f"the deviation of the initial {word}": std,
        f"the initial {word}": constant,
        f"the number of rows of the initial {word} that are drawn": rows,
    }


def _update_facts(word: str, parameter: Parameter) -> dict[str, object]:
    update = parameter.update
    values = {**update._asdict(), **update.constraint._asdict()}
    del values["constraint"]
    return {f"the {_WORDS.get(name, name.replace('_', ' '))} of the {word}": value for name, value in values.items()}


def _said(value: object) -> str:
    match value:
        case None:
            return "missing"
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case Neuron() | Schedule() | Shape():
            return str(getattr(value, "value", value))
        case tuple() if len(value) == 2 and all(isinstance(side, int) for side in value):
            return "x".join(map(str, value))
        case _:
            return str(value)


def common_prefix(names: Sequence[str]) -> str:
    """What the names of twins begin with: `conv1` of conv1a and conv1b."""
    shortest, longest = min(names), max(names)
    return next((shortest[:i] for i, letter in enumerate(shortest) if longest[i] != letter), shortest)


def common_name(names: Sequence[str]) -> str:
    """What twins are called together: `conv1` for conv1a and conv1b, `tower.conv` for tower1.conv and tower2.conv."""
    prefix = common_prefix(names)
    suffix = common_prefix([name[len(prefix) :][::-1] for name in names])[::-1]
    part = re.search(r"[_.-].*", suffix)
    return prefix.rstrip("_-. ") + (part.group() if prefix and part else "")

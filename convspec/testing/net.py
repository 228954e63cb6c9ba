"""The spec that is being drawn: what has been written and what can be read, and how the modules of the families beside
this one add a layer to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

TOWER_NAMES = "abcdefgh"
Keys = dict[str, str]


@dataclass(frozen=True, slots=True)
class Limits:
    layers: int
    side: int
    channels: int
    types: tuple[str, ...]
    neurons: tuple[str, ...]
    costs: tuple[str, ...]
    towers: int
    is_square: bool
    replicas: int = 1
    own_types: Mapping[str, st.SearchStrategy[Mapping[str, object]]] = field(default_factory=dict)

    def gpus(self, tower: int) -> Keys:
        """The key `gpu` of a layer that reads nothing of its own tower; none where there is one GPU."""
        if self.towers == self.replicas == 1:
            return {}
        first = tower * self.replicas
        return {"gpu": ",".join(str(gpu) for gpu in range(first, first + self.replicas))}


@dataclass(frozen=True, slots=True)
class Value:
    """A layer that can be read. dims: (channels, height, width) or (features,)."""

    name: str
    dims: tuple[int, ...]

    @property
    def is_map(self) -> bool:
        return len(self.dims) == 3


# What one layer gives in each tower; all have the same size.
Stage = tuple[Value, ...]


@dataclass(slots=True)
class Net:
    """The spec so far. stages: all that can be read, in order. unread: what nothing reads yet, by name.
    passed: what a `pass` layer reads. matrices: weights that others may share, by all that they must have in common."""

    draw: DrawFn
    limits: Limits
    rounds_up: bool = True
    classes: int = 2
    sections: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    unread: dict[str, Value] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    matrices: dict[tuple[Any, ...], list[str]] = field(default_factory=dict)

    def write(self, name: str, keys: Mapping[str, str]) -> None:
        self.sections.append("\n".join([f"[{name}]", *(f"{key}={value}" for key, value in keys.items())]) + "\n")

    def add(self, name: str, dims: tuple[int, ...], reads: Sequence[Value], keys: Mapping[str, str]) -> Value:
        """Write a layer that reads `reads` and gives `dims`."""
        inputs = {"inputs": ",".join(value.name for value in reads)} if reads else {}
        self.write(name, {"type": keys["type"], **inputs, **keys})
        for value in reads:
            self.unread.pop(value.name, None)
        added = Value(name, dims)
        self.unread[name] = added
        return added


def any_stage(net: Net, stages: Sequence[Stage]) -> Stage:
    """One of `stages`, most often the last."""
    return net.draw(st.sampled_from([*[stages[-1]] * len(stages), *stages[-2::-1]]))


def write_stage(
    net: Net,
    name: str,
    dims: tuple[int, ...],
    reads: Sequence[Sequence[Value]],
    keys: Keys,
    *,
    is_lone: bool = False,
) -> None:
    """The layer in every tower, each with its entry of `reads`; keys of a twin may differ where no size depends on it.

    is_lone: only the first tower has it, and nothing but the classifier will read it.
    """
    towers = net.limits.towers
    if towers == 1:
        gpus = net.limits.gpus(0) if _needs_gpu(reads[0]) else {}
        net.stages.append((net.add(name, dims, reads[0], {**keys, **gpus}),))
        return
    stage = []
    for tower in range(1 if is_lone else towers):
        own = _differing(net, keys) if tower else keys
        if _needs_gpu(reads[tower]):
            own = {**own, **net.limits.gpus(tower)}
        stage.append(net.add(name + TOWER_NAMES[tower], dims, reads[tower], own))
    if not is_lone:
        net.stages.append(tuple(stage))


def _needs_gpu(reads: Sequence[Value]) -> bool:
    """A layer over one value of its own tower inherits the GPU; data have none, and others may stand first."""
    return len(reads) > 1 or reads[0].name == "data"


def _differing(net: Net, keys: Keys) -> Keys:
    """The keys of a twin: seldom with other numbers, so that it is none."""
    if not net.draw(st.sampled_from([False] * 7 + [True])):
        return keys
    changed = dict(keys)
    if keys["type"] in ("conv", "local", "fc", "sfc", "treefc", "batchnorm"):
        changed |= {"momW": "0.8"} if "biases" in keys else {"epsB": "0.03"}
    elif "neuron" in keys:
        changed["neuron"] = net.draw(st.sampled_from(net.limits.neurons or (keys["neuron"],)))
    elif "minDiv" in keys:
        changed["minDiv"] = "3"
    return changed


def draw_lone(net: Net) -> bool:
    return net.limits.towers > 1 and net.draw(st.sampled_from([False] * 7 + [True]))


def own_values(stage: Stage) -> list[list[Value]]:
    """Each tower reads itself."""
    return [[value] for value in stage]


def several(net: Net, stage: Stage, partners: Sequence[Stage]) -> list[list[Value]] | None:
    """What each tower reads where it reads several values: all towers in an order of its own, or a second stage; None
    for one value."""
    ways = ["own"]
    if net.limits.towers > 1 and stage[0].name != "data":
        ways.append("crossed")
    if partners:
        ways.append("joined")
    match net.draw(st.sampled_from(ways)):
        case "crossed":
            return [list(net.draw(st.permutations(stage))) for _ in stage]
        case "joined":
            partner = any_stage(net, partners)
            return [list(pair) for pair in zip(stage, partner, strict=True)]
        case _:
            return None


def maps_of(net: Net, value: Value) -> tuple[tuple[int, int, int], Keys]:
    """A value as maps and the keys that say so: maps as they are, a vector as squares, large ones first."""
    if value.is_map:
        channels, height, width = value.dims
        keys = {"channels": str(channels)} if net.draw(st.booleans()) else {}
        return (channels, height, width), keys
    features = value.dims[0]
    choices = [c for c in range(1, features + 1) if features % c == 0 and isqrt(features // c) ** 2 == features // c]
    channels = net.draw(st.sampled_from(choices))
    side = isqrt(features // channels)
    return (channels, side, side), {"channels": str(channels)}


def draw_neuron(net: Net) -> Keys:
    neuron = net.draw(st.sampled_from(["", *net.limits.neurons]))
    return {"neuron": neuron} if neuron else {}


def seldom(net: Net) -> bool:
    return net.draw(st.sampled_from([False] * 5 + [True]))


def count_windows(room: int, stride: int, *, rounds_up: bool) -> int:
    """How many windows there are where the first one leaves `room` pixels; may be negative."""
    return (-(-room // stride) if rounds_up else room // stride) + 1


def draw_rounding(net: Net) -> tuple[bool, Keys]:
    """Whether a layer counts its windows up, and what it says of that where it is not the way of the network."""
    if not seldom(net):
        return net.rounds_up, {}
    return not net.rounds_up, {"rounding": "floor" if net.rounds_up else "ceil"}


def extent(numbers: Iterable[int]) -> str:
    """`3`, or `3x5` for rows and columns that differ."""
    rows, columns = numbers
    return str(rows) if rows == columns else f"{rows}x{columns}"

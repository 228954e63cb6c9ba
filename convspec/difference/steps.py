"""A network as steps: each layer is one, and its neuron is another, so that both can change places with what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from convspec.checker import Checked
from convspec.difference.written import written
from convspec.layers.base import Layer, Rounding
from convspec.layers.keys import Home, Key
from convspec.program.shape import Shape

NEURON = "neuron"
# Not compared as keys: wiring and placement have words of their own, and channels= and expect= claim what is inferred.
_OTHERWISE = frozenset({"inputs", "gpu", "channels", "expect", NEURON})


@dataclass(frozen=True)
class Step:
    """name: unique among the steps of a network. layer: whose it is. kind: the layer's type, or `neuron`.

    inputs: names of steps. values: of the keys, by spelling. A neuron of a layer has the one key `neuron`.
    shaping: keys of the layer file that stand in it, which say what the step is; rates and the like do not.
    """

    name: str
    layer: Layer
    kind: str
    inputs: tuple[str, ...]
    shape: Shape
    window: str
    is_inexact: bool
    gpus: tuple[int, ...]
    values: Mapping[str, str]
    shaping: frozenset[str]

    @property
    def is_neuron_of_a_layer(self) -> bool:
        return self.name != self.layer.name


@dataclass(frozen=True)
class Steps:
    """by_name: in graph order. rounding: of windows that do not fit."""

    by_name: Mapping[str, Step]
    rounding: Rounding = Rounding.CEIL

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        readers: dict[str, list[str]] = {name: [] for name in self.by_name}
        for step in self.by_name.values():
            for name in dict.fromkeys(step.inputs):
                readers[name].append(step.name)
        return {name: tuple(names) for name, names in readers.items()}

    @cached_property
    def depths(self) -> Mapping[str, float]:
        """How far each step is on the longest way from the data: 0 to 1."""
        depths: dict[str, int] = {}
        for step in self.by_name.values():
            depths[step.name] = 1 + max((depths[name] for name in step.inputs), default=-1)
        deepest = max(depths.values(), default=0) or 1
        return {name: depth / deepest for name, depth in depths.items()}

    def __getitem__(self, name: str) -> Step:
        return self.by_name[name]


def steps_of(checked: Checked) -> Steps:
    """The steps of a network without errors."""
    steps: dict[str, Step] = {}
    ends: dict[str, str] = {}
    for layer in checked.graph.order:
        inputs = tuple(ends[name] for name in layer.input_names)
        step = _layer_step(checked, layer, inputs)
        steps[step.name] = step
        ends[layer.name] = step.name
        neuron = _neuron_step(step)
        if neuron is not None:
            steps[neuron.name] = neuron
            ends[layer.name] = neuron.name
    return Steps(steps, checked.graph.net.rounding)


def neuron_name(layer: str) -> str:
    """The step that is the neuron of a layer, if it has one. No layer's name has a line end in it."""
    return f"{layer}\n{NEURON}"


def _layer_step(checked: Checked, layer: Layer, inputs: tuple[str, ...]) -> Step:
    inference = checked.shapes.inferences[layer.name]
    values = {
        key.spelling: written(getattr(layer, key.attribute))
        for key in layer.keys.values()
        if key.has_effect and key.name not in _OTHERWISE
    }
    if layer.type == NEURON:
        values[NEURON] = written(layer.neuron)
    return Step(
        layer.name,
        layer,
        layer.type,
        inputs,
        inference.shape,
        inference.window,
        inference.floor_size is not None,
        checked.placement[layer.name],
        values,
        frozenset(key.spelling for key in layer.keys.values() if key.spelling in values and _shapes(key, layer)),
    )


def _shapes(key: Key[Any], layer: Layer) -> bool:
    return key.name == NEURON or (key.home is Home.LAYERS and not key.takes_default and layer.is_given(key.attribute))


def _neuron_step(step: Step) -> Step | None:
    """The neuron of a layer as a step behind it; `ident` is none."""
    neuron = step.layer.neuron if step.layer.takes_neuron and step.kind != NEURON else None
    if neuron is None or neuron.name == "ident":
        return None
    name = neuron_name(step.name)
    values = {NEURON: written(neuron)}
    return Step(name, step.layer, NEURON, (step.name,), step.shape, "", False, step.gpus, values, frozenset(values))

"""What an interpretation records on its way through the graph, and how a family of layers joins in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convspec.graph.graph import Graph
from convspec.layers.base import Layer

Array = NDArray[np.float64]
# From the gradient of a layer's output to those of its inputs, and those of its parameters by name.
Pullback = Callable[[Array], tuple[list[Array], dict[str, Array]]]


@dataclass(frozen=True)
class Interpretation:
    """values: of every layer; of a cost (mean cost, top-1 error, top-k error).

    gradients: of the objective, by parameter and by data layer; zero for what does not learn.
    buffers: what training has moved them to, by canonical name.
    """

    values: Mapping[str, Array]
    objective: float
    gradients: Mapping[str, Array]
    buffers: Mapping[str, Array] = field(default_factory=dict)


@dataclass
class Tape:
    """parameters: and buffers, by canonical name. masks: by dropout layer, 1 for a kept unit; a layer without one is at test.
    noise: by nrelu layer, the normal numbers that it draws. in_training: whether statistics are those of the batch.
    rescalings: by rscale layer, (side, scale, top, left) that training drew; a layer without one is at test."""

    graph: Graph
    parameters: Mapping[str, Array]
    masks: Mapping[str, Array]
    noise: Mapping[str, Array]
    in_training: bool = False
    rescalings: Mapping[str, tuple[int, float, int, int]] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    pullbacks: dict[str, Pullback] = field(default_factory=dict)
    neuron_slopes: dict[str, Array] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    kept: dict[str, Any] = field(default_factory=dict)
    buffers: dict[str, Array] = field(default_factory=dict)

    def parameter(self, name: str) -> Array:
        self.read.add(name)
        return self.parameters[name]


# Value of a layer from those of its inputs, and the way back.
Forward = Callable[[Any, Sequence[Array], Tape], tuple[Array, Pullback]]

FORWARD: dict[type[Layer], Forward] = {}
"""How each class of layers computes; `interprets` enters it."""


def interprets(*classes: type[Layer]) -> Callable[[Forward], Forward]:
    """Mark a function as what the layers of these classes compute."""

    def enter(forward: Forward) -> Forward:
        FORWARD.update(dict.fromkeys(classes, forward))
        return forward

    return enter

"""What a spec means, in NumPy and float64: the judge of the emitted module.

The interpreter walks the Graph, each layer by the formula of the original programs, and back again for the gradients.
It shares nothing with the compiler but the keys of the layers: sizes come from the arrays, windows are visited one by
one, and nothing is padded. Values are `(N, C, H, W)` or `(N, F)`, parameters are named and laid out as in checkpoints.

A family of layers is a module; each function in it says with `interprets` which classes of layers it computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from convspec.graph.graph import Graph
from convspec.layers.base import Layer
from convspec.layers.costs import CostLayer
from convspec.layers.data import Data
from tests.interpreter import batchnorm, costs, elementwise, maps, weights  # noqa: F401 - each enters its layers
from tests.interpreter.neurons import NEURONS, noisy_relu
from tests.interpreter.tape import FORWARD, Array, Interpretation, Tape

__all__ = ["NEURONS", "Array", "Interpretation", "interpret"]


def interpret(
    graph: Graph,
    inputs: Mapping[str, NDArray[np.generic]],
    parameters: Mapping[str, Array],
    *,
    masks: Mapping[str, Array] | None = None,
    noise: Mapping[str, Array] | None = None,
    in_training: bool = False,
    with_gradients: bool = True,
) -> Interpretation:
    """The network on a batch. `inputs` by data layer; labels are integers (N,). Every parameter must be read."""
    tape = Tape(graph, parameters, masks or {}, noise or {}, in_training)
    for layer in _in_order(graph):
        if isinstance(layer, Data):
            tape.values[layer.name] = np.asarray(inputs[layer.name], dtype=np.float64)
        else:
            _run(layer, tape)
    assert tape.read == set(parameters), f"parameters that nothing reads: {sorted(set(parameters) - tape.read)}"
    of_costs = [layer for layer in graph.layers.values() if isinstance(layer, CostLayer)]
    objective = sum(cost.coefficient * tape.values[cost.name][0] for cost in of_costs)
    return Interpretation(tape.values, float(objective), _gradients(tape) if with_gradients else {}, tape.buffers)


def _in_order(graph: Graph) -> Iterator[Layer]:
    """Every layer after those that it reads."""
    done: set[str] = set()
    waiting = list(graph.layers.values())
    while waiting:
        layer = next(layer for layer in waiting if done.issuperset(layer.input_names))
        waiting.remove(layer)
        done.add(layer.name)
        yield layer


def _run(layer: Layer, tape: Tape) -> None:
    sources = [tape.values[name] for name in layer.input_names]
    value, tape.pullbacks[layer.name] = FORWARD[type(layer)](layer, sources, tape)
    if layer.neuron is not None:
        name, arguments = layer.neuron
        if name == "nrelu":
            value, slope = noisy_relu(value, tape.noise[layer.name])
        else:
            value, slope = NEURONS[name](value, *arguments)
        tape.neuron_slopes[layer.name] = slope
    tape.values[layer.name] = value


def _gradients(tape: Tape) -> dict[str, Array]:
    gradients = {name: np.zeros_like(value) for name, value in tape.parameters.items()}
    flowing = {name: np.zeros_like(value) for name, value in tape.values.items()}
    for layer in reversed(list(_in_order(tape.graph))):
        if isinstance(layer, Data):
            gradients[layer.name] = flowing[layer.name]
            continue
        gradient = flowing[layer.name]
        if isinstance(layer, CostLayer):
            gradient = np.array([layer.coefficient])
        if layer.name in tape.neuron_slopes:
            gradient = gradient * tape.neuron_slopes[layer.name]
        of_inputs, of_parameters = tape.pullbacks[layer.name](gradient)
        for source, of_input in zip(layer.input_names, of_inputs, strict=True):
            flowing[source] += of_input.reshape(flowing[source].shape)
        for name, of_parameter in of_parameters.items():
            gradients[name] += of_parameter
    return gradients

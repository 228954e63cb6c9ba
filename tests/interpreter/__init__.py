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
from tests.interpreter import batchnorm, costs, elementwise, images, maps, weights  # noqa: F401 - each enters its layers
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
    rescalings: Mapping[str, tuple[int, float, int, int]] | None = None,
    with_gradients: bool = True,
) -> Interpretation:
    """The network on a batch. `inputs` by data layer; labels are integers (N,). Every parameter must be read."""
    tape = Tape(graph, parameters, masks or {}, noise or {}, in_training, rescalings or {})
    for layer in _in_order(graph):
        if isinstance(layer, Data):
            tape.values[layer.name] = _rows(layer, np.asarray(inputs[layer.name], dtype=np.float64))
        else:
            _run(layer, tape)
    assert tape.read == set(parameters), f"parameters that nothing reads: {sorted(set(parameters) - tape.read)}"
    of_costs = [layer for layer in graph.layers.values() if isinstance(layer, CostLayer)]
    objective = sum(cost.coefficient * tape.values[cost.name][0] for cost in of_costs)
    gradients = _gradients(tape, inputs) if with_gradients else {}
    return Interpretation(tape.values, float(objective), gradients, tape.buffers)


def _rows(layer: Data, matrix: Array) -> Array:
    """The rows `start` to `end` of a matrix: whole maps, or numbers one after another."""
    flat = matrix.reshape(len(matrix), -1)
    end = flat.shape[1] if layer.end is None else layer.end
    pixels = matrix[0, 0].size if matrix.ndim > 1 else 1
    if (layer.start, end) == (0, flat.shape[1]):
        return matrix
    if layer.start % pixels or end % pixels:
        return flat[:, layer.start : end]
    return matrix[:, layer.start // pixels : end // pixels]


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
    if getattr(layer, "dropout", 0):
        # dnouri: after the layer, before its neuron; a mask in training, 1 - dropout at test
        kept = tape.masks.get(layer.name, 1 - layer.dropout)
        value, tape.kept[layer.name] = value * kept, kept
    if layer.neuron is not None:
        name, arguments = layer.neuron
        if name == "nrelu":
            value, slope = noisy_relu(value, tape.noise[layer.name])
        else:
            value, slope = NEURONS[name](value, *arguments)
        tape.neuron_slopes[layer.name] = slope
    tape.values[layer.name] = value


def _gradients(tape: Tape, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, Array]:
    gradients = {name: np.zeros_like(value) for name, value in tape.parameters.items()}
    flowing = {name: np.zeros_like(value) for name, value in tape.values.items()}
    for layer in reversed(list(_in_order(tape.graph))):
        if isinstance(layer, Data):
            whole = np.zeros(inputs[layer.name].shape)
            _rows(layer, whole)[...] = flowing[layer.name]
            gradients[layer.name] = whole
            continue
        gradient = flowing[layer.name]
        if isinstance(layer, CostLayer):
            gradient = np.array([layer.coefficient])
        if layer.name in tape.neuron_slopes:
            gradient = gradient * tape.neuron_slopes[layer.name]
        gradient = gradient * tape.kept.get(layer.name, 1)
        of_inputs, of_parameters = tape.pullbacks[layer.name](gradient)
        for source, of_input in zip(layer.input_names, of_inputs, strict=True):
            flowing[source] += of_input.reshape(flowing[source].shape)
        for name, of_parameter in of_parameters.items():
            gradients[name] += of_parameter
    return gradients

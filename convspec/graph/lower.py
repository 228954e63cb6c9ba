"""From a checked graph to a Program: each layer by its own `lower`, in graph order."""

from __future__ import annotations

from collections.abc import Sequence

from convspec.graph.graph import Graph
from convspec.graph.placement import Placement
from convspec.graph.shapes import Shapes
from convspec.graph.sharing import weight_owners
from convspec.graph.turns import count_periods_in_minibatches, turns_of_minibatch
from convspec.program.builder import Builder
from convspec.program.program import Program


def lower(name: str, graph: Graph, shapes: Shapes, placement: Placement, outputs: Sequence[str]) -> Program:
    """The program of a graph without errors. `outputs` names layers that `forward` gives beside the sinks.

    The sinks are the costs, what the costs judge, and the outputs of `[@net]`.
    """
    matrices = {name: found.matrix for name, found in shapes.inferences.items() if found.matrix is not None}
    builder = Builder(graph.layers, graph.net.numerics, matrices, weight_owners(graph, shapes))
    for layer in graph.order:
        gpus = placement[layer.name]
        builder.begin(layer.name, gpus if layer.input_names else ())
        value = layer.lower(builder, [builder.resolve(source) for source in layer.input_names], shapes.of(layer.name))
        builder.end(layer.lower_neuron(builder, value))
    program = builder.program(name, (*sinks(graph), *outputs))
    return count_periods_in_minibatches(program, turns_of_minibatch(graph, placement))


def sinks(graph: Graph) -> tuple[str, ...]:
    """Layers whose values the network is there for: what costs judge, then costs, then the outputs of `[@net]`.

    Of what costs judge, the caller has what data layers give.
    """
    costs = [layer for layer in graph.layers.values() if layer.is_cost]
    judged = [name for layer in costs for name in layer.judged if graph.layers[name].input_names]
    declared = [name.text for name in graph.net.outputs]
    return tuple(dict.fromkeys([*judged, *(layer.name for layer in costs), *declared]))

"""`check --portable`: what of a network the program of its dialect could not run, on the GPUs of its time.

Nothing of it is a mistake here: these are limits of kernels, and no limits of the mathematics. A spec of our own dialect
is held against cuda-convnet2, the last of the programs.
"""

from __future__ import annotations

from convspec.diagnostics import Report
from convspec.graph.graph import Graph
from convspec.graph.shapes import Shapes
from convspec.layers.base import Layer, Rounding
from convspec.layers.dialects import CCN2, Dialect
from convspec.layers.limits import Excess, Place, excesses
from convspec.layers.weights import WeightLayer


def report_limits(graph: Graph, shapes: Shapes, report: Report) -> None:
    """Report CS510 for each layer and limit, where sizes are known."""
    program = CCN2 if graph.dialect.is_ours else graph.dialect
    _report_rounding(graph, program, report)
    above_weights: set[str] = set()
    for layer in graph.order:
        is_above = any(name in above_weights for name in layer.input_names)
        if layer.name in shapes and all(name in shapes for name in layer.input_names) and not layer.is_broken:
            inputs = [shapes.of(name) for name in layer.input_names]
            for excess in excesses(Place(layer, inputs, shapes.of(layer.name), is_above), program):
                _report(layer, excess, program, report)
        if is_above or isinstance(layer, WeightLayer):
            above_weights.add(layer.name)


def _report(layer: Layer, excess: Excess, program: Dialect, report: Report) -> None:
    span = layer.span(excess.attribute) if excess.attribute else layer.header
    message = f"{program.program} could not run this: {layer.name}: {excess.fact}"
    report.add("CS510", span, message, help=f"it takes {excess.wanted}")


def _report_rounding(graph: Graph, program: Dialect, report: Report) -> None:
    """Where windows are counted down: of the network, and of layers that say so themselves."""
    own = [layer for layer in graph.order if layer.rounds(Rounding.CEIL) is Rounding.FLOOR]
    places = [graph.net.span("rounding_name")] if graph.net.rounding is Rounding.FLOOR else []
    places += [layer.span("own_rounding") for layer in own]
    for place in dict.fromkeys(places):
        message = f"{program.program} could not run this: it counts windows up"
        report.add("CS510", place, message, help="write rounding=ceil, or leave it out")

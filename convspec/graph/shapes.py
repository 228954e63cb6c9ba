"""Sizes of all layers: one walk in graph order, each layer by its own rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convspec.diagnostics import Report
from convspec.graph.claims import Claims
from convspec.graph.graph import Graph
from convspec.layers.base import Context, Inference, Layer, Rounding
from convspec.program.shape import Shape

MAXIMUM_FEATURES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Shapes:
    """What is known; a layer that is missing here has been reported, or stands above one that was.

    classes: of the data, where somebody said.
    """

    inferences: Mapping[str, Inference]
    classes: int | None = None

    def of(self, layer: str) -> Shape:
        return self.inferences[layer].shape

    def __contains__(self, layer: str) -> bool:
        return layer in self.inferences


def infer_shapes(graph: Graph, context: Context) -> Shapes:
    """The size of every layer whose inputs are known. Reports CS401 to CS416; a size that cannot be known causes none."""
    known: dict[str, Inference] = {}
    context = context._replace(layers=graph.layers, known=known)
    claims = Claims(context)
    for layer in graph.order:
        if layer.is_broken or any(name not in known for name in layer.input_names):
            continue
        since = len(context.report)
        inference = _infer(layer, context, graph)
        if inference is not None:
            known[layer.name] = inference
            is_claimed = claims.verify(layer, inference)
            if not is_claimed and claims.is_of_another_kind(layer, inference):
                del known[layer.name]
                continue
            if inference.floor_size is not None and not is_claimed:
                _note_rounding(layer.name, inference, context, graph)
        if layer.maker is not None and len(context.report) > since:
            context.report.attribute(since, layer.maker)
    return Shapes(known, context.classes)


def _infer(layer: Layer, context: Context, graph: Graph) -> Inference | None:
    inference = layer.infer([context.known[name].shape for name in layer.input_names], context)
    if inference is None:
        return None
    if inference.shape.features > MAXIMUM_FEATURES:
        _report_too_large(layer.name, inference.shape, context.report, graph)
        return None
    return inference


def _report_too_large(name: str, shape: Shape, report: Report, graph: Graph) -> None:
    report.add(
        "CS411",
        graph.layers[name].header,
        f"{name} gives {shape} = {shape.features} numbers a case, more than {MAXIMUM_FEATURES}",
        help="make the layer smaller",
    )


def _note_rounding(name: str, inference: Inference, context: Context, graph: Graph) -> None:
    assert inference.floor_size is not None
    layer = graph.layers[name]
    rounds_up = layer.rounds(context.rounding) is Rounding.CEIL
    other = inference.floor_size if rounds_up else inference.floor_size + 1
    context.report.add(
        "CS409",
        layer.header,
        f"{name} gives {_pixels(inference.shape)}: {inference.window}",
        help=f"rounding={'floor' if rounds_up else 'ceil'} in [{name}] or [@net] would give {other}",
    )


def _pixels(shape: Shape) -> str:
    return f"{shape.width} pixels a side" if shape.height == shape.width else f"{shape.height}x{shape.width} pixels"

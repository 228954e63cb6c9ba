"""What a layer may not stand above, and what two layers may not read: rules of the originals about more than one layer."""

from __future__ import annotations

from collections.abc import Sequence

from convspec.diagnostics import Label, Report
from convspec.graph.graph import Graph
from convspec.graph.placement import Placement
from convspec.layers.base import Layer
from convspec.layers.join import PassLayer
from convspec.layers.weights import WeightLayer


def report_stopped_gradients(graph: Graph, report: Report) -> None:
    """Report CS311 for layers without a gradient above layers that learn (cuda-convnet2 layer.py, `verify_no_grads`)."""
    below: dict[str, Layer | None] = {}
    for layer in graph.order:
        sources = [below[name] for name in layer.input_names if name in below]
        learner = next((source for source in sources if source is not None), None)
        if layer.stops_gradient and learner is not None:
            report.add(
                "CS311",
                layer.span("inputs"),
                f"{layer.name} stands above {learner.name}, which would not learn: a {layer.type} layer gives no gradient",
                labels=[Label(learner.header, "its gradient would come through there")],
                help=f"put {layer.name} between the data and the first layer that learns",
            )
            learner = None
        below[layer.name] = layer if isinstance(layer, WeightLayer) else learner


def report_shared_passes(graph: Graph, placement: Placement, report: Report) -> None:
    """Report CS312 for two `pass` layers that read one layer on one GPU (cuda-convnet2 layer.py:1211-1231)."""
    taken: dict[str, list[PassLayer]] = {}
    for layer in graph.layers.values():
        if not isinstance(layer, PassLayer):
            continue
        for name in layer.inputs or ():
            rival = _rival(layer, taken.get(name.text, ()), placement)
            if rival is not None:
                report.add(
                    "CS312",
                    layer.part("inputs", name),
                    f"{layer.name} and {rival.name} both pass on {name.text}, which can lie in one place only",
                    labels=[Label(rival.span("inputs"), f"{rival.name} reads it too")],
                    help=f"write type=concat for {layer.name}: it copies",
                )
                break
            taken.setdefault(name.text, []).append(layer)


def _rival(layer: PassLayer, others: Sequence[PassLayer], placement: Placement) -> Layer | None:
    """Another one of these layers that is on a GPU of this one."""
    own = set(placement.get(layer.name, ()))
    return next((o for o in others if o is not layer and own & set(placement.get(o.name, ()))), None)

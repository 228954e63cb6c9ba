"""Which layers hold the features that are asked for: those of a name, or the last hidden ones, from which classes are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from convspec.diagnostics import Diagnostic, DiagnosticError, did_you_mean, joined
from convspec.graph.graph import Graph
from convspec.graph.placement import Placement
from convspec.graph.shapes import Shapes
from convspec.layers.base import Layer
from convspec.layers.elementwise import DropoutLayer
from convspec.layers.fc import FeatureLayer
from convspec.layers.treefc import TreeFullyConnected
from convspec.layers.weights import WeightLayer

_MARKS = "_-. "


def last_hidden_layers(graph: Graph) -> tuple[str, ...]:
    """What the last fully connected layer before the predictions reads, in the order in which it does; of dropout, what
    that reads in turn. In AlexNet fc7a and fc7b, the 4096 numbers of section 6.1.

    Raises DiagnosticError CS601 where there are none: no such layer, or one that reads the data.
    """
    costs = [layer for layer in graph.layers.values() if layer.is_cost]
    judged = next((cost.judged[0] for cost in costs if cost.judged), None)
    found = () if judged is None else _last_connected(graph, judged)
    hidden = dict.fromkeys(_below_dropout(graph, name) for layer in found for name in layer.input_names)
    if not hidden or any(not graph.layers[name].input_names for name in hidden):
        message = "the network has no fully connected layer above a hidden one, whose features could be taken"
        raise DiagnosticError(
            Diagnostic("CS601", message, help=f"name a layer with --layer: {_listed(_givers(graph))}")
        )
    return tuple(hidden)


def layers_named(name: str, graph: Graph, shapes: Shapes, placement: Placement) -> tuple[str, ...]:
    """The layer of a name, or the towers that have it in common: fc7a and fc7b for fc7. Several may be named, with commas.

    Raises DiagnosticError CS601 where a name is that of no layer, of data, or of a cost, CS406 where sizes differ.
    """
    found: list[str] = []
    for part in filter(None, map(str.strip, name.split(","))):
        layer = graph.layers.get(part)
        towers = () if layer is not None else _towers(part, graph, shapes, placement)
        if layer is None and not towers:
            raise _unknown(part, graph)
        if layer is not None and (layer.is_cost or not layer.input_names):
            why = "a cost, one number for all pictures of a minibatch" if layer.is_cost else "what the network is given"
            help = f"name one of {_listed(_givers(graph))}"
            raise DiagnosticError(Diagnostic("CS601", f"{part} is {why}, and has no features", help=help))
        found += towers or (part,)
    if not found:
        raise _unknown(name, graph)
    _refuse_unlike(found, shapes)
    return tuple(dict.fromkeys(found))


def _refuse_unlike(names: Sequence[str], shapes: Shapes) -> None:
    """Raises DiagnosticError CS406 where layers cannot be joined by channel, or by feature."""
    first = shapes.of(names[0])
    for name in names[1:]:
        shape = shapes.of(name)
        if shape.dims[1:] != first.dims[1:]:
            message = f"{names[0]} gives {first} and {name} gives {shape}: they cannot be joined"
            raise DiagnosticError(Diagnostic("CS406", message, help="name layers of one height and width"))


def _last_connected(graph: Graph, judged: str) -> list[Layer]:
    """The first layers with weights on the ways down from the predictions, if all of them are fully connected."""
    waiting, seen = [judged], {judged}
    found: list[Layer] = []
    while waiting:
        layer = graph.layers[waiting.pop()]
        if isinstance(layer, WeightLayer) and not layer.only_rescales:
            found.append(layer)
            continue
        new = [name for name in layer.input_names if name not in seen]
        seen.update(new)
        waiting += reversed(new)
    return found if all(isinstance(layer, FeatureLayer | TreeFullyConnected) for layer in found) else []


def _below_dropout(graph: Graph, name: str) -> str:
    while isinstance(layer := graph.layers[name], DropoutLayer):
        name = layer.input_names[0]
    return name


def _towers(base: str, graph: Graph, shapes: Shapes, placement: Placement) -> tuple[str, ...]:
    """Layers of one type and size on different GPUs, which have `base` and no more in common in their names."""
    twins = [layer for name, layer in graph.layers.items() if name.startswith(base)]
    kinds = {(layer.type, shapes.of(layer.name)) for layer in twins}
    gpus = [gpu for layer in twins for gpu in placement[layer.name]]
    if len(twins) < 2 or len(kinds) > 1 or len(set(gpus)) < len(gpus):
        return ()
    names = [layer.name for layer in twins]
    return tuple(names) if _common(names).rstrip(_MARKS) == base.rstrip(_MARKS) else ()


def _common(names: Sequence[str]) -> str:
    """What names begin with, all of them."""
    first, last = min(names), max(names)
    return first[: next((i for i, letter in enumerate(first) if last[i : i + 1] != letter), len(first))]


def _givers(graph: Graph) -> list[str]:
    return [layer.name for layer in graph.layers.values() if layer.input_names and not layer.is_cost]


def _unknown(name: str, graph: Graph) -> DiagnosticError:
    choices = _givers(graph)
    help = did_you_mean(name, choices) or f"the layers are {_listed(choices)}"
    return DiagnosticError(Diagnostic("CS601", f"there is no layer {name}", help=help))


def _listed(names: Iterable[str]) -> str:
    """The last ones of all: features are mostly taken there."""
    chosen = list(names)[-8:]
    return joined(chosen)

"""Weights that several layers have in common: `weightSource=conv1[0]` takes them from input 0 of conv1.

A source may itself take its weights from another one; all of them then have those of the last, their owner. Biases are
never shared. The rules are those of the originals (cuda-convnet2 layer.py, weights.cu:116, 325-356): both layers are of one
type and their weights of one size. Where the originals read a file from top to bottom, a source stands above its reader;
in our own dialect it may stand anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from convspec.diagnostics import Label, Report, Span, did_you_mean
from convspec.graph.graph import Graph
from convspec.graph.made_names import maker_of
from convspec.graph.shapes import Shapes
from convspec.layers.base import Layer
from convspec.layers.weights import WeightLayer
from convspec.program.parameter import Sharer, WeightOwner
from convspec.program.schedule import Schedule
from convspec.syntax.values import WeightSource


class Matrix(NamedTuple):
    """The weights of one input of a layer."""

    layer: str
    input: int

    def __str__(self) -> str:
        return f"{self.layer}[{self.input}]"


def find_owners(graph: Graph) -> Mapping[Matrix, Matrix]:
    """Every matrix that takes its weights from another one, and the one that has them; mistakes are left out."""
    sources = {matrix: Matrix(source.name.text, source.input) for _, matrix, source in _sources(graph)}
    owners = {}
    for matrix in sources:
        owner, seen = matrix, {matrix}
        while (owner := sources.get(owner, owner)) not in seen:
            seen.add(owner)
        if owner not in sources and _has_matrix(graph, owner):
            owners[matrix] = owner
    return owners


def report_sources(graph: Graph, built: Mapping[str, Layer | None], report: Report) -> None:
    """Report CS309, CS310 and CS317 for sources that are not there, that have other types or that go round in a circle.

    built: all layers by name, and None for those that could not be, which has been reported.
    """
    unmade = {name for name, layer in built.items() if layer is None}
    position = {name: i for i, name in enumerate(graph.layers)}
    sources = {matrix: Matrix(source.name.text, source.input) for _, matrix, source in _sources(graph)}
    reported: set[Matrix] = set()
    for layer, matrix, source in _sources(graph):
        cycle = _cycle(matrix, sources)
        layer.is_broken |= bool(cycle)
        if (
            source.name.text in unmade
            or maker_of(source.name.text, unmade) is not None
            or _report_bad_source(layer, source, graph, report)
        ):
            layer.is_broken = True
        elif cycle and not reported.intersection(cycle):
            reported.update(cycle)
            _report_no_owner(layer.part("weight_sources", source.name), cycle, report)
        elif not cycle and not graph.dialect.reads_ahead:
            here, there = (position[layer.name], matrix.input), (position[source.name.text], source.input)
            if there > here:
                layer.is_broken = True
                _report_source_ahead(layer, source, graph, report)


def _report_bad_source(layer: WeightLayer, source: WeightSource, graph: Graph, report: Report) -> bool:
    """Whether a source is not there, or has other weights. Reports CS309 and CS310."""
    span = layer.part("weight_sources", source.name)
    owner = graph.layers.get(source.name.text)
    if owner is None:
        message = f"{layer.name} takes its weights from {source.name}, which does not exist"
        others = [other.name for other in graph.layers.values() if other.type == layer.type and other is not layer]
        help = did_you_mean(source.name.text, others) or "name a layer of the same type above it"
        report.add("CS309", span, message, help=help)
    elif owner.type != layer.type:
        message = f"{layer.name} is a {layer.type} layer, and takes its weights from {owner.name}, a {owner.type} layer"
        labels = [Label(owner.header, f"type={owner.type}")]
        report.add("CS310", span, message, labels=labels, help="name a layer of the same type")
    elif source.input >= max(owner.input_count, 1):
        count = f"{owner.input_count} matrices" if owner.input_count != 1 else "one matrix"
        message = f"{owner.name} has {count} of weights, one for each input, and no [{source.input}]"
        help = f"inputs are counted from 0: write {owner.name}[{max(owner.input_count - 1, 0)}] for the last"
        report.add("CS309", span, message, help=help)
    else:
        return False
    return True


def _report_no_owner(span: Span, cycle: Sequence[Matrix], report: Report) -> None:
    """Report CS317."""
    message = f"{cycle[0]} takes its weights from itself"
    if len(cycle) > 1:
        message = f"these weights have no owner: {' from '.join(map(str, [*cycle, cycle[0]]))}"
    help = "one of these layers has to have weights of its own: take its weightSource out"
    report.add("CS317", span, message, help=help)


def _report_source_ahead(layer: WeightLayer, source: WeightSource, graph: Graph, report: Report) -> None:
    """Report CS309 for a source below its reader, or a later input of it, in a file that is read from above."""
    owner = graph.layers[source.name.text]
    message = f"{layer.name} takes its weights from {source}, which {graph.dialect.program} has not read yet"
    help = f"move [{owner.name}] above [{layer.name}]"
    span = layer.part("weight_sources", source.name)
    report.add("CS309", span, message, labels=[Label(owner.header, "here")], help=help)


def report_unlike_weights(graph: Graph, shapes: Shapes, report: Report) -> None:
    """Report CS414 for weights that are not of the size of those that they are to be."""
    for matrix, owner in find_owners(graph).items():
        layer, other = _weight_layer(graph, matrix), _weight_layer(graph, owner)
        if layer.name not in shapes or other.name not in shapes:
            continue
        own, theirs = (_described(each, index, shapes) for each, index in ((layer, matrix.input), (other, owner.input)))
        if own != theirs:
            source = layer.shared_from[matrix.input]
            assert source is not None
            report.add(
                "CS414",
                layer.part("weight_sources", source.name),
                f"the weights of {matrix} are {own}, those of {owner} are {theirs}",
                labels=[Label(other.header, f"{owner.layer} has the weights")],
                help="layers that share weights have filters of one size over equally many channels",
            )


def weight_owners(graph: Graph, shapes: Shapes) -> Mapping[tuple[str, int], WeightOwner]:
    """For every matrix that is shared, the owner's own among them: who has it, and by what numbers it starts and learns."""
    owners = find_owners(graph)
    sharers: dict[Matrix, list[Sharer]] = {owner: [] for owner in owners.values()}
    for matrix, owner in owners.items():
        rate = _rate(graph, matrix)
        scale = _scale(graph, matrix, owner)
        sharers[owner].append(Sharer(matrix.layer, matrix.input, rate, 1.0 if scale is None else scale))
    found: dict[tuple[str, int], WeightOwner] = {}
    for owner, others in sharers.items():
        layer = _weight_layer(graph, owner)
        found[owner] = WeightOwner(
            layer=owner.layer,
            term=owner.input if layer.input_count > 1 else None,
            initialization=layer.weight_initialization(owner.input, _sizes(layer, shapes)),
            update=layer.weight_update(owner.input),
            sharers=tuple(others),
        )
    return found | {matrix: found[owner] for matrix, owner in owners.items()}


def report_parted_rates(graph: Graph, report: Report) -> None:
    """Report CS607 for layers whose rate is not one multiple of that of the weights' owner throughout the run."""
    for matrix, owner in find_owners(graph).items():
        if _scale(graph, matrix, owner) is None:
            layer, theirs = _weight_layer(graph, matrix), _weight_layer(graph, owner)
            report.add(
                "CS607",
                layer.span("eps_w"),
                f"{matrix} and {owner} teach the same weights, and their rates fall in different ways",
                labels=[Label(theirs.span("eps_w"), f"{owner} has the weights")],
                notes=[f"{matrix}: {_rate(graph, matrix)}", f"{owner}: {_rate(graph, owner)}"],
                help="give both the same schedule; the base rates may differ",
            )


def _rate(graph: Graph, matrix: Matrix) -> Schedule:
    return _weight_layer(graph, matrix).weight_update(matrix.input).rate


def _scale(graph: Graph, matrix: Matrix, owner: Matrix) -> float | None:
    """What the gradients of a sharer count beside the owner's; None where that would change in the course of a run.

    A rate that is not above 0 takes no part. Beyond that the sum of all gradients is learnt at the owner's rate, but for
    the types of layers to which an original gave each its own (`Learning.own_rates`).
    """
    theirs, own = _rate(graph, owner), _rate(graph, matrix)
    if own.is_frozen:
        return 0.0
    if theirs.is_frozen or _weight_layer(graph, matrix).type not in graph.dialect.learning.own_rates:
        return 1.0
    return own.base / theirs.base if own._replace(base=theirs.base) == theirs else None


def _sources(graph: Graph) -> Iterator[tuple[WeightLayer, Matrix, WeightSource]]:
    for layer in graph.layers.values():
        if isinstance(layer, WeightLayer):
            for index, source in enumerate(layer.shared_from):
                if source is not None:
                    yield layer, Matrix(layer.name, index), source


def _cycle(start: Matrix, sources: Mapping[Matrix, Matrix]) -> list[Matrix]:
    """The matrices from `start` on that take their weights from one another and come back to it; else none."""
    path = [start]
    while (following := sources.get(path[-1])) is not None and following not in path:
        path.append(following)
    return path if following == start else []


def _has_matrix(graph: Graph, matrix: Matrix) -> bool:
    layer = graph.layers.get(matrix.layer)
    return isinstance(layer, WeightLayer) and matrix.input < layer.input_count


def _weight_layer(graph: Graph, matrix: Matrix) -> WeightLayer:
    layer = graph.layers[matrix.layer]
    assert isinstance(layer, WeightLayer)
    return layer


def _sizes(layer: WeightLayer, shapes: Shapes) -> list[tuple[int, ...]]:
    sources, output = [shapes.of(name) for name in layer.input_names], shapes.of(layer.name)
    return [layer.weight_shape(index, sources, output) for index in range(layer.input_count)]


def _described(layer: WeightLayer, index: int, shapes: Shapes) -> str:
    """What two layers must have in common to share weights, in words."""
    sources = [shapes.of(name) for name in layer.input_names]
    return layer.describe_weights(index, sources, shapes.of(layer.name))

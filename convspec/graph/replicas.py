"""The rules of `gpu=`: who must say it, and which numbers of replicas fit together (cuda-convnet2 layer.py:173, 411-423).

A layer has a replica on each GPU that it names. Replicas of a layer that reads data cut the batch into slices; a layer
with fewer replicas than its input takes the input's replicas in turn, so that their number must be a multiple of its
own; a `pass` layer has as many as its inputs. One GPU a layer always fits.
"""

from __future__ import annotations

from collections.abc import Mapping

from convspec.diagnostics import Label, Report
from convspec.graph.graph import Graph
from convspec.graph.placement import Placement
from convspec.graph.sharing import find_owners
from convspec.layers.base import Layer
from convspec.layers.dialects import Placing


def report_placement(graph: Graph, placement: Placement, gpus: int | None, report: Report) -> None:
    """Report CS501 to CS504, and CS506. gpus: how many there are, None where nobody said."""
    placing = graph.dialect.placing
    if placing is Placing.NONE:
        return
    if placing is not Placing.ANY:
        _report_unplaced(graph, report)
        _report_weights_elsewhere(graph, placement, report)
    for layer in graph.layers.values():
        if layer.gpu is not None:
            _report_own(layer, gpus, report)
    counts = _replica_counts(graph, placement)
    for layer in graph.order:
        if layer.name in counts:
            _report_unfit_inputs(layer, graph, counts, report)
            _report_unfit_readers(layer, graph, counts, report)


def _replica_counts(graph: Graph, placement: Placement) -> dict[str, int]:
    """Replicas of each layer whose GPUs are known: a value, or an input, that could not be read says nothing of them."""
    counts: dict[str, int] = {}
    for layer in graph.order:
        inherits_from = layer.input_names[0] if layer.gpu is None and layer.input_names else None
        is_unread = layer.gpu is None and layer.is_given("gpu")
        if not is_unread and (inherits_from is None or inherits_from in counts):
            counts[layer.name] = len(placement[layer.name])
    return counts


def _report_unplaced(graph: Graph, report: Report) -> None:
    """Report CS501 for layers that would be on the GPU of their first input, where that is on none."""
    for layer in graph.layers.values():
        first = graph.layers.get(layer.input_names[0]) if layer.input_names else None
        if first is not None and not first.input_names and first.input_counts[1] == 0 and not layer.is_given("gpu"):
            report.add(
                "CS501",
                layer.header,
                f"{layer.name} does not say its GPU, and its first input {first.name} is on none",
                notes=[
                    f"in {graph.dialect.program} a layer without gpu= is where its first input is; data are on the host"
                ],
                help=f"add gpu=0 to [{layer.name}]; --dialect convspec takes GPU 0 where nobody says another one",
            )


def _report_weights_elsewhere(graph: Graph, placement: Placement, report: Report) -> None:
    """Report CS506 for weights that the originals could not share, because their layers are on different GPUs. What
    stands on a cycle is on none."""
    for matrix, owner in find_owners(graph).items():
        layer, source = graph.layers[matrix.layer], graph.layers[owner.layer]
        own, other = (placement.get(each.name, ()) for each in (layer, source))
        if layer.is_broken or source.is_broken or not (own and other) or set(own) == set(other):
            continue
        named = ["GPU " + ", ".join(map(str, gpus)) for gpus in (own, other)]
        report.add(
            "CS506",
            layer.span("weight_sources"),
            f"{layer.name} is on {named[0]}, and takes its weights from {source.name} on {named[1]}",
            labels=[Label(source.span("gpu"), f"{source.name} is on {named[1]}")],
            help=f"put both on the same GPU; {graph.dialect.way_out}",
        )


def _report_own(layer: Layer, gpus: int | None, report: Report) -> None:
    """Report CS502 and CS504 for what a layer says itself."""
    named = layer.gpu or ()
    twice = next((gpu for i, gpu in enumerate(named) if gpu in named[:i]), None)
    if twice is not None:
        report.add(
            "CS502",
            layer.span("gpu"),
            f"{layer.name} has two replicas on GPU {twice}",
            help=f"name each GPU once: gpu={','.join(map(str, dict.fromkeys(named)))}",
        )
    beyond = next((gpu for gpu in named if gpus is not None and gpu >= gpus), None)
    if gpus is not None and beyond is not None:
        report.add(
            "CS504",
            layer.span("gpu"),
            f"{layer.name} is on GPU {beyond}, and there {'is' if gpus == 1 else 'are'} {gpus}",
            help="GPUs are numbered from 0: write gpu=0" if gpus == 1 else f"GPUs are numbered 0 to {gpus - 1}",
        )


def _report_unfit_inputs(layer: Layer, graph: Graph, counts: Mapping[str, int], report: Report) -> None:
    """Report CS503 for inputs of which the replicas are no multiple of the layer's, not as many as those of a layer that
    passes them on, or not equally many."""
    own = counts[layer.name]
    inputs = {n: counts[n] for n in layer.input_names if n in counts and graph.layers[n].input_names}
    unfit = next((n for n, count in inputs.items() if count % own or (layer.keeps_replicas and count != own)), None)
    first = next(iter(inputs), None)
    if unfit is not None:
        _report_counts(
            layer,
            f"{layer.name} has {_replicas(own)}, and its input {unfit} has {inputs[unfit]}",
            [_count_label(graph.layers[unfit], inputs[unfit])],
            f"give {layer.name} as many GPUs as {unfit} has"
            + (
                ", or let a concat layer join them"
                if layer.keeps_replicas
                else f", or a number that divides {inputs[unfit]}"
            ),
            report,
        )
    elif first is not None and len(set(inputs.values())) > 1:
        other = next(name for name, count in inputs.items() if count != inputs[first])
        _report_counts(
            layer,
            f"the inputs of {layer.name} have unequal numbers of replicas: "
            f"{first} {inputs[first]}, {other} {inputs[other]}",
            [_count_label(graph.layers[name], inputs[name]) for name in (first, other)],
            f"give {first} and {other} equally many GPUs",
            report,
        )


def _report_unfit_readers(layer: Layer, graph: Graph, counts: Mapping[str, int], report: Report) -> None:
    """Report CS503 for a layer whose readers have unequal numbers of replicas."""
    readers = {reader.name: counts[reader.name] for reader in graph.readers[layer.name] if reader.name in counts}
    if len(set(readers.values())) < 2:
        return
    first, count = next(iter(readers.items()))
    other = next(name for name, number in readers.items() if number != count)
    _report_counts(
        layer,
        f"the layers that read {layer.name} have unequal numbers of replicas: {first} {count}, {other} {readers[other]}",
        [_count_label(graph.layers[name], readers[name]) for name in (first, other)],
        f"give {first} and {other} equally many GPUs",
        report,
    )


def _report_counts(layer: Layer, message: str, labels: list[Label], help: str, report: Report) -> None:
    report.add("CS503", layer.span("gpu"), message, labels=labels, help=help)


def _count_label(layer: Layer, count: int) -> Label:
    return Label(layer.span("gpu"), f"{layer.name} has {_replicas(count)}")


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"

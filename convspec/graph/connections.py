"""What layers read: inputs that do not exist or cannot be read, and layers that nothing reads."""

from __future__ import annotations

from collections.abc import Mapping

from convspec.diagnostics import Label, Report, Span, closest, did_you_mean, listed
from convspec.graph.graph import Graph
from convspec.graph.made_names import maker_of
from convspec.layers.base import Layer

_WRONG_INPUTS = ("CS301", "CS302", "CS303", "CS305")


def report_bad_inputs(
    graph: Graph,
    built: Mapping[str, Layer | None],
    aliases: Mapping[str, str],
    twice: Mapping[str, Span],
    report: Report,
) -> None:
    """Report CS301, CS305, CS306 and CS319.

    built: all layers by name, and None for those that could not be, which has been reported. aliases: names of instances
    and of repeated layers. twice: second headers of a name, one of which was perhaps to be the missing layer.
    """
    unmade = {name for name, layer in built.items() if layer is None}
    for layer in graph.layers.values():
        since = len(report)
        seen: set[str] = set()
        for name in layer.inputs or ():
            span = layer.part("inputs", name)
            if maker_of(name.text, unmade) is not None:
                layer.is_broken = True
            elif name.text not in built:
                layer.is_broken = True
                help = did_you_mean(name.text, _siblings(layer, built)) or did_you_mean(name.text, {**aliases, **built})
                help = help or f"the layers are {listed(built)}"
                blank = next((other for other in built if other.strip() == name.text), None)
                if blank is not None:
                    help = f"write [{name.text}]: the blanks in [{blank}] belong to its name"
                twin = closest(name.text, twice) or (next(iter(twice)) if len(twice) == 1 else None)
                labels = [Label(twice[twin], f"[{twin}] again: was this to be {name.text}?")] if twin else []
                message = f"{layer.name} reads {name.text}, which does not exist"
                report.add("CS301", span, message, labels=labels, help=help)
            elif name.text in seen:
                report.add(
                    "CS306",
                    span,
                    f"{layer.name} reads {name.text} twice",
                    help="take one of them out, unless it is meant",
                )
            seen.add(name.text)
        _report_bad_sources(layer, graph, report)
        if layer.maker is not None and len(report) > since:
            report.attribute(since, layer.maker)
    if not graph.dialect.reads_ahead:
        _report_inputs_ahead(graph, report)


def _report_inputs_ahead(graph: Graph, report: Report) -> None:
    """Report CS319. Of layers on a cycle, which is reported as one, it is not said too."""
    position = {name: index for index, name in enumerate(graph.layers)}
    in_order = {layer.name for layer in graph.order}
    for layer in graph.layers.values():
        for name in layer.inputs or ():
            if name.text in in_order and layer.name in in_order and position[name.text] > position[layer.name]:
                layer.is_broken = True
                report.add(
                    "CS319",
                    layer.part("inputs", name),
                    f"{layer.name} reads {name.text}, which stands below it; {graph.dialect.program} reads files from above",
                    labels=[Label(graph.layers[name.text].header, "here")],
                    help=f"move [{name.text}] above [{layer.name}]; {graph.dialect.way_out}",
                )


def _siblings(layer: Layer, built: Mapping[str, Layer | None]) -> list[str]:
    """The layers of the same instance of a template, as the template calls them."""
    prefix = layer.name.rpartition(".")[0] + "."
    if layer.maker is None or prefix == ".":
        return []
    return [name.removeprefix(prefix) for name in built if name.startswith(prefix)]


def _report_bad_sources(layer: Layer, graph: Graph, report: Report) -> None:
    sources = [graph.layers[name] for name in layer.input_names if name in graph.layers]
    for name in layer.inputs or ():
        source = graph.layers.get(name.text)
        if source is not None and source.is_cost and source is not layer:
            layer.is_broken = True
            report.add(
                "CS305",
                layer.part("inputs", name),
                f"{layer.name} reads {source.name}, which is a cost; nothing reads a cost",
                help=f"read {source.input_names[-1]} instead" if source.input_names else None,
            )
    if not layer.is_broken and len(sources) == layer.input_count:
        layer.validate_sources(sources, report)


def report_unread_layers(graph: Graph, built: Mapping[str, Layer | None], report: Report) -> None:
    """Report CS304 for layers that nothing reads, and CS301 for outputs of `[@net]` that do not exist.

    Where some inputs are wrong, it is not known either what is read.
    """
    outputs = {name.text for name in graph.net.outputs or ()}
    for name in graph.net.outputs or ():
        if name.text not in built:
            span = graph.net.part("outputs", name)
            help = did_you_mean(name.text, built)
            report.add("CS301", span, f"the network gives {name.text}, which does not exist", help=help)
    if None in built.values() or any(d.code in _WRONG_INPUTS for d in report):
        return
    if any(layer.input_counts[0] > 0 and not layer.input_names for layer in graph.layers.values()):
        return
    for layer in graph.layers.values():
        if not layer.is_cost and not graph.readers[layer.name] and layer.name not in outputs:
            since = len(report)
            report.add(
                "CS304",
                layer.header,
                f"nothing reads {layer.name}",
                help=f"delete it, name it in inputs= of another layer, or add outputs={layer.name} to [@net]",
            )
            if layer.maker is not None:
                report.attribute(since, layer.maker)

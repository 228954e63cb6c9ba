"""Where the programs computed what nobody meant, and what is computed here instead: a note for each that a spec touches.

Only what changes numbers, and only in the dialect of a program that had it. What is meant is what the value of a layer says
of its gradient, and what the other programs did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from convspec.diagnostics import Report
from convspec.graph.graph import Graph
from convspec.layers.base import Layer
from convspec.layers.dialects import ALEXNET2012, CCN1, CCN1_DNOURI, CCN2, Dialect
from convspec.layers.filters import FilterLayer


class Quirk(NamedTuple):
    """programs: those that had it. is_in: whether a layer of a graph touches it. theirs, ours: what was and is computed."""

    programs: tuple[Dialect, ...]
    is_in: Callable[[Layer, Graph], bool]
    theirs: str
    ours: str


def report_quirks(graph: Graph, report: Report) -> None:
    """Report CS511, once for all layers that touch the same."""
    for quirk in QUIRKS:
        if graph.dialect not in quirk.programs:
            continue
        layers = [layer for layer in graph.layers.values() if not layer.is_broken and quirk.is_in(layer, graph)]
        if layers:
            first, *others = layers
            also = f", and {len(others)} more {'layer' if len(others) == 1 else 'layers'}" if others else ""
            message = f"{first.name}{also} will not compute what {graph.dialect.program} did: {quirk.theirs}"
            report.add("CS511", first.header, message, notes=[f"here: {quirk.ours}"])


def _of_type(name: str) -> Callable[[Layer, Graph], bool]:
    return lambda layer, graph: layer.type == name


def _has_neuron(name: str) -> Callable[[Layer, Graph], bool]:
    return lambda layer, graph: layer.takes_neuron and layer.neuron is not None and layer.neuron.name == name


def _is_exact_contrast_norm(layer: Layer, graph: Graph) -> bool:
    return layer.type == "cnorm" and not graph.net.numerics.holds_means


def _reads_softmax_alone(layer: Layer, graph: Graph) -> bool:
    """A cross-entropy that nothing else disturbs: its softmax then got no gradient."""
    sources = [graph.layers[name] for name in layer.input_names if name in graph.layers]
    return layer.type == "cost.crossent" and any(
        source.type == "softmax" and len(graph.readers[source.name]) == 1 for source in sources
    )


def _judges_no_logistic(layer: Layer, graph: Graph) -> bool:
    source = graph.layers.get(layer.input_names[-1]) if layer.input_names else None
    is_fused = source is not None and _has_neuron("logistic")(source, graph) and len(graph.readers[source.name]) == 1
    return layer.type == "cost.crossent2" and not is_fused


def _draws_at_another_word(layer: Layer, graph: Graph) -> bool:
    """Channels drawn at random for a word that means yes, and is neither `true` nor `1`."""
    if not isinstance(layer, FilterLayer) or not layer.is_given("rand_sparse"):
        return False
    words = [word.strip().lower() for word in layer.span("rand_sparse").text.split(",")]
    return any(word in ("yes", "on") for word in words)


def _draws_channels_again(layer: Layer, graph: Graph) -> bool:
    """Sparse groups that see some channels more than once."""
    return isinstance(layer, FilterLayer) and any(
        sparse and groups * seen > channels
        for sparse, groups, seen, channels in zip(
            layer.rand_sparse, layer.groups, layer.filter_channels, layer.channels or (), strict=True
        )
    )


_BOTH_CCN1 = (CCN1, CCN1_DNOURI)

QUIRKS: tuple[Quirk, ...] = (
    Quirk(
        (*_BOTH_CCN1, ALEXNET2012, CCN2),
        _is_exact_contrast_norm,
        "the gradient of cnorm took the mean of each window for a constant",
        "the exact derivative; [@net] cnormGradient=published asks for the other one",
    ),
    Quirk(
        (ALEXNET2012, CCN2),
        _reads_softmax_alone,
        "a softmax that cost.crossent alone reads got a gradient that nobody had written",
        "the derivative of the value, t - p at the input of the softmax",
    ),
    Quirk(
        (ALEXNET2012,),
        _judges_no_logistic,
        "the second term of the gradient of cost.crossent2 had the wrong sign",
        "the derivative of the value",
    ),
    Quirk(
        (*_BOTH_CCN1, CCN2),
        _has_neuron("softrelu"),
        "the slope of softrelu was 1 for outputs above 4, which inputs below 4 reach",
        "1 for inputs above 4, as its value has it",
    ),
    Quirk(
        (ALEXNET2012,),
        _of_type("cost.tica"),
        "cost.tica reported a value that its source calls wrong",
        "the sum of the square roots, whose derivative is its gradient",
    ),
    Quirk(
        (ALEXNET2012,),
        _of_type("cost.msm"),
        "cost.msm added logarithms by an approximation where they differ by more than 5",
        "exact sums",
    ),
    Quirk(
        (ALEXNET2012,),
        _draws_channels_again,
        "sparse groups that overlap wrote their gradient over what other layers had given",
        "the sum",
    ),
    Quirk(
        (*_BOTH_CCN1, ALEXNET2012),
        _draws_at_another_word,
        "randSparse was true for the words true and 1 alone, and false for yes and on",
        "yes and on are true, as for any other key",
    ),
    Quirk(
        (ALEXNET2012,),
        _of_type("rscale"),
        "rscale gave its input unchanged in every test",
        "it is scaled to tgtSize by maxScale, as in cuda-convnet2",
    ),
    Quirk(
        (CCN2,),
        _of_type("sum"),
        "its parser knows sum, and its kernels have none",
        "sums of stride consecutive features, as the parser counts its outputs",
    ),
    Quirk(
        (CCN2,),
        _has_neuron("nrelu"),
        "its parser knows nrelu, and its kernels have none",
        "the neuron of 2012, with noise as large as the activity",
    ),
    Quirk(
        _BOTH_CCN1,
        _of_type("rscale"),
        "its parser knows rscale, and its kernels have none",
        "the layer of cuda-convnet2",
    ),
)

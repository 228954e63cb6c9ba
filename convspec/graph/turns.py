"""Layers that take several turns in a minibatch, as cuda-convnet2 runs nets whose layers have unequal numbers of replicas.

There a layer with one replica, above layers with four, takes the slices of the four one after another: four turns of a
quarter of the minibatch (convnet.cu:443, layer.cu:537-550). Its `updatePeriod` counts turns, and without one it steps
after each. Here the whole minibatch is one turn of every layer: a period of four turns is one of a minibatch, and what
would step more often steps once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.graph.graph import Graph
from convspec.graph.placement import Placement
from convspec.layers.weights import WeightLayer

if TYPE_CHECKING:
    # `check` starts without the operators.
    from convspec.program.program import Parameter, Program


def turns_of_minibatch(graph: Graph, placement: Placement) -> int:
    """Turns of the layers with the fewest replicas; 1 where a dialect knows no such thing."""
    if not graph.dialect.learning.counts_turns:
        return 1
    counts = _replica_counts(graph, placement).values()
    return max(counts, default=1) // min(counts, default=1)


def report_turns(graph: Graph, placement: Placement, report: Report) -> None:
    """Report CS505, once, for layers that cuda-convnet2 steps several times in a minibatch."""
    turns = turns_of_minibatch(graph, placement)
    if turns == 1:
        return
    counts = _replica_counts(graph, placement)
    fewest, most = min(counts.values()), max(counts, key=lambda name: counts[name])
    stepping = {
        layer.name: turns // max(1, layer.update_period, counts[layer.name] // fewest)
        for layer in graph.order
        if isinstance(layer, WeightLayer) and not layer.is_broken
    }
    often = [name for name, steps in stepping.items() if steps > 1]
    if not often:
        return
    first = graph.layers[often[0]]
    more = f", and so do {len(often) - 1} more layers" if len(often) > 2 else ", and so does one more layer"
    report.add(
        "CS505",
        first.span("update_period"),
        f"{first.name} steps {stepping[first.name]} times a minibatch in {graph.dialect.program}, and once here"
        + (more if len(often) > 1 else ""),
        notes=[f"it has {counts[first.name]} of the {counts[most]} replicas of {most}, and takes its slices in turn"],
        help=f"updatePeriod={turns} makes it step once a minibatch in both",
    )


def count_periods_in_minibatches(program: Program, turns: int) -> Program:
    """The program with periods that count minibatches, and not turns."""
    if turns == 1:
        return program
    return replace(program, parameters=tuple(_in_minibatches(parameter, turns) for parameter in program.parameters))


def _in_minibatches(parameter: Parameter, turns: int) -> Parameter:
    update = parameter.update
    return parameter._replace(update=update._replace(period=-(-update.period // turns)))


def _replica_counts(graph: Graph, placement: Placement) -> Mapping[str, int]:
    """Of all layers but data, which are on the host."""
    return {layer.name: len(placement[layer.name]) for layer in graph.order if layer.input_names}

"""Which pieces of a program start as a function of the spec says, by canonical name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convspec.graph.graph import Graph
from convspec.layers.base import WeightLayer
from convspec.layers.initialization import source_of
from convspec.program.initial import InitialValue
from convspec.program.program import Buffer, Parameter, Program

_CANONICAL = re.compile(r"(?P<layer>.+)\.(?P<matrix>\w+)s\.(?P<index>\d+)|(?P<only>.+)\.(?P<leaf>\w+)")


def initial_values(graph: Graph, program: Program) -> tuple[InitialValue, ...]:
    """In the order of the program. Pieces without a function are left out."""
    wanted: dict[str, tuple[WeightLayer, str]] = {}
    for layer in graph.layers.values():
        if isinstance(layer, WeightLayer):
            wanted |= {f"{layer.name}.{leaf}": (layer, attribute) for leaf, attribute in layer.initial_functions()}
    tensors: tuple[Parameter | Buffer, ...] = (*program.parameters, *program.buffers)
    return tuple(value for tensor in tensors for value in _values_of(tensor, wanted))


def _values_of(tensor: Parameter | Buffer, wanted: dict[str, tuple[WeightLayer, str]]) -> Iterator[InitialValue]:
    for block in tensor.blocks:
        layer_name, leaf, index = _parted(block.name)
        layer, attribute = wanted.get(f"{layer_name}.{leaf}", (None, ""))
        if layer is None:
            continue
        source = source_of(getattr(layer, attribute), layer.name, index)
        if source is not None:
            yield InitialValue(
                name=block.name,
                shape=block.shape_in(tensor.shape),
                layer=layer.name,
                layer_type=layer.type,
                index=None if leaf == "bias" else index,
                parts=layer.filter_parts,
                source=source,
                spelling=layer.key(attribute).spelling,
                span=layer.span(attribute),
            )


def _parted(name: str) -> tuple[str, str, int]:
    """`conv3a.weights.1` as conv3a, weight and 1; one without a number is the first."""
    match = _CANONICAL.fullmatch(name)
    assert match is not None, name
    if match["index"] is None:
        return match["only"], match["leaf"], 0
    return match["layer"], match["matrix"], int(match["index"])

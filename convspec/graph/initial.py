"""Which pieces of a program start as a function of the spec says, by canonical name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from convspec.graph.graph import Graph
from convspec.layers.filters import FilterLayer
from convspec.layers.initialization import source_of
from convspec.layers.weights import WeightLayer
from convspec.program.initial import InitialValue, Piece
from convspec.program.parameter import Permutations
from convspec.program.program import Buffer, Parameter, Program

_CANONICAL = re.compile(r"(?P<layer>.+)\.(?P<piece>weights|weight|bias|connections)(?:\.(?P<index>\d+))?")


def initial_values(graph: Graph, program: Program) -> tuple[InitialValue, ...]:
    """In the order of the program. Pieces without a function are left out."""
    wanted: dict[tuple[str, Piece], tuple[WeightLayer, str]] = {}
    for layer in graph.layers.values():
        if isinstance(layer, WeightLayer):
            for piece, attribute in layer.initial_functions():
                wanted[layer.name, piece] = layer, attribute
    if not wanted:
        return ()
    tensors: tuple[Parameter | Buffer, ...] = (*program.parameters, *program.buffers)
    return tuple(value for tensor in tensors for value in _values_of(tensor, wanted))


def _values_of(
    tensor: Parameter | Buffer, wanted: dict[tuple[str, Piece], tuple[WeightLayer, str]]
) -> Iterator[InitialValue]:
    for block in tensor.blocks:
        match = _CANONICAL.fullmatch(block.name)
        if match is None:
            continue
        piece = Piece.WEIGHTS if match["piece"] == "weight" else Piece(match["piece"])
        layer, attribute = wanted.get((match["layer"], piece), (None, ""))
        if layer is None:
            continue
        index = int(match["index"] or 0)
        source = source_of(getattr(layer, attribute), layer.name, index)
        if source is not None:
            yield InitialValue(
                name=block.name,
                shape=block.shape_in(tensor.shape),
                layer=layer.name,
                layer_type=layer.type,
                piece=piece,
                index=index,
                parts=layer.filter_parts,
                source=source,
                spelling=layer.key(attribute).spelling,
                span=layer.span(attribute),
                rows=tensor.initialization.rows if isinstance(tensor, Parameter) else None,
                sparse=_sparse(layer, index, tensor),
            )


def _sparse(layer: WeightLayer, index: int, tensor: Parameter | Buffer) -> tuple[int, int, int]:
    if isinstance(layer, FilterLayer) and isinstance(tensor, Buffer) and isinstance(tensor.initial, Permutations):
        channels = tensor.initial.length
        return layer.groups[index], channels, layer.channels_of_a_filter(index, channels)
    return 0, 0, 0

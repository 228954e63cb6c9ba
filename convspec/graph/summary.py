"""What each layer holds and computes, and the sums a GPU: the table that `check` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from convspec.graph.graph import Graph
from convspec.graph.placement import Placement
from convspec.graph.shapes import Shapes
from convspec.graph.sharing import Matrix, find_owners
from convspec.layers.base import Cost, Layer
from convspec.layers.weights import WeightLayer
from convspec.program.shape import Shape

_BYTES = 4


class LayerSummary(NamedTuple):
    """A row of the table.

    shape: (channels, height, width) or (features,), or None where it could not be known. outputs: numbers a case.
    window: the arithmetic of its size. weights, biases: numbers that learn. macs: multiply-adds a case, forward.
    file, line: where its header stands. shares: weights of other layers that it reads through, `conv2[0] = conv1[0]`;
    they are counted there, and not among `weights`.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    neuron: str
    shape: tuple[int, ...] | None
    window: str
    gpus: tuple[int, ...]
    weights: int
    biases: int
    macs: int
    line: int
    file: str
    shares: tuple[str, ...] = ()

    @property
    def outputs(self) -> int | None:
        return None if self.shape is None else prod(self.shape)


class Load(NamedTuple):
    """Sums over layers. activation_bytes: all outputs of a batch in fp32, kept for the backward pass.
    optimizer_bytes: one momentum a parameter."""

    weights: int = 0
    biases: int = 0
    macs: int = 0
    activation_bytes: int = 0

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    @property
    def parameter_bytes(self) -> int:
        return self.parameters * _BYTES

    @property
    def optimizer_bytes(self) -> int:
        return self.parameters * _BYTES

    def plus(self, row: LayerSummary, batch: int) -> Load:
        return Load(
            self.weights + row.weights,
            self.biases + row.biases,
            self.macs + row.macs,
            self.activation_bytes + (row.outputs or 0) * batch * _BYTES,
        )


class Totals(NamedTuple):
    """The whole network, and each GPU that it names. A layer on several GPUs counts on each: it is a replica there."""

    batch: int
    network: Load
    gpus: Mapping[int, Load]


def summarize(graph: Graph, shapes: Shapes, placement: Placement) -> tuple[LayerSummary, ...]:
    """A row for each layer, in file order."""
    rows = []
    owners = find_owners(graph)
    for layer in graph.layers.values():
        is_known = layer.name in shapes
        shape = shapes.of(layer.name) if is_known else None
        sources = [shapes.of(name) for name in layer.input_names if name in shapes]
        cost = layer.cost(sources, shape) if shape is not None else Cost()
        rows.append(
            LayerSummary(
                name=layer.name,
                type=layer.type,
                inputs=layer.input_names,
                neuron=str(layer.neuron or "") if layer.takes_neuron else "",
                shape=None if shape is None else shape.dims,
                window=shapes.inferences[layer.name].window if is_known else "",
                gpus=placement.get(layer.name, ()),
                weights=cost.weights - _shared(layer, sources, shape, owners),
                biases=cost.biases,
                macs=cost.macs,
                line=layer.header.line,
                file=layer.header.file.name,
                shares=tuple(f"{m} = {owner}" for m, owner in owners.items() if m.layer == layer.name),
            )
        )
    return tuple(rows)


def _shared(layer: Layer, inputs: Sequence[Shape], output: Shape | None, owners: Mapping[Matrix, Matrix]) -> int:
    """How many of its weights a layer has in common with the layer that they are counted for."""
    own = [matrix for matrix in owners if matrix.layer == layer.name]
    if not own or output is None:
        return 0
    assert isinstance(layer, WeightLayer)
    return sum(prod(layer.weight_shape(matrix.input, inputs, output)) for matrix in own)


def total(rows: Sequence[LayerSummary], batch: int) -> Totals:
    """Sums for a batch of `batch` images."""
    network = Load()
    gpus: dict[int, Load] = {}
    for row in rows:
        network = network.plus(row, batch)
        for gpu in row.gpus:
            gpus[gpu] = gpus.get(gpu, Load()).plus(row, batch)
    return Totals(batch, network, dict(sorted(gpus.items())))

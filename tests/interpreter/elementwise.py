"""Layers over maps or vectors alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convspec.layers.elementwise import Dropout2Layer, DropoutLayer, HiddenSex, NeuronLayer, SoftmaxLayer
from convspec.layers.join import ConcatLayer, ElementwiseMaximum, ElementwiseSum, PassLayer, SumLayer
from tests.interpreter.tape import Array, Pullback, Tape, interprets


@interprets(NeuronLayer)
def neuron_alone(layer: NeuronLayer, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Nothing: its neuron is applied as any layer's is."""
    return sources[0], lambda gradient: ([gradient], {})


@interprets(DropoutLayer, Dropout2Layer, HiddenSex)
def dropout(layer: DropoutLayer, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """dropout: x mask / keep in training. dropout2 and hs: x mask in training, x keep in every other case."""
    factor: Array | float = 1.0 if layer.type == "dropout" else layer.keep
    if layer.enable and layer.name in tape.masks:
        mask = tape.masks[layer.name]
        factor = mask / layer.keep if layer.type == "dropout" else mask
    return sources[0] * factor, lambda gradient: ([gradient * factor], {})


@interprets(SoftmaxLayer)
def softmax(layer: SoftmaxLayer, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    x = sources[0].reshape(len(sources[0]), -1)
    powers = np.exp(x - x.max(1, keepdims=True))
    value = powers / powers.sum(1, keepdims=True)

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        return [value * (gradient - (gradient * value).sum(1, keepdims=True))], {}

    return value, pull


@interprets(ConcatLayer, PassLayer)
def concat(layer: ConcatLayer, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    is_by_channel = all(x.ndim == 4 for x in sources) and len({x.shape[2:] for x in sources}) == 1
    parts = sources if is_by_channel else [x.reshape(len(x), -1) for x in sources]
    edges = np.cumsum([part.shape[1] for part in parts])[:-1]
    return np.concatenate(parts, 1), lambda gradient: (np.split(gradient, edges, 1), {})


def _of_one_shape(sources: Sequence[Array]) -> Sequence[Array]:
    """Values of as many numbers each: as they are, or flat where their shapes differ."""
    return sources if len({x.shape for x in sources}) == 1 else [x.reshape(len(x), -1) for x in sources]


@interprets(ElementwiseSum)
def elementwise_sum(layer: ElementwiseSum, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    terms = [c * x for c, x in zip(layer.coefficients, _of_one_shape(sources), strict=True)]
    return sum(terms[1:], terms[0]), lambda gradient: ([c * gradient for c in layer.coefficients], {})


@interprets(ElementwiseMaximum)
def elementwise_maximum(layer: ElementwiseMaximum, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Every input that is as large as the largest gets the whole gradient."""
    values = _of_one_shape(sources)
    largest = np.max(values, axis=0)
    return largest, lambda gradient: ([gradient * (value == largest) for value in values], {})


@interprets(SumLayer)
def sum_of_rows(layer: SumLayer, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Features i * stride to (i + 1) * stride, exclusive, give number i."""
    x = sources[0].reshape(len(sources[0]), -1)
    value = np.stack([x[:, i : i + layer.stride].sum(1) for i in range(0, x.shape[1], layer.stride)], 1)
    return value, lambda gradient: ([np.repeat(gradient, layer.stride, 1).reshape(sources[0].shape)], {})

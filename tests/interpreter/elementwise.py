"""Layers over maps or vectors alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convspec.layers.elementwise import Dropout2Layer, DropoutLayer, HiddenSex, NeuronLayer, SoftmaxLayer
from convspec.layers.join import ConcatLayer
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


@interprets(ConcatLayer)
def concat(layer: ConcatLayer, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    is_by_channel = all(x.ndim == 4 for x in sources) and len({x.shape[2:] for x in sources}) == 1
    parts = sources if is_by_channel else [x.reshape(len(x), -1) for x in sources]
    edges = np.cumsum([part.shape[1] for part in parts])[:-1]
    return np.concatenate(parts, 1), lambda gradient: (np.split(gradient, edges, 1), {})

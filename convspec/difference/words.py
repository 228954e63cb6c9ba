"""Layers and steps in the words of a reader of papers, who does not know the types of the layer file."""

from __future__ import annotations

from convspec.difference.steps import NEURON, Step
from convspec.layers.pool import Pool

_KINDS = {
    "data": "data",
    "conv": "convolution",
    "local": "convolution with unshared kernels",
    "fc": "fully-connected layer",
    "sfc": "fully-connected layer in parts",
    "treefc": "fully-connected layer with a class tree",
    "cmpool": "pooling across maps",
    "cmrnorm": "response normalisation across maps",
    "rnorm": "response normalisation over neighbouring pixels of the same map",
    "cnorm": "contrast normalisation over neighbouring pixels of the same map",
    "dropout": "dropout",
    "dropout2": "dropout",
    "hs": "dropout",
    "softmax": "softmax",
    "concat": "concatenation",
    "eltsum": "elementwise sum",
    "eltmax": "elementwise maximum",
    "sum": "sum",
}
_NEURONS = {"relu": "ReLU", "logistic": "sigmoid"}


def phrase(step: Step) -> str:
    """`max pooling`, `ReLU`, `response normalisation across maps`; the type itself where there is no better word."""
    if step.kind == NEURON:
        name = step.values[NEURON].partition("[")[0]
        return _NEURONS.get(name, name)
    if isinstance(step.layer, Pool):
        return {"max": "max pooling", "avg": "average pooling"}.get(step.layer.pool, f"pooling ({step.layer.pool})")
    return _KINDS.get(step.kind, f"{step.kind} layer")

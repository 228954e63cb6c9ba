"""Words of PyTorch, Keras and Caffe for what has another name here: whoever writes one is told ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_KEYS: Mapping[str, tuple[str, ...]] = {
    "activation": ("neuron",),
    "alpha": ("scale",),
    "beta": ("pow",),
    "bias": ("biases",),
    "bottom": ("inputs",),
    "ceil_mode": ("rounding",),
    "group": ("groups",),
    "in_channels": ("channels",),
    "kernel": ("filterSize", "sizeX"),
    "kernel_size": ("filterSize", "sizeX"),
    "learning_rate": ("epsW",),
    "local_size": ("size",),
    "lr": ("epsW",),
    "momentum": ("momW",),
    "num_features": ("channels",),
    "num_output": ("filters", "outputs"),
    "out_channels": ("filters",),
    "out_features": ("outputs",),
    "p": ("keep",),
    "pad": ("padding",),
    "pool_size": ("sizeX",),
    "size": ("sizeX", "filterSize"),
    "strides": ("stride",),
    "units": ("outputs",),
    "weight_decay": ("wc",),
}
_TYPES: Mapping[str, str] = {
    "adaptiveavgpool2d": "globalpool",
    "add": "eltsum",
    "avgpool": "pool",
    "avgpool2d": "pool",
    "cat": "concat",
    "concatenate": "concat",
    "conv2d": "conv",
    "convolution": "conv",
    "crossentropyloss": "cost.logreg",
    "dense": "fc",
    "depthwise": "conv",
    "eltwise": "eltsum",
    "gap": "globalpool",
    "innerproduct": "fc",
    "linear": "fc",
    "lrn": "cmrnorm",
    "maximum": "eltmax",
    "maxpool": "pool",
    "maxpool2d": "pool",
    "nllloss": "cost.logreg",
    "relu": "neuron",
    "sigmoid": "neuron",
    "tanh": "neuron",
}


def key_meant(word: str, keys: Collection[str]) -> str | None:
    """Which of `keys`, names in lower case, is ours for a foreign word; None for no such word."""
    return next((ours.lower() for ours in _KEYS.get(word.lower(), ()) if ours.lower() in keys), None)


def type_meant(word: str) -> str | None:
    """The layer type that is ours for a foreign word; None for no such word."""
    return _TYPES.get(word.lower())

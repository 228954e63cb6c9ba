"""Specs made so small that a test can run them: the same layers, with a few maps of a few pixels each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import convspec
from convspec.checker import Checked
from convspec.layers.base import Layer
from convspec.layers.conv import Conv
from convspec.layers.fc import FullyConnected
from convspec.layers.local import Local
from convspec.layers.norm import CrossMapResponseNorm

CLASSES = 6
NEURONS = 10
# Windows that would ask for images of 72 pixels a side.
_WINDOWS = {"googlenet.cfg": ("@classifier.pool.sizeX=2", "@classifier.pool.stride=1")}


@cache
def shrunk(path: Path) -> Checked:
    """The spec with 6 classes, as few maps a convolution as its normalisations take, and the smallest image that passes."""
    sizes = overrides(path)
    graph = convspec.check(path).graph
    (data, dims), *_ = graph.net.input
    for side in range(8, dims[1] + 1):
        checked = convspec.check(path, inputs={data: (dims[0], side, side)}, overrides=sizes)
        if checked.ok:
            return checked
    raise AssertionError(checked.diagnostics)


def overrides(path: Path) -> list[str]:
    layers = convspec.check(path).graph.layers.values()
    judged = {source for layer in layers if layer.type == "softmax" for source in layer.input_names}
    maps = max([6, *(layer.size for layer in layers if isinstance(layer, CrossMapResponseNorm))])
    return [
        f"@net.classes={CLASSES}",
        *_WINDOWS.get(path.name, ()),
        *(key for layer in layers for key in _sizes(layer, judged, maps)),
    ]


def _sizes(layer: Layer, judged: set[str], maps: int) -> list[str]:
    match layer:
        case Conv() | Local():
            return [f"{layer.name}.filters={maps}"]
        case FullyConnected():
            return [f"{layer.name}.outputs={CLASSES if layer.name in judged else NEURONS}"]
        case _:
            return []

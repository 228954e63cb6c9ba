"""The layer types. Each is one class: its keys, shape rule, cost and lowering stand together in it.

Other packages add types through the entry point group `convspec.layers`, whose values are subclasses of `Layer`; they
are looked up only where a spec names a type that is not built in, so that `check` need not scan what is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from convspec.layers.base import Layer
from convspec.layers.batchnorm import BatchNorm
from convspec.layers.conv import Conv
from convspec.layers.costs import CrossEntropy, LogisticRegression, MultiSoftmax
from convspec.layers.data import Data
from convspec.layers.elementwise import Dropout2Layer, DropoutLayer, HiddenSex, NeuronLayer, SoftmaxLayer
from convspec.layers.energy_costs import GatedSumOfSquares, SumOfSquares, TopographicIca
from convspec.layers.fc import FullyConnected, SplitFullyConnected
from convspec.layers.images import (
    Blur,
    Crop,
    HorizontalReflection,
    Nailbed,
    RandomScale,
    ResizeLayer,
    RGBToLab,
    RGBToYUV,
)
from convspec.layers.join import ConcatLayer, ElementwiseMaximum, ElementwiseSum, PassLayer, SumLayer
from convspec.layers.local import Local
from convspec.layers.norm import ContrastNorm, CrossMapResponseNorm, SameMapResponseNorm
from convspec.layers.output_costs import BinaryCrossEntropy, CrossEntropy2, DetectionCrossEntropy, RobustFlickr
from convspec.layers.pool import ChannelPool, GlobalPool, Pool
from convspec.layers.treefc import TreeFullyConnected

BUILT_IN: Mapping[str, type[Layer]] = {
    layer.type: layer
    for layer in (
        Data,
        Conv,
        Local,
        FullyConnected,
        SplitFullyConnected,
        TreeFullyConnected,
        Pool,
        GlobalPool,
        ChannelPool,
        BatchNorm,
        CrossMapResponseNorm,
        SameMapResponseNorm,
        ContrastNorm,
        NeuronLayer,
        DropoutLayer,
        Dropout2Layer,
        HiddenSex,
        SoftmaxLayer,
        ConcatLayer,
        PassLayer,
        ElementwiseSum,
        ElementwiseMaximum,
        SumLayer,
        Nailbed,
        Blur,
        HorizontalReflection,
        ResizeLayer,
        RandomScale,
        Crop,
        RGBToYUV,
        RGBToLab,
        LogisticRegression,
        CrossEntropy,
        MultiSoftmax,
        BinaryCrossEntropy,
        DetectionCrossEntropy,
        CrossEntropy2,
        RobustFlickr,
        SumOfSquares,
        GatedSumOfSquares,
        TopographicIca,
    )
}


def layer_type(name: str) -> type[Layer] | None:
    """The class of a layer type, or None."""
    return BUILT_IN.get(name) or _installed().get(name)


def layer_types() -> tuple[str, ...]:
    """All names of layer types, sorted."""
    return tuple(sorted({*BUILT_IN, *_installed()}))


@cache
def _installed() -> Mapping[str, type[Layer]]:
    from importlib.metadata import entry_points

    found: dict[str, type[Layer]] = {}
    for entry in sorted(entry_points(group="convspec.layers"), key=lambda entry: entry.name):
        layer = entry.load()
        if not (isinstance(layer, type) and issubclass(layer, Layer)):
            raise TypeError(f"entry point {entry.name} of group convspec.layers is not a subclass of Layer")
        found[layer.type] = layer
    return found

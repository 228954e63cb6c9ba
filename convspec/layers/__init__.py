"""The layer types. Each is one class: its keys, shape rule, cost and lowering stand together in it.

Other packages add types through the entry point group `convspec.layers`, whose values are subclasses of `Layer`; they
are looked up only where a spec names a type that is not built in, so that `check` need not scan what is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from convspec.layers.base import Layer

# The types of each module beside this one, which is imported when a spec names one of them.
_FAMILIES: Mapping[str, str] = {
    "data": "data",
    "conv": "conv",
    "local": "local",
    "fc": "fc sfc",
    "treefc": "treefc",
    "pool": "pool globalpool cmpool",
    "batchnorm": "batchnorm",
    "norm": "cmrnorm rnorm cnorm",
    "elementwise": "neuron dropout dropout2 hs softmax",
    "join": "concat pass eltsum eltmax sum",
    "images": "nailbed blur href resize rscale crop rgb2yuv rgb2lab",
    "costs": "cost.logreg cost.crossent cost.msm",
    "output_costs": "cost.bce cost.dce cost.crossent2 cost.rflickr",
    "energy_costs": "cost.sum2 cost.gsum2 cost.tica",
}


class _BuiltIn(Mapping[str, type[Layer]]):
    """The classes of our own layer types by name. Looking at names imports none of them."""

    def __init__(self) -> None:
        self._families = {name: family for family, names in _FAMILIES.items() for name in names.split()}

    def __getitem__(self, name: str) -> type[Layer]:
        return _classes(self._families[name])[name]

    def __contains__(self, name: object) -> bool:
        return name in self._families

    def __iter__(self) -> Iterator[str]:
        return iter(self._families)

    def __len__(self) -> int:
        return len(self._families)


BUILT_IN = _BuiltIn()


@cache
def _classes(family: str) -> Mapping[str, type[Layer]]:
    values = vars(import_module(f"convspec.layers.{family}")).values()
    layers = [value for value in values if isinstance(value, type) and issubclass(value, Layer)]
    return {layer.type: layer for layer in layers if "type" in vars(layer)}


def layer_type(name: str) -> type[Layer] | None:
    """The class of a layer type, or None."""
    return BUILT_IN[name] if name in BUILT_IN else _installed().get(name)


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

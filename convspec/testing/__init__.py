"""Random specs for property-based tests: `specs()` is a Hypothesis strategy that draws layer files.

Every spec that it draws checks without an error or a warning, has at least one cost, and is small: what is tested of
it runs in milliseconds. Simple specs come first, so that a failing test shrinks to few layers with small numbers.

    import convspec
    from convspec.testing import specs
    from hypothesis import given

    @given(specs(max_layers=4, layer_types=("conv", "pool")))
    def test_windows_cover_the_image(text: str) -> None:
        checked = convspec.check(text)
        assert checked.ok
        for layer in checked.layers:
            assert layer.outputs

This module needs the package `hypothesis`; nothing else of convspec does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from hypothesis.strategies import SearchStrategy

from convspec.checker import check
from convspec.layers import BUILT_IN, layer_type
from convspec.testing.net import TOWER_NAMES, Limits
from convspec.testing.texts import texts

__all__ = ["COSTS", "LAYER_TYPES", "NEURONS", "specs"]

LAYER_TYPES: tuple[str, ...] = (
    "conv",
    "local",
    "fc",
    "sfc",
    "treefc",
    "pool",
    "neuron",
    "cmrnorm",
    "rnorm",
    "batchnorm",
    "cnorm",
    "globalpool",
    "cmpool",
    "concat",
    "pass",
    "eltsum",
    "eltmax",
    "sum",
    "nailbed",
    "blur",
    "href",
    "dropout",
    "dropout2",
    "hs",
    "softmax",
)
# Those that are finite for every input, and give the same each time.
NEURONS: tuple[str, ...] = (
    "relu",
    "logistic",
    "tanh[1.7,0.66]",
    "abs",
    "brelu[1.5]",
    "softrelu",
    "linear[0.5,-0.1]",
    "drelu[2]",
    "square",
    "ident",
)
COSTS: tuple[str, ...] = (
    "cost.logreg",
    "cost.sum2",
    "cost.gsum2",
    "cost.tica",
    "cost.msm",
    "cost.crossent",
    "cost.crossent2",
    "cost.rflickr",
    "cost.bce",
    "cost.dce",
)


def specs(
    *,
    max_layers: int = 6,
    max_side: int = 24,
    max_channels: int = 8,
    layer_types: Sequence[str] = LAYER_TYPES,
    neurons: Sequence[str] = NEURONS,
    costs: Sequence[str] = COSTS,
    towers: int = 1,
    is_square: bool = True,
    replicas: int = 1,
    own_types: Mapping[str, SearchStrategy[Mapping[str, object]]] | None = None,
) -> SearchStrategy[str]:
    """Texts of one-file specs: data, layers at random, and a classifier with its cost over all that is left unread.

    max_layers: layers a tower between the data and the classifier, at least 0.
    max_side: pixels of an image, at least 1. max_channels: maps of an image or conv layer, at least 1; a concat layer
    may give more.
    layer_types: what to draw from, a part of `LAYER_TYPES`, simplest first. neurons: functions for `neuron=`, as a spec
    writes them.
    costs: types of a cost beside that of the classifier, which is cost.logreg; a part of `COSTS`, simplest first. What
    such a cost judges has layers of its own, which count to no limit.
    towers: 1 for a network on one GPU, up to 8 for as many GPUs with a tower each: the layers of the towers are twins
    (`conv1a`, `conv1b`), most often equal in all numbers, and some of them read the other towers too, as layers 3, 6
    and 7 of AlexNet do.
    is_square: False for images whose height and width differ.
    replicas: GPUs that every layer of a tower names, 1 to 8: each has a part of the minibatch.
    own_types: layer types of your own, of one input, and what draws the keys of a layer of each beside `type` and
    `inputs`; one at least is tried in each spec. The layer's own shape rule says what it gives; where it refuses what
    it would read, it is left out.

    Raises ValueError for a number or a name that is none of these.
    """
    unknown = sorted(set(layer_types) - set(LAYER_TYPES))
    if unknown:
        raise ValueError(f"layer types are {', '.join(LAYER_TYPES)}; not {', '.join(unknown)}")
    if set(costs) - set(COSTS):
        raise ValueError(f"costs are {', '.join(COSTS)}; not {', '.join(sorted(set(costs) - set(COSTS)))}")
    if not 1 <= towers <= len(TOWER_NAMES):
        raise ValueError(f"towers can be 1 to {len(TOWER_NAMES)}, not {towers}")
    if not 1 <= replicas <= len(TOWER_NAMES):
        raise ValueError(f"replicas can be 1 to {len(TOWER_NAMES)}, not {replicas}")
    if max_layers < 0 or max_side < 1 or max_channels < 1:
        raise ValueError(
            f"max_layers={max_layers}, max_side={max_side}, max_channels={max_channels}: a limit is too small"
        )
    limits = Limits(
        max_layers,
        max_side,
        max_channels,
        tuple(layer_types),
        tuple(neurons),
        tuple(costs),
        towers,
        is_square,
        replicas,
        own_types or {},
    )
    _load()
    return texts(limits)


@cache
def _load() -> None:
    """Parsers and layer types, which the first check would load: Hypothesis gives each example 200 ms."""
    for name in BUILT_IN:
        layer_type(name)
    check("[@net]\ninput=data:3x2x2\noutputs=data\n[data]\ntype=data\ndataIdx=0\n")

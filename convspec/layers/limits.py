"""What the kernels of the original programs could not run, though the mathematics is there: for `check --portable`.

Each limit is a row: which programs had it, on which class of layers, and what goes beyond it. Sources: the checks in the
`layer.py` of each program, and the asserts behind them: cudaconv3 filter_acts.cu:1390-1412, weight_acts.cu:2083-2085 and
conv_util.cu:2095, 2187 of cuda-convnet2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from convspec.layers import BUILT_IN
from convspec.layers.base import Layer
from convspec.layers.conv import Conv
from convspec.layers.dialects import ALEXNET2012, CCN1, CCN1_DNOURI, CCN2, Dialect
from convspec.layers.filters import FilterLayer
from convspec.layers.images import HorizontalReflection, Nailbed
from convspec.layers.norm import CrossMapResponseNorm, SameMapResponseNorm
from convspec.layers.pool import Pool
from convspec.program.shape import Shape
from convspec.syntax.forms import EXTENT, EXTENTS

_FEW_CHANNELS = 3
_EXTENTS = (EXTENT, EXTENTS)


class Place(NamedTuple):
    """A layer and what is known around it. is_above_weights: whether anything that it reads, near or far, learns."""

    layer: Layer
    inputs: Sequence[Shape]
    output: Shape
    is_above_weights: bool


class Excess(NamedTuple):
    """attribute: of the key to blame. fact: what goes beyond the limit. wanted: what does not."""

    attribute: str
    fact: str
    wanted: str


class Limit(NamedTuple):
    """programs: those that had it. excesses: what of a place goes beyond it."""

    programs: tuple[Dialect, ...]
    excesses: Callable[[Place], Iterator[Excess]]


def excesses(place: Place, program: Dialect) -> Iterator[Excess]:
    """What of a layer a program could not run."""
    for limit in LIMITS:
        if program in limit.programs:
            yield from limit.excesses(place)


def _filters_by_sixteen(place: Place) -> Iterator[Excess]:
    if isinstance(place.layer, FilterLayer) and any(filters % 16 for filters in place.layer.filters):
        worst = next(filters for filters in place.layer.filters if filters % 16)
        yield Excess("filters", f"it has {worst} filters", "a multiple of 16")


def _channels_by_four(place: Place) -> Iterator[Excess]:
    for channels, groups, drawn in _channels_and_groups(place):
        if drawn % 4:
            fact = f"its groups draw {drawn} channels each"
            yield Excess("filter_channels", fact, "a filterChannels that is a multiple of 4")
        elif not drawn and groups > 1 and channels % (4 * groups):
            yield Excess("channels", f"it reads {channels} channels in {groups} groups", f"a multiple of {4 * groups}")
        elif (drawn or groups == 1) and channels > _FEW_CHANNELS and channels % 4:
            yield Excess("channels", f"it reads {channels} channels", "at most 3, or a multiple of 4")


def _channels_by_sixteen(place: Place) -> Iterator[Excess]:
    """The gradient of the weights (weight_acts.cu:2083-2085); what multiples of 4 rule out already is left to them."""
    for channels, groups, _ in _channels_and_groups(place):
        if channels % (4 * groups) or (groups == 1 and channels <= _FEW_CHANNELS):
            continue
        if channels // groups % 16:
            fact = f"its weights see {channels // groups} channels{' a group' if groups > 1 else ''}"
            yield Excess("channels", fact, "a multiple of 16" + (", or at most 3" if groups == 1 else ""))


def _channels_and_groups(place: Place) -> Iterator[tuple[int, int, int]]:
    """Channels, groups, and how many channels each group draws at random, 0 where it draws none: once for each input with
    sizes of its own, of layers with filters."""
    if isinstance(place.layer, FilterLayer):
        layer = place.layer
        given = layer.channels if layer.is_given("channels") else [shape.channels for shape in place.inputs]
        drawn = [
            layer.channels_of_a_filter(index, channels) if layer.rand_sparse[index] else 0
            for index, channels in enumerate(given)
        ]
        yield from dict.fromkeys(zip(given, layer.groups, drawn, strict=True))


def _no_gaps(place: Place) -> Iterator[Excess]:
    if isinstance(place.layer, FilterLayer):
        for stride, side in dict.fromkeys(zip(place.layer.stride, place.layer.filter_size, strict=True)):
            if stride.height > side.height or stride.width > side.width:
                yield Excess("stride", f"its stride of {stride} leaves out pixels", f"at most its filterSize, {side}")


def _square_windows(place: Place) -> Iterator[Excess]:
    """One for each key that has a number for rows and another one for columns."""
    keys = [key for key in place.layer.keys.values() if key.form in _EXTENTS]
    for key in keys:
        value = getattr(place.layer, key.attribute)
        oblong = [each for each in (value if key.per_input else (value,)) if each.height != each.width]
        if oblong:
            yield Excess(key.attribute, f"its {key.spelling} is {oblong[0]}", "one number for rows and columns")


def _partial_sums(place: Place) -> Iterator[Excess]:
    if isinstance(place.layer, Conv) and place.layer.partial_sum > 0:
        windows = place.output.height * place.output.width
        if windows % place.layer.partial_sum:
            fact = f"its partialSum of {place.layer.partial_sum} does not divide its {windows} windows"
            yield Excess("partial_sum", fact, f"a divisor of {windows}, or 0")


def _pools_by_sixteen(place: Place) -> Iterator[Excess]:
    if isinstance(place.layer, Pool) and place.is_above_weights and place.output.channels % 16:
        yield Excess("channels", f"it pools {place.output.channels} maps above weights that learn", "a multiple of 16")


def _norms_by_sixteen(place: Place) -> Iterator[Excess]:
    if isinstance(place.layer, CrossMapResponseNorm) and place.output.channels % 16:
        yield Excess("channels", f"it normalises {place.output.channels} maps", "a multiple of 16")


def _norms_by_four(place: Place) -> Iterator[Excess]:
    channels = place.output.channels
    if isinstance(place.layer, SameMapResponseNorm) and channels > _FEW_CHANNELS and channels % 4:
        yield Excess("channels", f"it normalises {channels} maps", "at most 3, or a multiple of 4")


def _mirrors_of_colors(place: Place) -> Iterator[Excess]:
    if isinstance(place.layer, HorizontalReflection) and place.output.channels > _FEW_CHANNELS:
        yield Excess("channels", f"it mirrors {place.output.channels} maps", "at most 3")


def _beds_with_gaps(place: Place) -> Iterator[Excess]:
    if isinstance(place.layer, Nailbed) and place.layer.stride == 1:
        yield Excess("stride", "it takes every pixel", "a stride of 2 or more")


def _square_maps(place: Place) -> Iterator[Excess]:
    """Where maps cease to be square."""
    if _is_oblong(place.output) and not any(map(_is_oblong, place.inputs)):
        yield Excess("inputs", f"its maps are {place.output.height}x{place.output.width}", "square maps")


def _is_oblong(shape: Shape) -> bool:
    return shape.is_map and shape.height != shape.width


def _types(program: Dialect) -> Callable[[Place], Iterator[Excess]]:
    """Types and neurons of other programs, which only a spec of our own dialect can have."""

    def find(place: Place) -> Iterator[Excess]:
        layer = place.layer
        if layer.type in BUILT_IN and not program.has_type(layer.type):
            yield Excess("", f"it has no layer type {layer.type}", "another type")
        if layer.neuron is not None and layer.takes_neuron and not program.has_neuron(layer.neuron.name):
            yield Excess("neuron", f"it has no neuron {layer.neuron.name}", "another neuron")

    return find


def _without_kernel(types: frozenset[str], neurons: frozenset[str]) -> Callable[[Place], Iterator[Excess]]:
    """What the parser of a program took, and its kernels did not have."""

    def find(place: Place) -> Iterator[Excess]:
        layer = place.layer
        if layer.type in types:
            yield Excess("", f"its parser knows {layer.type} and its kernels do not", "another type")
        if layer.neuron is not None and layer.neuron.name in neurons:
            yield Excess("neuron", f"its parser knows {layer.neuron.name} and its kernels do not", "another neuron")

    return find


_BOTH_CCN1 = (CCN1, CCN1_DNOURI)
_ALL = (*_BOTH_CCN1, ALEXNET2012, CCN2)

LIMITS: tuple[Limit, ...] = (
    Limit(_ALL, _filters_by_sixteen),
    Limit(_ALL, _channels_by_four),
    Limit((CCN2,), _channels_by_sixteen),
    Limit(_ALL, _no_gaps),
    Limit((*_BOTH_CCN1, ALEXNET2012), _partial_sums),
    Limit(_ALL, _pools_by_sixteen),
    Limit(_ALL, _norms_by_sixteen),
    Limit(_ALL, _norms_by_four),
    Limit((ALEXNET2012, CCN2), _mirrors_of_colors),
    Limit(_ALL, _beds_with_gaps),
    Limit(_ALL, _square_maps),
    Limit(_ALL, _square_windows),
    Limit((CCN2,), _types(CCN2)),
    Limit((CCN2,), _without_kernel(frozenset(["sum"]), frozenset(["nrelu"]))),
    Limit(_BOTH_CCN1, _without_kernel(frozenset(["rscale"]), frozenset())),
)

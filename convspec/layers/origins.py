"""Where a size came from: what messages about a size point at, above the layer that could not take it."""

from __future__ import annotations

from collections.abc import Sequence

from convspec.diagnostics import Label
from convspec.layers.base import Context
from convspec.layers.keys import Home

_LONGEST_WAY = 10


def parting_labels(context: Context, first: str, second: str) -> list[Label]:
    """Labels on the two layers above `first` and `second` at which the sides of their maps begin to differ.

    On ways of one length they are compared step by step, as of twins; else each way has the last layer that changed them.
    """
    ways = _way(context, first), _way(context, second)
    shared = set(ways[0]).intersection(ways[1])
    own = [[name for name in way if name not in shared] for way in ways]
    if len(own[0]) != len(own[1]):
        first, second = (_last_change(context, way, name) for way, name in zip(own, (first, second), strict=True))
        return [_size_label(context, first, second), _size_label(context, second, first)]
    while True:
        above = [context.layers[name].input_names[:1] for name in (first, second)]
        if not all(above) or len({context.known[name].shape.dims[1:] for (name,) in above}) == 1:
            break
        first, second = (name for (name,) in above)
    return [_size_label(context, first, second), _size_label(context, second, first)]


def _last_change(context: Context, way: Sequence[str], name: str) -> str:
    """The nearest layer on the way up that changed the sides of maps; `name` where none did."""
    for step in way:
        sides = {context.known[n].shape.dims[1:] for n in (step, *context.layers[step].input_names[:1])}
        if len(sides) > 1:
            return step
    return name


def _size_label(context: Context, name: str, other: str) -> Label:
    """What a layer gives, at the key in which it differs from the other one, else at its header."""
    layer, twin = context.layers[name], context.layers[other]
    found = context.known[name]
    text = f"{name} gives {' = '.join(filter(None, [str(found.shape), found.window]))}"
    if layer.type != twin.type:
        return Label(layer.header, text)
    shaping = (
        k.attribute for k in layer.keys.values() if k.home is Home.LAYERS and k.name not in ("inputs", "gpu", "expect")
    )
    differing = [a for a in shaping if getattr(layer, a) != getattr(twin, a) and layer.is_given(a)]
    return Label(layer.span(differing[0]) if differing else layer.header, text)


def unlike_maps(context: Context, name: str) -> tuple[str, str] | None:
    """Of a layer that would join its inputs by map, two whose maps are not of one size, so that it gives a vector."""
    layer = context.layers.get(name)
    if layer is None or not layer.joins_maps or not all(context.known[n].shape.is_map for n in layer.input_names):
        return None
    first, *others = layer.input_names
    sides = context.known[first].shape.dims[1:]
    return next(((first, other) for other in others if context.known[other].shape.dims[1:] != sides), None)


def way_notes(context: Context, name: str) -> list[str]:
    """A note on the layers that changed the side of the maps, `the way there: data 3x227x227, conv1 96x55x55, pool1
    96x27x27`; none where `name` has the size of the data."""
    steps: list[str] = []
    last: tuple[int, ...] | None = None
    for step in reversed(_way(context, name)):
        shape = context.known[step].shape
        if shape.dims[1:] != last:
            steps.append(f"{step} {shape}")
        last = shape.dims[1:]
    shown = steps if len(steps) <= _LONGEST_WAY else [steps[0], "...", *steps[2 - _LONGEST_WAY :]]
    return [] if len(steps) == 1 else [f"the way there: {', '.join(shown)}"]


def _way(context: Context, name: str) -> list[str]:
    """The layer, its first input, that one's first input, and so on."""
    way = [name]
    while inputs := context.layers[way[-1]].input_names:
        way.append(inputs[0])
    return way


def output_label(context: Context, name: str) -> list[Label]:
    """A label on the `outputs` of the fc layer whose features `name` passes on, if there is one."""
    for step in _way(context, name):
        layer = context.layers[step]
        if layer.is_given("out_features"):
            return [Label(layer.span("out_features"), f"{step} gives {context.known[step].shape}")]
        if context.known[step].shape.features != context.known[name].shape.features:
            break
    return []

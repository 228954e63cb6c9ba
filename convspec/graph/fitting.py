"""Which sizes of an input make every window fit exactly, so that nothing is rounded: 227 and not 224 for AlexNet.

Where all windows fit, rounding up and rounding down agree. Sizes near the given one are tried one by one by the layers' own
shape rules; a size is given up at the first layer that does not fit, so that deep networks cost little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from convspec.diagnostics import Diagnostic, DiagnosticError, Report, did_you_mean
from convspec.graph.graph import Graph
from convspec.graph.shapes import Shapes
from convspec.layers.base import Context, Inference, Layer, Rounding
from convspec.layers.data import Data
from convspec.program.shape import Shape


class Fit(NamedTuple):
    """A size of the input, and what the last layers that give maps then give, by name."""

    size: Shape
    maps: Mapping[str, Shape]


class Loose(NamedTuple):
    """Windows that do not fit the size there is now. formula: `(224 - 11) / 4 + 1 = 54.25`. up, down: rounded."""

    layers: tuple[str, ...]
    formula: str
    up: int
    down: int


@dataclass(frozen=True)
class Fits:
    """layer: the data layer. size: what it has now. tried: the smallest and the largest size that was tried.

    exact: sizes at which every window fits. loose: the windows that do not fit now, in graph order.
    same: sizes at which all maps above the data are as large as they are now, under either rounding.
    """

    layer: str
    size: Shape
    tried: tuple[Shape, Shape]
    exact: tuple[Fit, ...]
    loose: tuple[Loose, ...]
    same: Mapping[Rounding, tuple[Shape, ...]]


def find_fits(graph: Graph, shapes: Shapes, layer: str, within: int) -> Fits:
    """Try all sizes up to `within` pixels smaller or larger. Of an input that is not square both sides change alike.

    Raises DiagnosticError with CS418 where `layer` is no data layer whose size in pixels is known.
    """
    size = _size_of(graph, shapes, layer)
    search = _Search(graph, shapes, layer)
    smaller = min(within, size.height - 1, size.width - 1)
    sizes = [_enlarged(size, pixels) for pixels in range(-smaller, within + 1)]
    outcomes = {rounding: [search.outcome(s, rounding) for s in sizes] for rounding in Rounding}
    return Fits(
        layer,
        size,
        (sizes[0], sizes[-1]),
        tuple(outcome.fit for outcome in outcomes[graph.net.rounding] if outcome.fit is not None),
        search.loose_windows(),
        {
            rounding: tuple(s for s, outcome in zip(sizes, found, strict=True) if outcome.is_same)
            for rounding, found in outcomes.items()
        },
    )


def _size_of(graph: Graph, shapes: Shapes, name: str) -> Shape:
    layer = graph.layers.get(name)
    data = [other.name for other in graph.layers.values() if _is_image(other, shapes)]
    if layer is not None and _is_image(layer, shapes):
        return shapes.of(name)
    if layer is None:
        message, help = f"there is no layer {name} to look for sizes of", did_you_mean(name, data)
    elif not isinstance(layer, Data):
        message, help = f"{name} is a {layer.type} layer: its size follows from its inputs", None
    elif name not in shapes:
        message, help = f"the size of {name} is not known", f"pass --input {name}:3x224x224"
    else:
        message, help = f"{name} gives {shapes.of(name)} numbers a case, and no pixels", None
    help = help or (f"the layers of pixels are {', '.join(data)}" if data else "name a data layer of images")
    raise DiagnosticError(Diagnostic("CS418", message, None if layer is None else layer.header, help=help))


def _is_image(layer: Layer, shapes: Shapes) -> bool:
    return isinstance(layer, Data) and layer.name in shapes and shapes.of(layer.name).is_map


def _enlarged(size: Shape, pixels: int) -> Shape:
    return Shape.of_maps(size.channels, size.height + pixels, size.width + pixels)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """fit: where every window fits. is_same: whether all maps are as large as they are now."""

    fit: Fit | None
    is_same: bool


class _Search:
    """A network whose shapes above one data layer are asked for many sizes of it."""

    def __init__(self, graph: Graph, shapes: Shapes, layer: str) -> None:
        self._graph = graph
        self._shapes = shapes
        self._data = layer
        reached = {layer}
        self._above: list[Layer] = []
        for other in graph.order:
            if other.name in shapes and not reached.isdisjoint(other.input_names):
                reached.add(other.name)
                self._above.append(other)
        self._last = self._last_maps(reached)

    def _last_maps(self, reached: set[str]) -> list[str]:
        maps = [layer.name for layer in self._above if self._shapes.of(layer.name).is_map]
        readers = self._graph.readers
        return [
            name
            for name in maps
            if not any(
                r.name in reached and r.name in self._shapes and self._shapes.of(r.name).is_map for r in readers[name]
            )
        ]

    def _walk(self, size: Shape, rounding: Rounding) -> Iterator[tuple[Layer, Inference | None]]:
        """The layers above the data with what they give; nothing after the first that gives nothing."""
        known = {**self._shapes.inferences, self._data: Inference(size)}
        graph = self._graph
        context = Context(
            Report(), rounding, self._shapes.classes, layers=graph.layers, known=known, dialect=graph.dialect
        )
        for layer in self._above:
            inference = layer.infer([known[name].shape for name in layer.input_names], context)
            yield layer, inference
            if inference is None:
                return
            known[layer.name] = inference

    def outcome(self, size: Shape, rounding: Rounding) -> _Outcome:
        """What comes of a size; the walk ends where the size is found to be neither exact nor the same."""
        is_exact = is_same = True
        found: dict[str, Shape] = {}
        for layer, inference in self._walk(size, rounding):
            if inference is None:
                return _Outcome(None, is_same=False)
            is_exact = is_exact and inference.floor_size is None
            is_same = is_same and inference.shape == self._shapes.of(layer.name)
            if not (is_exact or is_same):
                break
            found[layer.name] = inference.shape
        return _Outcome(Fit(size, {name: found[name] for name in self._last}) if is_exact else None, is_same=is_same)

    def loose_windows(self) -> tuple[Loose, ...]:
        groups: dict[tuple[str, int], list[str]] = {}
        for layer in self._above:
            inference = self._shapes.inferences[layer.name]
            if inference.floor_size is not None:
                formula = inference.window.partition(", rounded")[0]
                groups.setdefault((formula, inference.floor_size), []).append(layer.name)
        return tuple(Loose(tuple(names), formula, floor + 1, floor) for (formula, floor), names in groups.items())


def described(sizes: Sequence[Shape]) -> str:
    """`224 to 227`, `195, 227, 259, every 32 pixels`; `none`. Sizes that are not square as height x width."""
    words = [str(size.height) if size.height == size.width else f"{size.height}x{size.width}" for size in sizes]
    steps = {other.height - one.height for one, other in pairwise(sizes)}
    if not words:
        return "none"
    if steps == {1}:
        return f"{words[0]} to {words[-1]}"
    every = f", every {steps.pop()} pixels" if len(steps) == 1 and len(words) > 2 else ""
    return ", ".join(words) + every

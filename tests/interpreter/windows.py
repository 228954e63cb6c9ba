"""Windows along an axis, visited one by one."""

from __future__ import annotations

from math import isqrt

from convspec.graph.graph import Graph
from convspec.layers.filters import FilterLayer
from convspec.layers.pool import Pool
from tests.interpreter.tape import Array


def spans(side: int, count: int, size: int, stride: int, first: int) -> list[tuple[slice, slice]]:
    """For each window along an axis: its pixels inside the image, and where they lie in the window."""
    spans = []
    for i in range(count):
        begin = first + i * stride
        inside = [pixel for pixel in range(begin, begin + size) if 0 <= pixel < side] or [0, -1]
        low, high = inside[0], inside[-1] + 1
        spans.append((slice(low, high), slice(low - begin, high - begin) if high > low else slice(0, 0)))
    return spans


def count_windows(room: int, stride: int, layer: FilterLayer | Pool, graph: Graph) -> int:
    """Windows where the first one leaves `room` pixels: the last one may hang over, or there is none that does."""
    count = 1
    while room > 0 and ((layer.own_rounding or graph.net.rounding_name) == "ceil" or room >= stride):
        room -= stride
        count += 1
    return count


def as_maps(value: Array, channels: int | None) -> Array:
    """A vector as square maps; maps as they are."""
    if value.ndim == 4:
        return value
    assert channels is not None
    side = isqrt(value.shape[1] // channels)
    return value.reshape(len(value), channels, side, side)

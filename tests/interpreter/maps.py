"""Layers over maps that learn nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from convspec.layers.norm import ContrastNorm, CrossMapResponseNorm, SameMapResponseNorm
from convspec.layers.pool import ChannelPool, GlobalPool, Pool
from tests.interpreter.tape import Array, Pullback, Tape, interprets
from tests.interpreter.windows import as_maps, count_windows, spans


@interprets(Pool)
def pool(layer: Pool, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """The first largest pixel, the last of largest magnitude, the mean or the sum of each window's pixels inside the image;
    where ties share, the gradient goes to each pixel that equals the output."""
    x = as_maps(sources[0], layer.channels)
    axes = zip(x.shape[2:], layer.outputs_x, layer.size, layer.stride, layer.start, layer.padding, strict=True)
    rows, columns = (_windows(layer, *axis, tape) for axis in axes)
    value = np.empty((*x.shape[:2], len(rows), len(columns)))
    shares = {}
    for (oy, ys), (ox, xs) in product(enumerate(rows), enumerate(columns)):
        window = x[:, :, ys, xs].reshape(*x.shape[:2], -1)
        share = _shares(layer, window)
        value[:, :, oy, ox] = (share * window).sum(2)
        if layer.pool != "avg" and tape.graph.net.ties == "all":
            share = (window == value[:, :, oy, ox, None]).astype(np.float64)
        shares[oy, ox] = share

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_x = np.zeros_like(x)
        for (oy, ys), (ox, xs) in product(enumerate(rows), enumerate(columns)):
            of_window = shares[oy, ox] * gradient[:, :, oy, ox, None]
            of_x[:, :, ys, xs] += of_window.reshape(x[:, :, ys, xs].shape)
        return [of_x], {}

    return value, pull


def _windows(
    layer: Pool, side: int, given: int, size: int, stride: int, start: int, padding: int, tape: Tape
) -> list[slice]:
    """The pixels of each window inside the image; windows that have none are left out."""
    first = start - padding
    count = given or count_windows(side + padding - first - size, stride, layer, tape.graph)
    found = [inside for inside, _ in spans(side, count, size, stride, first)]
    return [inside for inside in found if inside.stop > inside.start]


def _shares(layer: Pool, window: Array) -> Array:
    """What of each pixel of a window, along the last axis, the output has."""
    count = window.shape[2]
    match layer.pool:
        case "avg":
            return np.full_like(window, 1 if layer.sums else 1 / count)
        case "maxabs":
            return np.eye(count)[count - 1 - np.abs(window)[:, :, ::-1].argmax(2)]
        case _:
            return np.eye(count)[window.argmax(2)]


@interprets(ChannelPool)
def channel_pool(layer: ChannelPool, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """The first largest of the maps start + o stride, ... + size, of those that there are; or all of them, where ties
    share. Windows as many as are asked for, or until the last map is seen."""
    x = as_maps(sources[0], layer.channels)
    windows: list[list[int]] = []
    while len(windows) < layer.out_channels or (
        not layer.out_channels and (not windows or windows[-1][-1] < x.shape[1] - 1)
    ):
        first = layer.start + len(windows) * layer.stride
        windows.append([c for c in range(first, first + layer.size) if 0 <= c < x.shape[1]])
    value = np.stack([x[:, window].max(1) for window in windows], 1)

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_x = np.zeros_like(x)
        for o, window in enumerate(windows):
            is_largest = x[:, window] == value[:, o : o + 1]
            if tape.graph.net.ties == "first":
                is_largest &= is_largest.cumsum(1) == 1
            of_x[:, window] += is_largest * gradient[:, o : o + 1]
        return [of_x], {}

    return value, pull


@interprets(GlobalPool)
def global_pool(layer: GlobalPool, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """The mean of a map, or its first largest pixel."""
    x = as_maps(sources[0], layer.channels)
    pixels = x.reshape(*x.shape[:2], -1)
    share = (
        np.eye(pixels.shape[2])[pixels.argmax(2)] if layer.pool == "max" else np.full_like(pixels, 1 / pixels.shape[2])
    )
    value = (share * pixels).sum(2)
    if layer.pool == "max" and tape.graph.net.ties == "all":
        share = (pixels == value[:, :, None]).astype(np.float64)

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        return [(share * gradient.reshape(*x.shape[:2], 1)).reshape(x.shape)], {}

    return value[:, :, None, None], pull


@interprets(CrossMapResponseNorm)
def cross_map_response_norm(
    layer: CrossMapResponseNorm, sources: Sequence[Array], tape: Tape
) -> tuple[Array, Pullback]:
    """y_f = x_f (minDiv + scale/size sum of x_g^2)^-pow over g in [f - size//2, f - size//2 + size), where they are; blocked:
    over the maps that share f // size."""
    x = as_maps(sources[0], layer.channels)
    channels = x.shape[1]
    windows = [
        [g for g in range(f - layer.size // 2, f - layer.size // 2 + layer.size) if 0 <= g < channels]
        for f in range(channels)
    ]
    if layer.blocked:
        windows = [[g for g in range(channels) if g // layer.size == f // layer.size] for f in range(channels)]
    weight = layer.scale / layer.size
    divisor = np.stack([layer.min_divisor + weight * (x[:, window] ** 2).sum(1) for window in windows], 1)

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_x = gradient * divisor**-layer.power
        of_divisor = -layer.power * gradient * x * divisor ** (-layer.power - 1)
        for f, window in enumerate(windows):
            of_x[:, window] += 2 * weight * x[:, window] * of_divisor[:, f : f + 1]
        return [of_x], {}

    return x * divisor**-layer.power, pull


@interprets(SameMapResponseNorm)
def same_map_response_norm(layer: SameMapResponseNorm, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """As above with scale/size^2, over the pixels [p - size//2, p - size//2 + size) of the same map in both directions."""
    x = as_maps(sources[0], layer.channels)
    rows, columns = ([inside for inside, _ in spans(n, n, layer.size, 1, -(layer.size // 2))] for n in x.shape[2:])
    weight = layer.scale / layer.size**2
    divisor = np.empty_like(x)
    for (oy, ys), (ox, xs) in product(enumerate(rows), enumerate(columns)):
        divisor[:, :, oy, ox] = layer.min_divisor + weight * (x[:, :, ys, xs] ** 2).sum((2, 3))

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_x = gradient * divisor**-layer.power
        of_divisor = -layer.power * gradient * x * divisor ** (-layer.power - 1)
        for (oy, ys), (ox, xs) in product(enumerate(rows), enumerate(columns)):
            of_x[:, :, ys, xs] += 2 * weight * x[:, :, ys, xs] * of_divisor[:, :, oy, ox, None, None]
        return [of_x], {}

    return x * divisor**-layer.power, pull


@interprets(ContrastNorm)
def contrast_norm(layer: ContrastNorm, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Y = x (minDiv + scale/size^2 sum of d^2)^-pow with d = x - mean of x, over the windows of rnorm, means over the pixels
    that are there. The published gradient leaves out what flows through the means."""
    x = as_maps(sources[0], layer.channels)
    rows, columns = ([inside for inside, _ in spans(n, n, layer.size, 1, -(layer.size // 2))] for n in x.shape[2:])
    windows = [((oy, ox), (ys, xs)) for (oy, ys), (ox, xs) in product(enumerate(rows), enumerate(columns))]
    weight = layer.scale / layer.size**2
    difference, divisor = np.empty_like(x), np.empty_like(x)
    for (oy, ox), (ys, xs) in windows:
        difference[:, :, oy, ox] = x[:, :, oy, ox] - x[:, :, ys, xs].mean((2, 3))
    for (oy, ox), (ys, xs) in windows:
        divisor[:, :, oy, ox] = layer.min_divisor + weight * (difference[:, :, ys, xs] ** 2).sum((2, 3))

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_divisor = -layer.power * gradient * x * divisor ** (-layer.power - 1)
        of_difference = np.zeros_like(x)
        for (oy, ox), (ys, xs) in windows:
            of_difference[:, :, ys, xs] += 2 * weight * difference[:, :, ys, xs] * of_divisor[:, :, oy, ox, None, None]
        of_x = gradient * divisor**-layer.power + of_difference
        if tape.graph.net.contrast_gradient == "exact":
            for (oy, ox), (ys, xs) in windows:
                pixels = x[0, 0, ys, xs].size
                of_x[:, :, ys, xs] -= of_difference[:, :, oy, ox, None, None] / pixels
        return [of_x], {}

    return x * divisor**-layer.power, pull

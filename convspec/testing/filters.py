"""The layers whose filters slide over maps: `conv` and `local`."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from convspec.testing.net import (
    Keys,
    Net,
    any_stage,
    count_windows,
    draw_neuron,
    draw_rounding,
    extent,
    maps_of,
    own_values,
    seldom,
    several,
    write_stage,
)
from convspec.testing.weights import draw_sources, rates


def add_filters(net: Net, index: int, kind: str) -> None:
    """A conv layer, or a local one."""
    stage = any_stage(net, net.stages)
    reads = None
    if stage[0].is_map:
        partners = [s for s in net.stages if s != stage and s[0].is_map and s[0].dims[1:] == stage[0].dims[1:]]
        reads = several(net, stage, partners)
    if reads is None:
        (channels, height, width), keys = maps_of(net, stage[0])
        inputs, reads = [channels], own_values(stage)
    else:
        _, height, width = stage[0].dims
        inputs, keys = [value.dims[0] for value in reads[0]], {}
    windows, (height, width) = _draw_kernels(net, len(inputs), height, width)
    groups, maps = _draw_groups(net, inputs)
    lists = {**windows, "groups": _listed(groups), "filters": _listed([maps // g for g in groups])}
    keys = {"type": kind, **keys, **lists, **rates(net, inputs)}
    if kind == "conv" and "biases" not in keys and seldom(net):
        keys["sharedBiases"] = "0"
    if max(groups) > 1 and seldom(net):
        keys |= _draw_connections(net, inputs, groups)
    windows_of_weights = (height, width) if kind == "local" else ()
    seen = keys.get("filterChannels", "").split(",")
    alike = [
        (
            kind,
            maps,
            channels,
            count,
            windows["filterSize"].split(",")[i % (windows["filterSize"].count(",") + 1)],
            windows_of_weights,
            "randSparse" in keys and seen[i % len(seen)],
        )
        for i, (channels, count) in enumerate(zip(inputs, groups, strict=True))
    ]
    keys |= draw_sources(net, f"{kind}{index}", alike)
    write_stage(net, f"{kind}{index}", (maps, height, width), reads, {**keys, **draw_neuron(net)})


def _draw_kernels(net: Net, count: int, height: int, width: int) -> tuple[Keys, tuple[int, int]]:
    """filterSize, padding, stride and seldom modulesX for each of `count` inputs of one size, and the size that all of
    them give."""
    axes = [(height, *_draw_axis(net, height)), (width, *_draw_axis(net, width))]
    if not seldom(net):
        square = _draw_axis(net, min(height, width))
        axes = [(height, *square), (width, *square)]
    rounds_up, rounding = draw_rounding(net)
    more = [0, *(net.draw(st.integers(0, 1)) for _ in range(count - 1))]
    sizes, paddings, strides = (list(numbers) for numbers in list(zip(*axes, strict=True))[1:])
    keys = {
        "filterSize": _listed([extent(size + 2 * m for size in sizes) for m in more]),
        "padding": _listed([extent(padding + m for padding in paddings) for m in more]),
        "stride": extent(strides),
        **rounding,
    }
    counts = [
        count_windows(side + 2 * padding - size, stride, rounds_up=rounds_up) for side, size, padding, stride in axes
    ]
    if seldom(net):
        counts = [windows + net.draw(st.integers(0, 2)) for windows in counts]
        keys["modulesX"] = extent(counts)
    rows, columns = counts
    return keys, (rows, columns)


def _draw_axis(net: Net, side: int) -> tuple[int, int, int]:
    """A kernel that fits `side` pixels, its padding and its stride."""
    padding = net.draw(st.integers(0, 2))
    size = net.draw(st.integers(padding + 1, max(padding + 1, min(side + 2 * padding, 7))))
    return size, padding, net.draw(st.integers(1, 4))


def _draw_groups(net: Net, inputs: Sequence[int]) -> tuple[list[int], int]:
    """Groups for each input, and the maps that the layer gives."""
    most = net.limits.channels
    first = net.draw(st.sampled_from([g for g in range(1, min(inputs[0], most) + 1) if inputs[0] % g == 0]))
    groups = [first, *(net.draw(st.sampled_from([1, first] if c % first == 0 else [1])) for c in inputs[1:])]
    return groups, first * net.draw(st.integers(1, most // first))


def _draw_connections(net: Net, inputs: Sequence[int], groups: Sequence[int]) -> Keys:
    """Channels drawn at random for each input that has groups, as many times over as may be."""
    seen = []
    for channels, count in zip(inputs, groups, strict=True):
        fitting = [f for f in range(1, channels + 1) if channels % f == 0 and count * f % channels == 0]
        seen.append(net.draw(st.sampled_from(fitting)))
    return {"randSparse": _listed([int(count > 1) for count in groups]), "filterChannels": _listed(seen)}


def _listed(entries: Sequence[int | str]) -> str:
    """One number for all inputs where they agree."""
    return ",".join(map(str, entries if len(set(entries)) > 1 else entries[:1]))

"""The layers without weights that read maps."""

from __future__ import annotations

from hypothesis import strategies as st

from convspec.testing.net import (
    Net,
    Stage,
    any_stage,
    count_windows,
    draw_lone,
    draw_rounding,
    extent,
    maps_of,
    own_values,
    seldom,
    write_stage,
)


def add_pool(net: Net, index: int) -> None:
    stage = any_stage(net, net.stages)
    (channels, height, width), keys = maps_of(net, stage[0])
    draw = net.draw
    rounds_up, rounding = draw_rounding(net)
    axes = [_draw_window(net, side, rounds_up=rounds_up) for side in (height, width)]
    if not seldom(net):
        axes = [_draw_window(net, min(height, width), rounds_up=rounds_up)] * 2
    sizes, strides, starts = (list(numbers) for numbers in zip(*axes, strict=True))
    behind = [max(0, -start) for start in starts]
    if not any(behind) or not seldom(net):
        behind = [0, 0]
    keys |= {"type": "pool", "pool": draw(st.sampled_from(["max", "avg", "max", "avg", "maxabs"]))}
    if keys["pool"] == "avg" and seldom(net):
        keys["sum"] = "1"
    keys |= {"sizeX": extent(sizes), "stride": extent(strides), **rounding}
    if any(behind):
        keys["padding"] = extent(behind)
        starts = [-padding for padding in behind]
        axes = [(size, stride, start) for (size, stride, _), start in zip(axes, starts, strict=True)]
    elif any(starts) or draw(st.booleans()):
        keys["start"] = extent(starts)
    most = [(side - 1 - start) // stride + 1 for side, (_, stride, start) in zip((height, width), axes, strict=True)]
    rows, columns = (
        min(count, count_windows(side + after - start - size, stride, rounds_up=rounds_up))
        for count, side, after, (size, stride, start) in zip(most, (height, width), behind, axes, strict=True)
    )
    if draw(st.sampled_from([False, False, False, True])):
        rows, columns = (draw(st.integers(1, count)) for count in most)
        keys["outputsX"] = extent([rows, columns])
    write_stage(net, f"pool{index}", (channels, rows, columns), own_values(stage), keys, is_lone=draw_lone(net))


def _draw_window(net: Net, side: int, *, rounds_up: bool) -> tuple[int, int, int]:
    """A window on `side` pixels, its stride and where the first one starts."""
    size = net.draw(st.integers(1, min(side, 5)))
    stride = net.draw(st.integers(1, size))
    last = min(side - 1, side - size + stride - 1) if rounds_up else side - size
    return size, stride, net.draw(st.one_of(st.just(0), st.integers(1 - size, last)))


def add_channel_pool(net: Net, index: int) -> None:
    stage = any_stage(net, net.stages)
    (channels, height, width), keys = maps_of(net, stage[0])
    size = net.draw(st.integers(1, min(channels, 4)))
    stride, start = net.draw(st.integers(1, size)), net.draw(st.integers(1 - size, 0))
    outputs = max(-(-(channels - start - size) // stride), 0) + 1
    keys |= {"type": "cmpool", "size": str(size), "stride": str(stride), "start": str(start)}
    write_stage(net, f"cmpool{index}", (outputs, height, width), own_values(stage), keys)


def add_globalpool(net: Net, index: int) -> None:
    stage = any_stage(net, net.stages)
    (channels, _, _), keys = maps_of(net, stage[0])
    keys |= {"type": "globalpool", "pool": net.draw(st.sampled_from(["avg", "max"]))}
    write_stage(net, f"globalpool{index}", (channels, 1, 1), own_values(stage), keys, is_lone=draw_lone(net))


def normalizable(net: Net) -> list[Stage]:
    """Stages with the two maps that a window of cmrnorm needs."""
    return [stage for stage in net.stages if stage[0].is_map and stage[0].dims[0] > 1]


def add_norm(net: Net, index: int, kind: str) -> None:
    """Response normalisation, across maps or within each, with numbers so large that the window matters."""
    stage = any_stage(net, normalizable(net) if kind == "cmrnorm" else net.stages)
    dims, keys = maps_of(net, stage[0])
    size = st.integers(2, min(dims[0], 6)) if kind == "cmrnorm" else st.integers(1, min(5, max(dims[1:])))
    keys |= {"type": kind, "size": str(net.draw(size))}
    if kind == "cmrnorm" and net.draw(st.booleans()):
        keys["blocked"] = "1"
    for key, choices in {"scale": ["1", "5"], "pow": ["0.75", "0.5", "1"], "minDiv": ["1", "2"]}.items():
        keys[key] = net.draw(st.sampled_from(choices))
    write_stage(net, f"{kind}{index}", dims, own_values(stage), keys)


def blurrable(net: Net) -> list[Stage]:
    return [stage for stage in net.stages if stage[0].is_map and min(stage[0].dims[1:]) >= 3]


def add_image_layer(net: Net, index: int, kind: str) -> None:
    stage = any_stage(net, blurrable(net) if kind == "blur" else net.stages)
    (channels, height, width), keys = maps_of(net, stage[0])
    keys["type"] = kind
    if kind == "blur":
        sizes = [size for size in (3, 5, 7, 9) if size <= min(height, width)]
        keys |= {"filterSize": str(net.draw(st.sampled_from(sizes))), "stdev": net.draw(st.sampled_from(["1", "2.5"]))}
    elif kind == "nailbed":
        stride = net.draw(st.integers(1, 4))
        keys["stride"] = str(stride)
        height, width = -(-height // stride), -(-width // stride)
    write_stage(net, f"{kind}{index}", (channels, height, width), own_values(stage), keys)

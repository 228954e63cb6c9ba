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

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt, prod
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

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
# Those that real networks are made of.
_FREQUENT = ("conv", "fc", "pool")
_TOWER_NAMES = "abcdefgh"
_Keys = dict[str, str]


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

    Raises ValueError for a number or a name that is none of these.
    """
    unknown = sorted(set(layer_types) - set(LAYER_TYPES))
    if unknown:
        raise ValueError(f"layer types are {', '.join(LAYER_TYPES)}; not {', '.join(unknown)}")
    if set(costs) - set(COSTS):
        raise ValueError(f"costs are {', '.join(COSTS)}; not {', '.join(sorted(set(costs) - set(COSTS)))}")
    if not 1 <= towers <= len(_TOWER_NAMES):
        raise ValueError(f"towers can be 1 to {len(_TOWER_NAMES)}, not {towers}")
    if max_layers < 0 or max_side < 1 or max_channels < 1:
        raise ValueError(
            f"max_layers={max_layers}, max_side={max_side}, max_channels={max_channels}: a limit is too small"
        )
    limits = _Limits(
        max_layers, max_side, max_channels, tuple(layer_types), tuple(neurons), tuple(costs), towers, is_square
    )
    return _texts(limits)


@dataclass(frozen=True, slots=True)
class _Limits:
    layers: int
    side: int
    channels: int
    types: tuple[str, ...]
    neurons: tuple[str, ...]
    costs: tuple[str, ...]
    towers: int
    is_square: bool


@dataclass(frozen=True, slots=True)
class _Value:
    """A layer that can be read. dims: (channels, height, width) or (features,)."""

    name: str
    dims: tuple[int, ...]

    @property
    def is_map(self) -> bool:
        return len(self.dims) == 3


# What one layer gives in each tower; all have the same size.
_Stage = tuple[_Value, ...]


@dataclass(slots=True)
class _Net:
    """The spec so far. stages: all that can be read, in order. unread: what nothing reads yet, by name.
    passed: what a `pass` layer reads. matrices: weights that others may share, by all that they must have in common."""

    draw: DrawFn
    limits: _Limits
    rounds_up: bool = True
    classes: int = 2
    sections: list[str] = field(default_factory=list)
    stages: list[_Stage] = field(default_factory=list)
    unread: dict[str, _Value] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    matrices: dict[tuple[Any, ...], list[str]] = field(default_factory=dict)

    def write(self, name: str, keys: Mapping[str, str]) -> None:
        self.sections.append("\n".join([f"[{name}]", *(f"{key}={value}" for key, value in keys.items())]) + "\n")

    def add(self, name: str, dims: tuple[int, ...], reads: Sequence[_Value], keys: Mapping[str, str]) -> _Value:
        """Write a layer that reads `reads` and gives `dims`."""
        inputs = {"inputs": ",".join(value.name for value in reads)} if reads else {}
        self.write(name, {"type": keys["type"], **inputs, **keys})
        for value in reads:
            self.unread.pop(value.name, None)
        added = _Value(name, dims)
        self.unread[name] = added
        return added

    def windows(self, room: int, stride: int) -> int:
        """How many windows there are where the first one leaves `room` pixels; may be negative."""
        return (-(-room // stride) if self.rounds_up else room // stride) + 1


@st.composite
def _texts(draw: DrawFn, limits: _Limits) -> str:
    net = _Net(draw, limits)
    net.rounds_up = draw(st.sampled_from([True, True, False]))
    height, width = _draw_sides(draw, limits)
    channels = draw(st.integers(1, min(3, limits.channels)))
    classes = net.classes = draw(st.integers(2, 6))
    rounding = "ceil" if net.rounds_up else "floor"
    net.write("@net", {"input": f"data:{channels}x{height}x{width}", "classes": str(classes), "rounding": rounding})
    net.write(
        "@params",
        {"initW": "0.1", "epsW": "0.01", "epsB": "0.02", "momW": "0.9", "momB": "0.9", "wc": "0.0005"},
    )
    data = net.add("data", (channels, height, width), (), {"type": "data", "dataIdx": "0"})
    net.write("labels", {"type": "data", "dataIdx": "1"})
    net.stages.append((data,) * limits.towers)
    for index in range(1, draw(st.integers(0, limits.layers)) + 1):
        _add_stage(net, index)
    if limits.costs and draw(st.sampled_from([False, False, False, True])):
        _add_second_cost(net, classes)
    leaves = list(net.unread.values()) or [net.stages[0][0]]
    _add_classifier(net, draw(st.permutations(leaves)), classes, "", draw(st.sampled_from(["1", "0.5"])))
    return "\n".join(net.sections)


def _draw_sides(draw: DrawFn, limits: _Limits) -> tuple[int, int]:
    height = draw(st.integers(1, limits.side))
    return height, height if limits.is_square else draw(st.integers(1, limits.side))


def _add_classifier(net: _Net, leaves: Sequence[_Value], classes: int, suffix: str, coefficient: str) -> None:
    """Scores of the classes over `leaves`, softmax and cost."""
    gpu = {"gpu": "0"} if net.limits.towers > 1 else {}
    keys = {"type": "fc", "outputs": str(classes)}
    dims: tuple[int, ...] = (classes,)
    sides = set(leaves[0].dims[1:])
    if len(leaves) == 1 and len(sides) == 1 and "conv" in net.limits.types and net.draw(st.booleans()):
        # A kernel as large as the map gives a pixel a class.
        keys, dims = {"type": "conv", "filters": str(classes), "filterSize": str(*sides)}, (classes, 1, 1)
    scores = net.add(f"scores{suffix}", dims, leaves, {**keys, **gpu})
    probabilities = net.add(f"probs{suffix}", (classes,), [scores], {"type": "softmax"})
    top_k = net.draw(st.integers(1, classes))
    keys = {"type": "cost.logreg", "inputs": f"labels,{probabilities.name}", "coeff": coefficient, "topk": str(top_k)}
    net.write(f"cost{suffix}", {**keys, **gpu})
    for value in (scores, probabilities):
        net.unread.pop(value.name, None)


def _add_second_cost(net: _Net, classes: int) -> None:
    """Any cost, over one of the values in between."""
    draw = net.draw
    kind, coefficient = draw(st.sampled_from(net.limits.costs)), draw(st.sampled_from(["0.3", "0"]))
    value = draw(st.sampled_from(net.stages))[0]
    if kind == "cost.logreg":
        _add_classifier(net, [value], classes, "2", coefficient)
        return
    inputs, keys = _judged(net, kind, value, classes)
    gpu = {"gpu": "0"} if net.limits.towers > 1 else {}
    net.write("cost2", {"type": kind, "inputs": ",".join(inputs), "coeff": coefficient, **keys, **gpu})


def _judged(net: _Net, kind: str, value: _Value, classes: int) -> tuple[list[str], _Keys]:
    """What a cost reads, and the keys that only it has; its targets and all that judges are written first."""
    match kind:
        case "cost.sum2":
            return [value.name], {}
        case "cost.tica":
            _, keys = _maps_of(net, value)
            return [value.name], {**keys, "sizeX": str(net.draw(st.integers(1, 4)))}
        case "cost.gsum2":
            return [_scores(net, "scores2", value, 1), value.name], {}
        case "cost.msm":
            size = net.draw(st.integers(1, classes - 1))
            return ["labels", _scores(net, "scores2", value, classes)], {"setSize": str(size)}
        case _:
            net.write("tags", {"type": "data", "dataIdx": "2"})
            return _compared(net, kind, value, classes)


def _compared(net: _Net, kind: str, value: _Value, classes: int) -> tuple[list[str], _Keys]:
    """The same for costs that compare outputs with `tags`."""
    if kind == "cost.crossent":
        scores = _scores(net, "scores2", value, classes)
        net.write("probs2", {"type": "softmax", "inputs": scores})
        return ["tags", "probs2"], {}
    # Outputs that do not come near 0 or 1, where logarithms lose their digits.
    hidden = _Value(_scores(net, "scores2_hidden", value, 3, neuron="tanh[1,1]"), (3,))
    outputs = _scores(net, "scores2", hidden, classes, neuron="logistic")
    weight = {"posWeight": net.draw(st.sampled_from(["1", "2.5"]))} if kind in ("cost.bce", "cost.dce") else {}
    return ["tags", outputs], weight


def _scores(net: _Net, name: str, value: _Value, outputs: int, **keys: str) -> str:
    """An fc layer that no other layer than the second cost's reads."""
    gpu = {"gpu": "0"} if net.limits.towers > 1 else {}
    net.add(name, (outputs,), [value], {"type": "fc", "outputs": str(outputs), **keys, **gpu})
    net.unread.pop(name)
    return name


def _add_stage(net: _Net, index: int) -> None:  # noqa: C901 - a case a type
    """One layer in each tower, or in the first tower alone."""
    kinds = [kind for kind in net.limits.types if _has_place(net, kind)]
    kinds += 2 * [kind for kind in kinds if kind in _FREQUENT]
    if not kinds:
        return
    kind = net.draw(st.sampled_from(kinds))
    match kind:
        case "conv" | "local":
            _add_filters(net, index, kind)
        case "fc":
            _add_fc(net, index)
        case "sfc":
            _add_sfc(net, index)
        case "treefc":
            _add_treefc(net, index)
        case "pool":
            _add_pool(net, index)
        case "cmrnorm" | "rnorm" | "cnorm":
            _add_norm(net, index, kind)
        case "batchnorm":
            _add_batchnorm(net, index)
        case "cmpool":
            _add_channel_pool(net, index)
        case "globalpool":
            _add_globalpool(net, index)
        case "concat" | "pass":
            _add_concat(net, index, kind)
        case "eltsum" | "eltmax":
            _add_combination(net, index, kind)
        case "sum":
            _add_sum(net, index)
        case "nailbed" | "blur" | "href":
            _add_image_layer(net, index, kind)
        case _:
            _add_elementwise(net, index, kind)


def _has_place(net: _Net, kind: str) -> bool:
    """Whether a layer of this type can stand somewhere."""
    match kind:
        case "cmrnorm":
            return bool(_normalizable(net))
        case "pass":
            return bool(_unpassed(net))
        case "blur":
            return bool(_blurrable(net))
        case _:
            return True


def _any_stage(net: _Net, stages: Sequence[_Stage]) -> _Stage:
    """One of `stages`, most often the last."""
    return net.draw(st.sampled_from([*[stages[-1]] * len(stages), *stages[-2::-1]]))


def _write_stage(
    net: _Net,
    name: str,
    dims: tuple[int, ...],
    reads: Sequence[Sequence[_Value]],
    keys: _Keys,
    *,
    is_lone: bool = False,
) -> None:
    """The layer in every tower, each with its entry of `reads`; keys of a twin may differ where no size depends on it.

    is_lone: only the first tower has it, and nothing but the classifier will read it.
    """
    towers = net.limits.towers
    if towers == 1:
        net.stages.append((net.add(name, dims, reads[0], keys),))
        return
    stage = []
    for tower in range(1 if is_lone else towers):
        own = _differing(net, keys) if tower else keys
        if _needs_gpu(reads[tower]):
            own = {**own, "gpu": str(tower)}
        stage.append(net.add(name + _TOWER_NAMES[tower], dims, reads[tower], own))
    if not is_lone:
        net.stages.append(tuple(stage))


def _needs_gpu(reads: Sequence[_Value]) -> bool:
    """A layer over one value of its own tower inherits the GPU; data have none, and others may stand first."""
    return len(reads) > 1 or reads[0].name == "data"


def _differing(net: _Net, keys: _Keys) -> _Keys:
    """The keys of a twin: seldom with other numbers, so that it is none."""
    if not net.draw(st.sampled_from([False] * 7 + [True])):
        return keys
    changed = dict(keys)
    if keys["type"] in ("conv", "local", "fc", "sfc", "treefc", "batchnorm"):
        changed["epsB"] = "0.03"
    elif "neuron" in keys:
        changed["neuron"] = net.draw(st.sampled_from(net.limits.neurons or (keys["neuron"],)))
    elif "minDiv" in keys:
        changed["minDiv"] = "3"
    return changed


def _neuron(net: _Net) -> _Keys:
    neuron = net.draw(st.sampled_from(["", *net.limits.neurons]))
    return {"neuron": neuron} if neuron else {}


def _is_lone(net: _Net) -> bool:
    return net.limits.towers > 1 and net.draw(st.sampled_from([False] * 7 + [True]))


def _own(stage: _Stage) -> list[list[_Value]]:
    """Each tower reads itself."""
    return [[value] for value in stage]


def _several(net: _Net, stage: _Stage, partners: Sequence[_Stage]) -> list[list[_Value]] | None:
    """What each tower reads where it reads several values: all towers in an order of its own, or a second stage; None
    for one value."""
    ways = ["own"]
    if net.limits.towers > 1 and stage[0].name != "data":
        ways.append("crossed")
    if partners:
        ways.append("joined")
    match net.draw(st.sampled_from(ways)):
        case "crossed":
            return [list(net.draw(st.permutations(stage))) for _ in stage]
        case "joined":
            partner = _any_stage(net, partners)
            return [list(pair) for pair in zip(stage, partner, strict=True)]
        case _:
            return None


# Layers that read maps.


def _maps_of(net: _Net, value: _Value) -> tuple[tuple[int, int, int], _Keys]:
    """A value as maps and the keys that say so: maps as they are, a vector as squares, large ones first."""
    if value.is_map:
        channels, height, width = value.dims
        keys = {"channels": str(channels)} if net.draw(st.booleans()) else {}
        return (channels, height, width), keys
    features = value.dims[0]
    choices = [c for c in range(1, features + 1) if features % c == 0 and isqrt(features // c) ** 2 == features // c]
    channels = net.draw(st.sampled_from(choices))
    side = isqrt(features // channels)
    return (channels, side, side), {"channels": str(channels)}


def _add_filters(net: _Net, index: int, kind: str) -> None:
    """A conv layer, or a local one."""
    stage = _any_stage(net, net.stages)
    reads = None
    if stage[0].is_map:
        partners = [s for s in net.stages if s != stage and s[0].is_map and s[0].dims[1:] == stage[0].dims[1:]]
        reads = _several(net, stage, partners)
    if reads is None:
        (channels, height, width), keys = _maps_of(net, stage[0])
        inputs, reads = [channels], _own(stage)
    else:
        _, height, width = stage[0].dims
        inputs, keys = [value.dims[0] for value in reads[0]], {}
    windows, (height, width) = _draw_kernels(net, len(inputs), height, width)
    groups, maps = _draw_groups(net, inputs)
    lists = {**windows, "groups": _listed(groups), "filters": _listed([maps // g for g in groups])}
    keys = {"type": kind, **keys, **lists, **_rates(net, inputs)}
    if kind == "conv" and _seldom(net):
        keys["sharedBiases"] = "0"
    if max(groups) > 1 and _seldom(net):
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
    keys |= _draw_sources(net, f"{kind}{index}", alike)
    _write_stage(net, f"{kind}{index}", (maps, height, width), reads, {**keys, **_neuron(net)})


def _draw_kernels(net: _Net, count: int, height: int, width: int) -> tuple[_Keys, tuple[int, int]]:
    """filterSize, padding, stride and seldom modulesX for each of `count` inputs of one size, and the size that all of
    them give."""
    axes = [(height, *_draw_axis(net, height)), (width, *_draw_axis(net, width))]
    if not _seldom(net):
        square = _draw_axis(net, min(height, width))
        axes = [(height, *square), (width, *square)]
    more = [0, *(net.draw(st.integers(0, 1)) for _ in range(count - 1))]
    sizes, paddings, strides = (list(numbers) for numbers in list(zip(*axes, strict=True))[1:])
    keys = {
        "filterSize": _listed([_extent(size + 2 * m for size in sizes) for m in more]),
        "padding": _listed([_extent(padding + m for padding in paddings) for m in more]),
        "stride": _extent(strides),
    }
    counts = [net.windows(side + 2 * padding - size, stride) for side, size, padding, stride in axes]
    if _seldom(net):
        counts = [windows + net.draw(st.integers(0, 2)) for windows in counts]
        keys["modulesX"] = _extent(counts)
    rows, columns = counts
    return keys, (rows, columns)


def _draw_axis(net: _Net, side: int) -> tuple[int, int, int]:
    """A kernel that fits `side` pixels, its padding and its stride."""
    padding = net.draw(st.integers(0, 2))
    size = net.draw(st.integers(padding + 1, max(padding + 1, min(side + 2 * padding, 7))))
    return size, padding, net.draw(st.integers(1, 4))


def _seldom(net: _Net) -> bool:
    return net.draw(st.sampled_from([False] * 5 + [True]))


def _extent(numbers: Iterable[int]) -> str:
    """`3`, or `3x5` for rows and columns that differ."""
    rows, columns = numbers
    return str(rows) if rows == columns else f"{rows}x{columns}"


def _draw_groups(net: _Net, inputs: Sequence[int]) -> tuple[list[int], int]:
    """Groups for each input, and the maps that the layer gives."""
    most = net.limits.channels
    first = net.draw(st.sampled_from([g for g in range(1, min(inputs[0], most) + 1) if inputs[0] % g == 0]))
    groups = [first, *(net.draw(st.sampled_from([1, first] if c % first == 0 else [1])) for c in inputs[1:])]
    return groups, first * net.draw(st.integers(1, most // first))


def _draw_sources(net: _Net, name: str, alike: Sequence[tuple[Any, ...]]) -> _Keys:
    """Weights of earlier layers, or of earlier inputs, for some of the inputs of a layer; each with what its weights must
    have in common with theirs. Towers have no weights in common."""
    sources = []
    for i, signature in enumerate(alike if net.limits.towers == 1 else ()):
        others = net.matrices.setdefault(signature, [])
        sources.append(net.draw(st.sampled_from(["", *others])))
        others.append(f"{name}[{i}]")
    return {"weightSource": ",".join(sources)} if any(sources) else {}


def _draw_connections(net: _Net, inputs: Sequence[int], groups: Sequence[int]) -> _Keys:
    """Channels drawn at random for each input that has groups, as many times over as may be."""
    seen = []
    for channels, count in zip(inputs, groups, strict=True):
        fitting = [f for f in range(1, channels + 1) if channels % f == 0 and count * f % channels == 0]
        seen.append(net.draw(st.sampled_from(fitting)))
    return {"randSparse": _listed([int(count > 1) for count in groups]), "filterChannels": _listed(seen)}


def _rates(net: _Net, inputs: Sequence[Any]) -> _Keys:
    """Learning rates, which may differ where there are several inputs, and now and then what goes beyond them."""
    keys = net.draw(st.sampled_from([{}, {}, {}, *_LEARNING]))
    if len(inputs) < 2 or not net.draw(st.booleans()):
        return keys
    return {"epsW": ",".join(f"0.0{i + 1}" for i in range(len(inputs))), **keys}


_LEARNING: tuple[_Keys, ...] = (
    {"schedW": "dexp[tgtFactor=10,noiseStdev=0.2,numSteps=2]", "schedB": "linear[tgtFactor=2,noiseStdev=0]"},
    {"wball": "0.3", "updatePeriod": "2"},
    {"superEps": "0.1"},
)


def _listed(entries: Sequence[int | str]) -> str:
    """One number for all inputs where they agree."""
    return ",".join(map(str, entries if len(set(entries)) > 1 else entries[:1]))


def _add_pool(net: _Net, index: int) -> None:
    stage = _any_stage(net, net.stages)
    (channels, height, width), keys = _maps_of(net, stage[0])
    draw = net.draw
    axes = [_draw_window(net, height), _draw_window(net, width)]
    if not _seldom(net):
        axes = [_draw_window(net, min(height, width))] * 2
    sizes, strides, starts = (list(numbers) for numbers in zip(*axes, strict=True))
    keys |= {"type": "pool", "pool": draw(st.sampled_from(["max", "avg", "max", "avg", "maxabs"]))}
    if keys["pool"] == "avg" and _seldom(net):
        keys["sum"] = "1"
    keys |= {"sizeX": _extent(sizes), "stride": _extent(strides)}
    if any(starts) or draw(st.booleans()):
        keys["start"] = _extent(starts)
    sides = list(zip((height, width), axes, strict=True))
    rows, columns = (net.windows(side - start - size, stride) for side, (size, stride, start) in sides)
    if draw(st.sampled_from([False, False, False, True])):
        rows, columns = (draw(st.integers(1, (side - 1 - start) // stride + 1)) for side, (_, stride, start) in sides)
        keys["outputsX"] = _extent([rows, columns])
    _write_stage(net, f"pool{index}", (channels, rows, columns), _own(stage), keys, is_lone=_is_lone(net))


def _draw_window(net: _Net, side: int) -> tuple[int, int, int]:
    """A window on `side` pixels, its stride and where the first one starts."""
    size = net.draw(st.integers(1, min(side, 5)))
    stride = net.draw(st.integers(1, size))
    last = min(side - 1, side - size + stride - 1) if net.rounds_up else side - size
    return size, stride, net.draw(st.one_of(st.just(0), st.integers(1 - size, last)))


def _normalizable(net: _Net) -> list[_Stage]:
    """Stages with the two maps that a window of cmrnorm needs."""
    return [stage for stage in net.stages if stage[0].is_map and stage[0].dims[0] > 1]


def _add_norm(net: _Net, index: int, kind: str) -> None:
    """Response normalisation, across maps or within each, with numbers so large that the window matters."""
    stage = _any_stage(net, _normalizable(net) if kind == "cmrnorm" else net.stages)
    dims, keys = _maps_of(net, stage[0])
    size = st.integers(2, min(dims[0], 6)) if kind == "cmrnorm" else st.integers(1, min(5, max(dims[1:])))
    keys |= {"type": kind, "size": str(net.draw(size))}
    if kind == "cmrnorm" and net.draw(st.booleans()):
        keys["blocked"] = "1"
    for key, choices in {"scale": ["1", "5"], "pow": ["0.75", "0.5", "1"], "minDiv": ["1", "2"]}.items():
        keys[key] = net.draw(st.sampled_from(choices))
    _write_stage(net, f"{kind}{index}", dims, _own(stage), keys)


def _blurrable(net: _Net) -> list[_Stage]:
    return [stage for stage in net.stages if stage[0].is_map and min(stage[0].dims[1:]) >= 3]


def _add_image_layer(net: _Net, index: int, kind: str) -> None:
    stage = _any_stage(net, _blurrable(net) if kind == "blur" else net.stages)
    (channels, height, width), keys = _maps_of(net, stage[0])
    keys["type"] = kind
    if kind == "blur":
        sizes = [size for size in (3, 5, 7, 9) if size <= min(height, width)]
        keys |= {"filterSize": str(net.draw(st.sampled_from(sizes))), "stdev": net.draw(st.sampled_from(["1", "2.5"]))}
    elif kind == "nailbed":
        stride = net.draw(st.integers(1, 4))
        keys["stride"] = str(stride)
        height, width = -(-height // stride), -(-width // stride)
    _write_stage(net, f"{kind}{index}", (channels, height, width), _own(stage), keys)


def _add_channel_pool(net: _Net, index: int) -> None:
    stage = _any_stage(net, net.stages)
    (channels, height, width), keys = _maps_of(net, stage[0])
    size = net.draw(st.integers(1, min(channels, 4)))
    stride, start = net.draw(st.integers(1, size)), net.draw(st.integers(1 - size, 0))
    outputs = max(-(-(channels - start - size) // stride), 0) + 1
    keys |= {"type": "cmpool", "size": str(size), "stride": str(stride), "start": str(start)}
    _write_stage(net, f"cmpool{index}", (outputs, height, width), _own(stage), keys)


def _add_globalpool(net: _Net, index: int) -> None:
    stage = _any_stage(net, net.stages)
    (channels, _, _), keys = _maps_of(net, stage[0])
    keys |= {"type": "globalpool", "pool": net.draw(st.sampled_from(["avg", "max"]))}
    _write_stage(net, f"globalpool{index}", (channels, 1, 1), _own(stage), keys, is_lone=_is_lone(net))


# Layers that read anything.


def _add_batchnorm(net: _Net, index: int) -> None:
    """With numbers so large that they matter; a vector is read as features, or as maps."""
    stage = _any_stage(net, net.stages)
    dims: tuple[int, ...] = stage[0].dims
    keys: _Keys = {}
    if stage[0].is_map or net.draw(st.booleans()):
        dims, keys = _maps_of(net, stage[0])
    keys |= {"type": "batchnorm", "eps": net.draw(st.sampled_from(["0.1", "1e-5"]))}
    _write_stage(net, f"batchnorm{index}", dims, _own(stage), {**keys, **_neuron(net)})


def _add_fc(net: _Net, index: int) -> None:
    stage = _any_stage(net, net.stages)
    reads = _several(net, stage, [s for s in net.stages if s != stage]) or _own(stage)
    outputs = net.draw(st.integers(1, 2 * net.limits.channels))
    sources = _draw_sources(net, f"fc{index}", [("fc", outputs, prod(value.dims)) for value in reads[0]])
    keys = {"type": "fc", "outputs": str(outputs), **sources, **_rates(net, reads[0]), **_neuron(net)}
    _write_stage(net, f"fc{index}", (outputs,), reads, keys)


def _add_treefc(net: _Net, index: int) -> None:
    """The classes are put together, a few at a time, until one node is above all."""
    stage = _any_stage(net, net.stages)
    children: list[list[int]] = [[] for _ in range(net.classes)]
    tops = list(range(net.classes))
    while len(tops) > 1:
        below = net.draw(st.permutations(tops))[: net.draw(st.integers(2, len(tops)))]
        tops = [node for node in tops if node not in below] + [len(children)]
        children.append(below)
    tree = json.dumps({"children": children, "root": tops[0]})
    keys = {"type": "treefc", "tree": tree, **_neuron(net)}
    _write_stage(net, f"treefc{index}", (net.classes,), _own(stage), keys)


def _add_sfc(net: _Net, index: int) -> None:
    stage = _any_stage(net, net.stages)
    reads = _several(net, stage, [s for s in net.stages if s != stage]) or _own(stage)
    widths = [prod(value.dims) for value in reads[0]]
    parts = net.draw(st.sampled_from([p for p in range(1, 5) if all(width % p == 0 for width in widths)]))
    outputs = net.draw(st.integers(1, net.limits.channels))
    alike = [("sfc", outputs, parts, width) for width in widths]
    sources = _draw_sources(net, f"sfc{index}", alike)
    keys = {
        **sources,
        "type": "sfc",
        "outputs": str(outputs),
        "parts": str(parts),
        **_rates(net, reads[0]),
        **_neuron(net),
    }
    _write_stage(net, f"sfc{index}", (outputs * parts,), reads, keys)


def _unpassed(net: _Net) -> list[_Stage]:
    """Stages that no `pass` layer reads yet: one alone may."""
    return [stage for stage in net.stages if stage[0].name not in net.passed]


def _add_concat(net: _Net, index: int, kind: str) -> None:
    stages = _unpassed(net) if kind == "pass" else net.stages
    stage = _any_stage(net, stages)
    reads = _several(net, stage, [s for s in stages if s != stage]) or _own(stage)
    if kind == "pass":
        net.passed.update(value.name for value in reads[0])
    values = reads[0]
    if all(value.is_map for value in values) and len({value.dims[1:] for value in values}) == 1:
        dims = (sum(value.dims[0] for value in values), *values[0].dims[1:])
    else:
        dims = (sum(prod(value.dims) for value in values),)
    _write_stage(net, f"{kind}{index}", dims, reads, {"type": kind})


def _add_combination(net: _Net, index: int, kind: str) -> None:
    """Values of as many numbers, one by one; in different shapes they are vectors."""
    stage = _any_stage(net, net.stages)
    partners = [s for s in net.stages if s != stage and prod(s[0].dims) == prod(stage[0].dims)]
    reads = _several(net, stage, partners) or [[value, value] for value in stage]
    values = reads[0]
    dims = values[0].dims if len({value.dims for value in values}) == 1 else (prod(values[0].dims),)
    keys: _Keys = {"type": kind, **_neuron(net)}
    if len(set(values)) < len(values):
        # What is read twice would give a warning.
        kind, reads, keys = "eltsum", _own(stage), {"type": "eltsum", **_neuron(net)}
        dims = stage[0].dims
    if kind == "eltsum" and net.draw(st.booleans()):
        keys["coeffs"] = ",".join(net.draw(st.sampled_from(["1", "-1", "0.5", "2"])) for _ in reads[0])
    _write_stage(net, f"{kind}{index}", dims, reads, keys)


def _add_sum(net: _Net, index: int) -> None:
    stage = _any_stage(net, net.stages)
    features = prod(stage[0].dims)
    stride = net.draw(st.sampled_from([n for n in range(1, min(features, 16) + 1) if features % n == 0]))
    _write_stage(net, f"sum{index}", (features // stride,), _own(stage), {"type": "sum", "stride": str(stride)})


def _add_elementwise(net: _Net, index: int, kind: str) -> None:
    stage = _any_stage(net, net.stages)
    dims, keys = stage[0].dims, {"type": kind}
    match kind:
        case "neuron":
            keys["neuron"] = net.draw(st.sampled_from(net.limits.neurons or ("relu",)))
        case "softmax":
            dims = (prod(dims),)
        case _:
            keys["keep"] = net.draw(st.sampled_from(["0.5", "0.8", "1"]))
            keys["enable"] = net.draw(st.sampled_from(["1", "0"]))
    _write_stage(net, f"{kind}{index}", dims, _own(stage), keys, is_lone=_is_lone(net))

"""A spec without one of the paper's choices, as edits: keys by section, which make a variant of it or overrides.

Each function takes a checked network without errors, and gives the edits, or a sentence on why the network has no such
choice. Whether the variant is a network is for `check` to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convspec.checker import Checked, check
from convspec.layers.base import Layer
from convspec.layers.conv import Conv
from convspec.layers.data import Data
from convspec.layers.elementwise import DropoutLayer
from convspec.layers.fc import FullyConnected
from convspec.layers.pool import Pool
from convspec.syntax.values import Extent

Edits = Mapping[str, Mapping[str, str]]
"""Keys and values by section, as a file that extends the spec has them."""

_RESPONSE_NORMS = ("cmrnorm", "rnorm")
_ITEM = re.compile(r"(?:[^,\[\]]|\[[^\]]*\])+")


def as_overrides(edits: Edits) -> tuple[str, ...]:
    """The same for `check`, as `--set` takes it."""
    return tuple(f"{section}.{key}={value}" for section, keys in edits.items() for key, value in keys.items())


def as_text(edits: Edits, base: str, remark: str) -> str:
    """The same as a spec that extends the file `base`. remark: a comment at its head, on as many lines as it has."""
    blocks = ["\n".join(f"# {line}" for line in remark.splitlines()), f"[@net]\nextends={base}"]
    settings = dict(edits)
    blocks[1] += "".join(f"\n{key}={value}" for key, value in settings.pop("@net", {}).items())
    blocks += [
        "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in keys.items())]) for name, keys in settings.items()
    ]
    return "\n\n".join(blocks) + "\n"


def without_response_norm(checked: Checked) -> Edits | str:
    """Section 3.3: every `cmrnorm` and `rnorm` is taken out."""
    return _without(_of_types(checked, _RESPONSE_NORMS)) or "no response normalisation in this spec"


def without_overlap(checked: Checked) -> Edits | str:
    """Section 3.4: windows of pooling as large as they are apart. Where that alone changes sizes, they are kept by
    `rounding=floor` or, if that does not do it, by `outputsX`: "which produces output of equivalent dimensions"."""
    pools = [
        layer
        for layer in checked.graph.layers.values()
        if isinstance(layer, Pool)
        and (layer.size.height > layer.stride.height or layer.size.width > layer.stride.width)
    ]
    if not pools:
        return "no pooling windows that overlap in this spec"
    edits = {pool.name: {"sizeX": str(pool.stride), **_moved(pool)} for pool in pools}
    as_many = {pool.name: {**edits[pool.name], "outputsX": _side(checked, pool.name)} for pool in pools}
    ways: tuple[Edits, ...] = (edits, {"@net": {"rounding": "floor"}, **edits}, as_many)
    return next((way for way in ways if _keeps_sizes(checked, way)), edits)


def _moved(pool: Pool) -> dict[str, str]:
    """What lets the first window begin with the map, where one as large as the stride would lie before it."""
    if all(first > -stride for first, stride in zip(pool.first, pool.stride, strict=True)):
        return {}
    return {"padding" if pool.is_given("padding") else "start": "0"}


def _side(checked: Checked, name: str) -> str:
    shape = checked.shapes.of(name)
    return str(Extent(shape.height, shape.width))


def without_dropout(checked: Checked) -> Edits | str:
    """Section 4.2: every layer that drops is taken out, and `dropout=` of others is 0."""
    edits: dict[str, dict[str, str]] = {}
    for layer in checked.graph.layers.values():
        if isinstance(layer, DropoutLayer):
            edits[layer.name] = {"remove": "1"}
        elif getattr(layer, "dropout", 0):
            edits[layer.name] = {"dropout": "0"}
    return edits or "no dropout in this spec"


def without_colour(checked: Checked) -> Edits | str:
    """Section 4.1, the second form: no shifts along the principal components of the colours."""
    if not checked.graph.data.color_noise:
        return "no colour noise in this spec: colorNoise= under [@data] is 0"
    return {"@data": {"colorNoise": "0"}}


def without_crops(checked: Checked) -> Edits | str:
    """Section 4.1, the first form: the middle of each picture, never mirrored."""
    data = checked.graph.data
    edits = {**({"mirror": "0"} if data.mirror else {}), **({"crop": "center"} if data.crop != "center" else {})}
    return {"@data": edits} if edits else "neither mirrors nor random crops in this spec"


def conv_stages(checked: Checked) -> list[list[Conv]]:
    """The convolutions, the first of them first: those with as many others below them stand side by side."""
    below: dict[str, int] = {}
    stages: list[list[Conv]] = []
    for layer in checked.graph.order:
        below[layer.name] = max((below[name] for name in layer.input_names), default=0)
        if isinstance(layer, Conv):
            depth = below[layer.name]
            below[layer.name] += 1
            stages += [[]] if depth == len(stages) else []
            stages[depth].append(layer)
    return stages


def without_conv(checked: Checked, stage: int) -> Edits | str:
    """Section 7: the convolutions of a stage, counted from 0, are taken out, and response normalisation right behind them.

    Of a first stage with a stride, pooling behind it goes as well, and the next stage takes windows over the data that see
    what theirs saw, as far apart: so the sizes above stay what they were.
    """
    stages = conv_stages(checked)
    gone = {layer.name for layer in stages[stage]}
    norms = [
        layer.name
        for layer in checked.graph.layers.values()
        if layer.type in _RESPONSE_NORMS and set(layer.input_names) <= gone
    ]
    edits: dict[str, dict[str, str]] = {name: {"remove": "1"} for name in (*gone, *norms)}
    on_data = all(isinstance(checked.graph.layers[name], Data) for each in stages[stage] for name in each.input_names)
    has_stride = any(extent != Extent(1, 1) for each in stages[stage] for extent in each.stride)
    if on_data and has_stride and stage + 1 < len(stages):
        for reader in stages[stage + 1]:
            window = _Window.of_chain(checked, reader, gone)
            if window is None:
                continue
            edits |= {name: {"remove": "1"} for name in window.layers}
            edits[reader.name] = window.keys
    return {name: edits[name] for name in checked.graph.layers if name in edits}


@dataclass(frozen=True, slots=True)
class _Window:
    """What one position of a layer sees of the data through a chain of windows. layers: the chain, without convolutions."""

    layers: tuple[str, ...]
    keys: dict[str, str]

    @classmethod
    def of_chain(cls, checked: Checked, reader: Conv, convs: set[str]) -> _Window | None:
        """The chain from a removed convolution up to `reader`; None where there is none, or one that forks."""
        chain: list[Layer] = []
        layer: Layer = reader
        while layer.name not in convs:
            if len(layer.input_names) != 1 or isinstance(layer, Data):
                return None
            layer = checked.graph.layers[layer.input_names[0]]
            chain.insert(0, layer)
        sides = [_see_through(chain, axis) for axis in (0, 1)]
        size, stride, padding = (Extent(*each) for each in zip(*sides, strict=True))
        keys = {"filterSize": str(size), "stride": str(stride), "padding": str(padding)}
        return cls(tuple(layer.name for layer in chain[1:]), keys)


def _see_through(chain: Sequence[Layer], axis: int) -> tuple[int, int, int]:
    """Side, distance and margin of the windows on the data that a chain of windows amounts to, along rows or columns."""
    side, apart, margin = 1, 1, 0
    for layer in chain:
        match layer:
            case Conv():
                size, stride, before = layer.filter_size[0][axis], layer.stride[0][axis], layer.padding[0][axis]
            case Pool():
                size, stride, before = layer.size[axis], layer.stride[axis], -layer.first[axis]
            case _:
                continue
        side, apart, margin = side + (size - 1) * apart, apart * stride, margin + before * apart
    return side, apart, margin


def on_one_gpu(checked: Checked) -> Edits | str:
    """Section 3.2 and its footnote 2: one tower, which keeps its kernels, half of all, in all convolutions but the last; that
    and the fully-connected layers have as many as the towers had together."""
    placement = checked.placement
    gpus = sorted({gpu for each in placement.values() for gpu in each})
    if len(gpus) < 2:
        return "no layers on a second GPU in this spec"
    gone = [name for name, each in placement.items() if gpus[0] not in each]
    if not gone:
        return "no towers in this spec: each layer is on the first GPU"
    twins = _twins(checked, gone)
    if isinstance(twins, str):
        return twins
    edits: dict[str, dict[str, str]] = {name: {"remove": "1"} for name in gone}
    last = conv_stages(checked)[-1:]
    wide = {layer.name for stage in last for layer in stage}
    for layer in checked.graph.layers.values():
        if layer.name in gone:
            continue
        keys = _on_tower(checked, layer, gone, gpus)
        if keys is None:
            return f"no towers that can be parted in this spec: {layer.name} reads other GPUs alone"
        count = 1 + twins.count(layer.name)
        if count > 1 and (layer.name in wide or isinstance(layer, FullyConnected)):
            key = "filters" if isinstance(layer, Conv) else "outputs"
            keys[key] = str(count * int(_written(checked, layer.name, key)))
        if keys:
            edits[layer.name] = keys
    return {name: edits[name] for name in checked.graph.layers if name in edits}


def _twins(checked: Checked, gone: Sequence[str]) -> list[str] | str:
    """For each layer that goes, one that stays and is like it, another one for each of a GPU; or why there is none."""
    found: list[str] = []
    taken: set[tuple[int, str]] = set()
    for name in gone:
        gpu = checked.placement[name][0]
        free = [other for other in checked.placement if other not in gone and (gpu, other) not in taken]
        twin = next((other for other in free if _is_twin(checked, name, other)), None)
        if twin is None:
            return f"no towers that are alike in this spec: {name} has no twin on the first GPU"
        taken.add((gpu, twin))
        found.append(twin)
    return found


def _is_twin(checked: Checked, one: str, other: str) -> bool:
    keys = [
        {
            key: entry.value
            for key, entry in checked.sections.joined[name].entries.items()
            if key not in ("inputs", "gpu")
        }
        for name in (one, other)
    ]
    return keys[0] == keys[1] and checked.shapes.of(one) == checked.shapes.of(other)


def _on_tower(checked: Checked, layer: Layer, gone: Sequence[str], gpus: Sequence[int]) -> dict[str, str] | None:
    """The keys by which a layer that stays reads what stays; None where that is nothing."""
    keys: dict[str, str] = {}
    kept = [place for place, name in enumerate(layer.input_names) if name not in gone]
    if len(kept) < len(layer.input_names):
        if not kept:
            return None
        keys["inputs"] = ",".join(layer.input_names[place] for place in kept)
        for key in layer.keys.values():
            entries = _ITEM.findall(_written(checked, layer.name, key.name)) if key.per_input else []
            if len(entries) == len(layer.input_names):
                keys[key.spelling] = ",".join(entries[place].strip() for place in kept)
    if len(checked.placement[layer.name]) > 1 and layer.input_names:
        keys["gpu"] = str(gpus[0])
    return keys


def _written(checked: Checked, name: str, key: str) -> str:
    """What a section says of a key; empty where it says nothing."""
    entry = checked.sections.joined[name].entries.get(key.lower())
    return "" if entry is None else entry.value


def _of_types(checked: Checked, types: Sequence[str]) -> list[str]:
    return [layer.name for layer in checked.graph.layers.values() if layer.type in types]


def _without(names: Sequence[str]) -> Edits:
    return {name: {"remove": "1"} for name in names}


def _keeps_sizes(checked: Checked, edits: Edits) -> bool:
    """Whether all layers have the sizes that they had."""
    changed = check(checked.resolved_text, overrides=as_overrides(edits))
    names = checked.graph.layers
    return changed.ok and all(changed.shapes.of(name) == checked.shapes.of(name) for name in names)

"""One layer of an old checkpoint, back to the section that it was read from.

The parsers of the original programs made numbers of texts, turned the sign of padding, counted filters over all groups,
divided scales by windows, and expanded lists to all inputs. Here this is undone, key by key, from
the declarations of our layer types; what a type does not take, such as sizes that follow from others, is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from convspec.layers import layer_type
from convspec.layers.base import Layer
from convspec.layers.dialects import Dialect
from convspec.layers.keys import REQUIRED, Key

Fields = Mapping[str, Any]


class Misfit(Exception):
    """Layers that no original program could have saved; the message says why, `help` what to do about it, if anything."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.help = help


@dataclass(frozen=True, slots=True, repr=False)
class OldLayer:
    """name, type: as the file had them. inputs: names, with detached neurons passed over. fields: the dictionary."""

    name: str
    type: str
    inputs: tuple[str, ...]
    fields: Fields

    @property
    def neuron(self) -> str:
        """`relu`, `tanh[1.0,2.0]`, or nothing."""
        return _neuron(self.fields.get("neuron"), self.name)


def section(layer: OldLayer, layers: Mapping[str, OldLayer], dialect: Dialect) -> str:
    """The text of a layer's section, in the language of its program. Raises Misfit."""
    cls = layer_type(layer.type)
    assert cls is not None
    lines = [f"[{layer.name}]", f"type={layer.type}"]
    for key in cls.keys_in(dialect).values():
        text = _value_text(key, layer, layers, cls)
        if text is not None:
            lines.append(f"{key.spelling}={text}")
    return "\n".join(lines)


def _value_text(key: Key[Any], layer: OldLayer, layers: Mapping[str, OldLayer], cls: type[Layer]) -> str | None:
    """What stands behind a key; None for what need not be said."""
    if key.attribute == "inputs":
        return ",".join(layer.inputs) or None
    if key.attribute == "neuron":
        return (layer.neuron or None) if cls.takes_neuron else None
    if key.name in _NOT_SAID or (not key.has_effect and key.default is not REQUIRED):
        return None
    if key.name == "weightsource":
        return _weight_source(layer, layers)
    if key.name == "tree":
        return _tree(layer.fields)
    restore = _UNDONE.get((layer.type, key.name)) or _UNDONE.get(("", key.name))
    value = layer.fields.get(key.spelling) if restore is None else restore(layer.fields)
    if value is None or (key.default is not REQUIRED and _is_default(value, key.default)):
        return None
    return _text(value, f"{key.spelling} of {layer.name}")


def _is_default(value: Any, default: object) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(
        isinstance(each, bool | int | float | str)
        and isinstance(each, str) == isinstance(default, str)
        and each == default
        for each in values
    )


_NOT_SAID = frozenset({"initwfunc", "initbfunc", "initcfunc"})
"""Where the first weights came from: those of the checkpoint take their place."""

_PLAIN = re.compile(r"[A-Za-z0-9_.\-\[\]=,; ]{1,200}")


def _text(value: object, what: str) -> str:
    match value:
        case bool():
            return "1" if value else "0"
        case int():
            return str(value)
        case float():
            return _number(value, what)
        case str() if _PLAIN.fullmatch(value):
            return value
        case list() | tuple() if value and not any(isinstance(each, list | tuple) for each in value):
            return ",".join(_text(each, what) for each in value)
        case _:
            raise Misfit(f"{what} is of a form that no parameter file gives")


def _number(value: float, what: str) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        raise Misfit(f"{what} is {value}")
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _neuron(value: object, name: str) -> str:
    """`neuron` as written, or as the parser of a neuron layer left it: its type, and its parameters by letter."""
    match value:
        case None:
            return ""
        case str() if not value or _PLAIN.fullmatch(value):
            return value
        case {"type": str() as kind, "params": dict() as parameters} if _PLAIN.fullmatch(kind):
            letters = sorted(key for key in parameters if isinstance(key, str))
            arguments = ",".join(_text(parameters[letter], f"neuron of {name}") for letter in letters)
            return f"{kind}[{arguments}]" if arguments else kind
        case _:
            raise Misfit(f"neuron of {name} is of a form that no layer file gives")


def _weight_source(layer: OldLayer, layers: Mapping[str, OldLayer]) -> str | None:
    """`conv1[0],,fc2[1]`: an entry for each input, empty where its weights are its own."""
    sources = weight_sources(layer)
    for source in sources:
        if source is not None and source[0] not in layers:
            raise Misfit(f"{layer.name} shares weights of a layer that the checkpoint does not have")
    entries = ["" if source is None else f"{source[0]}[{source[1]}]" for source in sources]
    return ",".join(entries) if any(entries) else None


def weight_sources(layer: OldLayer) -> list[tuple[str, int] | None]:
    """For each input the layer and the matrix whose weights it shares. Raises Misfit.

    What the indices say and not the text, because weights may have been unshared since. Detached neurons move the
    layers of cuda-convnet in their list, so that of those indices only the sign is good.
    """
    matrices = _list(layer.fields.get("weightSourceMatrixIndices", []))
    names = layer.fields.get("weightSourceLayers")
    if names is None:
        written = _list(layer.fields.get("weightSource", []))
        indices = _list(layer.fields.get("weightSourceLayerIndices", []))
        names = [name if integer(index) >= 0 else "" for name, index in zip(written, indices, strict=False)]
    found: list[tuple[str, int] | None] = []
    for name, matrix in zip(_list(names), matrices, strict=False):
        if not isinstance(name, str) or type(matrix) is not int:
            raise Misfit(f"weightSource of {layer.name} is of a form that no layer file gives")
        bare = re.sub(r"\[\d+\]\s*$", "", name).strip()
        found.append((bare, matrix) if bare else None)
    return found


def _tree(fields: Fields) -> str | None:
    """The classes' tree as JSON, where the layer has it; in 2012 it came with the data."""
    children = fields.get("tree")
    if isinstance(children, dict):
        children = [children.get(node) for node in range(len(children))]
    root = fields.get("rootLabel", fields.get("root"))
    if not isinstance(children, list) or type(root) is not int:
        return None
    if not all(isinstance(below, list) and all(type(node) is int for node in below) for below in children):
        raise Misfit(f"tree of {fields['name']} is no list of lists of nodes")
    return json.dumps({"children": children, "root": root}, separators=(",", ":"))


# what the parsers did to values, undone


def entry(value: object, index: int) -> int:
    """An entry of a list, or a number that serves all inputs."""
    if isinstance(value, list | tuple):
        value = value[index] if index < len(value) else 0
    return integer(value)


def integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _count(fields: Fields) -> range:
    return range(len(_list(fields.get("inputs", []))))


def _padding(fields: Fields) -> object:
    return [-integer(each) for each in _list(fields["padding"])] if "padding" in fields else None


def _filters(fields: Fields) -> object:
    """Of one group, where the checkpoint counts all."""
    counts = []
    for index in _count(fields):
        groups = entry(fields.get("groups", 1), index)
        filters = entry(fields.get("filters"), index)
        if groups < 1 or filters % groups:
            raise Misfit(f"filters of {fields['name']} do not divide into its groups")
        counts.append(filters // groups)
    return counts


def _forced_modules(fields: Fields) -> object:
    """`modulesX` where it is not what follows from the other sizes."""
    modules = integer(fields.get("modulesX"))
    for index in _count(fields):
        size, stride = entry(fields.get("imgSize"), index), entry(fields.get("stride", 1), index)
        window, padding = entry(fields.get("filterSize"), index), -entry(fields.get("padding", 0), index)
        if stride < 1 or size < 1:
            return None
        if modules != 1 - (2 * padding + size - window) // -stride:
            return modules
    return None


def _forced_outputs(fields: Fields) -> object:
    """`outputsX` of a pooling layer where it is not what follows."""
    outputs, size, stride = (integer(fields.get(name)) for name in ("outputsX", "imgSize", "stride"))
    if not (outputs and size and stride):
        return None
    start, window = integer(fields.get("start")), integer(fields.get("sizeX"))
    return None if outputs == 1 - (size - start - window) // -stride else outputs


def _filter_channels(fields: Fields) -> object:
    return fields.get("filterChannels") if _rand_sparse(fields) else None


def _rand_sparse(fields: Fields) -> object:
    entries = [isinstance(each, bool | int) and bool(each) for each in _list(fields.get("randSparse", False))]
    return entries if any(entries) else None


def _scale(power: int) -> Callable[[Fields], object]:
    """`scale` of a norm, which the parsers divide by its window: the shortest number that gives the same quotient."""

    def undone(fields: Fields) -> object:
        scale, window = fields.get("scale"), integer(fields.get("size")) ** power
        if not isinstance(scale, float | int) or not window:
            return None
        rounded = float(f"{scale * window:.10g}")
        return rounded if rounded / window == scale else scale * window

    return undone


def _outputs_of_part(fields: Fields) -> object:
    return integer(fields.get("outputs")) // max(1, integer(fields.get("parts")))


def _slice_start(fields: Fields) -> object:
    return integer(fields.get("start")) or None


def _slice_end(fields: Fields) -> object:
    """Said where a start is: else the layer reads all."""
    return fields.get("end") if _slice_start(fields) else None


def _gpus(fields: Fields) -> object:
    gpus = [gpu for gpu in _list(fields.get("gpu", [])) if isinstance(gpu, int) and gpu >= 0]
    return gpus or None


def _rates(name: str) -> Callable[[Fields], object]:
    """Numbers (2012 and before), or schedules (cuda-convnet2)."""

    def undone(fields: Fields) -> object:
        value = fields.get(name)
        return None if value is None else [_rate(each, f"{name} of {fields['name']}") for each in _list(value)]

    return undone


def _rate(value: object, what: str) -> object:
    match value:
        case {"type": str() as kind, "params": {"base": float() | int() as base}} if kind == "const":
            # cuda-convnet2 takes digits and a point alone
            text = _text(base, what)
            return base if re.fullmatch(r"(\d*\.)?\d+", text) else f"const[base={text}]"
        case {"type": str() as kind, "params": dict() as parameters}:
            order = ("base", "tgtFactor", "numSteps")
            given = [f"{name}={_text(parameters[name], what)}" for name in order if name in parameters]
            return f"{kind}[{';'.join(given)}]"
        case _:
            return value


def _decline(name: str) -> Callable[[Fields], object]:
    """`schedW` and `schedB` of 2012: how a rate falls."""

    def undone(fields: Fields) -> object:
        match fields.get(name):
            case {"type": str() as kind} if kind == "default":
                return None
            case {"type": str() as kind, "params": dict() as parameters}:
                what = f"{name} of {fields['name']}"
                order = ("tgtFactor", "noiseStdev", "numSteps")
                given = [f"{key}={_text(parameters[key], what)}" for key in order if key in parameters]
                return f"{kind}[{','.join(given)}]"
            case value:
                return value

    return undone


def _quantizer(name: str) -> Callable[[Fields], object]:
    def undone(fields: Fields) -> object:
        match fields.get(name):
            case {"type": str() as kind} if kind == "default":
                return None
            case {"type": str() as kind}:
                return kind
            case value:
                return value

    return undone


_UNDONE: Mapping[tuple[str, str], Callable[[Fields], object]] = {
    ("", "padding"): _padding,
    ("", "gpu"): _gpus,
    ("", "epsw"): _rates("epsW"),
    ("", "epsb"): _rates("epsB"),
    ("", "schedw"): _decline("schedW"),
    ("", "schedb"): _decline("schedB"),
    ("", "quantf"): _quantizer("quantF"),
    ("", "quantb"): _quantizer("quantB"),
    **{
        (filtering, key): undone
        for filtering in ("conv", "local")
        for key, undone in (
            ("filters", _filters),
            ("modulesx", _forced_modules),
            ("filterchannels", _filter_channels),
            ("randsparse", _rand_sparse),
        )
    },
    ("pool", "outputsx"): _forced_outputs,
    ("cmrnorm", "scale"): _scale(1),
    ("rnorm", "scale"): _scale(2),
    ("cnorm", "scale"): _scale(2),
    ("sfc", "outputs"): _outputs_of_part,
    ("cmpool", "outputs"): lambda fields: fields.get("outputChannels"),
    ("treefc", "outputs"): lambda fields: None,
    ("data", "start"): _slice_start,
    ("data", "end"): _slice_end,
}

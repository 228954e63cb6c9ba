"""What the parsers of the original programs did to the values of keys, undone, key by key.

They made numbers of texts, turned the sign of padding, counted filters over all groups, divided scales by windows, and
kept sizes that follow from others beside those that a file says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Fields = Mapping[str, Any]


class Misfit(Exception):
    """Layers that no original program could have saved; the message says why, `help` what to do about it, if anything."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.help = help


PLAIN = re.compile(r"[A-Za-z0-9_.\-\[\]=,; ]{1,200}")


def as_text(value: object, what: str) -> str:
    match value:
        case bool():
            return "1" if value else "0"
        case int():
            return str(value)
        case float():
            return _number(value, what)
        case str() if PLAIN.fullmatch(value):
            return value
        case list() | tuple() if value and not any(isinstance(each, list | tuple) for each in value):
            return ",".join(as_text(each, what) for each in value)
        case _:
            raise Misfit(f"{what} is of a form that no parameter file gives")


def _number(value: float, what: str) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        raise Misfit(f"{what} is {value}")
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def entry(value: object, index: int) -> int:
    """An entry of a list, or a number that serves all inputs."""
    if isinstance(value, list | tuple):
        value = value[index] if index < len(value) else 0
    return integer(value)


def integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def as_list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _count(fields: Fields) -> range:
    return range(len(as_list(fields.get("inputs", []))))


def _padding(fields: Fields) -> object:
    return [-integer(each) for each in as_list(fields["padding"])] if "padding" in fields else None


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
    entries = [isinstance(each, bool | int) and bool(each) for each in as_list(fields.get("randSparse", False))]
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
    gpus = [gpu for gpu in as_list(fields.get("gpu", [])) if isinstance(gpu, int) and gpu >= 0]
    return gpus or None


def _rates(name: str) -> Callable[[Fields], object]:
    """Numbers (2012 and before), or schedules (cuda-convnet2)."""

    def undone(fields: Fields) -> object:
        value = fields.get(name)
        return None if value is None else [_rate(each, f"{name} of {fields['name']}") for each in as_list(value)]

    return undone


def _rate(value: object, what: str) -> object:
    match value:
        case {"type": str() as kind, "params": {"base": float() | int() as base}} if kind == "const":
            # cuda-convnet2 takes digits and a point alone
            text = as_text(base, what)
            return base if re.fullmatch(r"(\d*\.)?\d+", text) else f"const[base={text}]"
        case {"type": str() as kind, "params": dict() as parameters}:
            order = ("base", "tgtFactor", "numSteps")
            given = [f"{name}={as_text(parameters[name], what)}" for name in order if name in parameters]
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
                given = [f"{key}={as_text(parameters[key], what)}" for key in order if key in parameters]
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


UNDONE: Mapping[tuple[str, str], Callable[[Fields], object]] = {
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

"""One layer of an old checkpoint, back to the section that it was read from.

The keys are those that our layer types declare; what a type does not take, such as sizes that follow from others, is left
out. `undone` knows what a value was before it was parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convspec.layers import layer_type
from convspec.layers.base import Layer
from convspec.layers.dialects import Dialect
from convspec.layers.keys import REQUIRED, Key
from convspec.layers.undone import PLAIN, UNDONE, Fields, Misfit, as_list, as_text, integer


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
    restore = UNDONE.get((layer.type, key.name)) or UNDONE.get(("", key.name))
    value = layer.fields.get(key.spelling) if restore is None else restore(layer.fields)
    if value is None or (key.default is not REQUIRED and _is_default(value, key.default)):
        return None
    return as_text(value, f"{key.spelling} of {layer.name}")


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


def _neuron(value: object, name: str) -> str:
    """`neuron` as written, or as the parser of a neuron layer left it: its type, and its parameters by letter."""
    match value:
        case None:
            return ""
        case str() if not value or PLAIN.fullmatch(value):
            return value
        case {"type": str() as kind, "params": dict() as parameters} if PLAIN.fullmatch(kind):
            letters = sorted(key for key in parameters if isinstance(key, str))
            arguments = ",".join(as_text(parameters[letter], f"neuron of {name}") for letter in letters)
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
    matrices = as_list(layer.fields.get("weightSourceMatrixIndices", []))
    names = layer.fields.get("weightSourceLayers")
    if names is None:
        written = as_list(layer.fields.get("weightSource", []))
        indices = as_list(layer.fields.get("weightSourceLayerIndices", []))
        names = [name if integer(index) >= 0 else "" for name, index in zip(written, indices, strict=False)]
    found: list[tuple[str, int] | None] = []
    for name, matrix in zip(as_list(names), matrices, strict=False):
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

"""The rule of the corpus: accepted there, accepted here with the same layers and numbers; refused there, refused here
at the same layer, unless it was refused for a limit of the old kernels.

`disagreements` gives what does not hold, in words; an empty list is agreement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import isclose
from typing import Any

from convspec.checker import Checked, check
from convspec.diagnostics import Diagnostic, Severity, Span
from convspec.graph.summary import LayerSummary
from convspec.layers.base import Layer as OurLayer
from convspec.layers.data import Data
from convspec.layers.weights import WeightLayer
from convspec.syntax.document import Document
from convspec.syntax.values import Extent
from tests.corpus.originals import Answer, Layer

# Limits of the kernels, which are none of the mathematics (README of the corpus).
_LIMITS = (
    "must be divisible by 16",
    "must be divisible by 4",
    "number of channels must be smaller than 4 or divisible by 4",
    "'partialSum'",
)
# Accepted there and refused here, because the kernels behind the parser ran on into nonsense.
_REFUSED_BY_US = {"CS403": "filters larger than the padded map", "CS407": "windows without a pixel"}


def ask(answer: Answer) -> Checked:
    """`check` of the files in the dialect of the program, given what the program was given."""
    return check(answer.layers_text, answer.params_text, dialect=answer.dialect, gpus=answer.gpus, **given(answer))


def given(answer: Answer) -> dict[str, Any]:
    """Sizes and classes: for each data layer what the provider gives for its `dataIdx`, as a vector."""
    layers = check(answer.layers_text, answer.params_text, dialect=answer.dialect).graph.layers
    indices = {layer.name: layer.data_index for layer in layers.values() if isinstance(layer, Data)}
    dims = {name: (answer.data_dims[index],) for name, index in indices.items() if index in answer.data_dims}
    return {"inputs": dims, "classes": answer.classes}


def disagreements(answer: Answer, checked: Checked) -> list[str]:
    errors = [d for d in checked.diagnostics if d.severity is Severity.ERROR]
    if answer.error is None:
        if not errors:
            return list(_differences(answer, checked))
        return [f"accepted there: {d.code} {d.message}" for d in errors if d.code not in _REFUSED_BY_US]
    if any(limit in answer.error for limit in _LIMITS):
        return [f"only a limit of the old kernels: {d.code} {d.message}" for d in errors]
    if not errors:
        return [f"refused there: {answer.error}"]
    name = answer.refused_layer
    places = {_layer_at(d, checked) for d in errors}
    if name is None or name in places or name.removesuffix("_neuron") in places:
        return []
    return [f"refused there at {name}: {answer.error}", *(f"here: {d.code} {d.message}" for d in errors)]


def _layer_at(diagnostic: Diagnostic, checked: Checked) -> str | None:
    """The section that a diagnostic stands in."""
    if diagnostic.span is None:
        return None
    for document in filter(None, (checked.document, checked.params)):
        if document.file == diagnostic.span.file:
            return _section_at(diagnostic.span, document)
    return None


def _section_at(span: Span, document: Document) -> str | None:
    above = [section.name for section in document.sections if section.span.start <= span.start]
    return above[-1] if above else None


def _differences(answer: Answer, checked: Checked) -> Iterator[str]:
    rows = {row.name: row for row in checked.layers}
    owners = {layer["name"]: _owner(layer, checked) for layer in answer.layers}
    theirs = {name for name, owner in owners.items() if owner == name}
    if theirs != rows.keys():
        yield f"layers {sorted(theirs ^ rows.keys())} are only on one side"
        return
    for layer in answer.layers:
        row, ours = rows[owners[layer["name"]]], checked.graph.layers[owners[layer["name"]]]
        if layer["name"] == row.name:
            inputs = ("inputs", [owners[name] for name in layer.get("inputs", ())], list(row.inputs))
            for what, there, here in (inputs, *_sizes(layer, row, rows), *_keys(layer, ours), *_updates(layer, ours)):
                if not _equal(there, here):
                    yield f"{row.name}: {what} is {there} there and {here} here"


def _owner(layer: Layer, checked: Checked) -> str:
    """The layer of ours that holds this one: itself, or for a detached neuron the one that says `neuron=`."""
    name: str = layer["name"]
    if name in checked.graph.layers and checked.graph.layers[name].type == layer["type"]:
        return name
    (source,) = layer["inputs"]
    return source if layer["type"] == "neuron" and name.startswith(f"{source}_neuron") else name


# What is compared, what it is there and what it is here.
Compared = tuple[str, object, object]


def _sizes(layer: Layer, row: LayerSummary, rows: Mapping[str, LayerSummary]) -> Iterator[Compared]:
    """Sizes and counts, which `check` prints."""
    yield "type", layer["type"], row.type
    if not layer["type"].startswith("cost."):
        yield "outputs", layer["outputs"], row.outputs
    shapes = [rows[name].shape or () for name in row.inputs]
    for key in _OF_SIZES.keys() & layer.keys():
        if key != "outSize" or len(row.shape or ()) == 3:
            yield key, layer[key], _OF_SIZES[key](row, shapes)
    if "gpu" in layer and row.inputs:
        yield "gpu", layer["gpu"] if isinstance(layer["gpu"], list) else [layer["gpu"]], list(row.gpus)
    if "weights" in layer:
        yield "weights", sum(w["rows"] * w["cols"] for w in layer["weights"]), row.weights
        yield "biases", layer["biases"]["rows"] * layer["biases"]["cols"], row.biases


def _keys(layer: Layer, ours: OurLayer) -> Iterator[Compared]:
    """Keys of the layer file."""
    if layer["type"] == "neuron" or isinstance(layer.get("neuron"), str):
        yield "neuron", _neuron_of_theirs(layer["neuron"]), _neuron_of_ours(ours)
    for key in ("groups", "filterSize", "stride", "start", "sizeX", "size"):
        # The start of a nailbed follows from its stride.
        if key in layer and key.lower() in ours.keys:
            yield key, layer[key], _value(ours, key)
    if "padding" in layer:
        yield "padding", [-padding for padding in layer["padding"]], _value(ours, "padding")


def _updates(layer: Layer, ours: OurLayer) -> Iterator[Compared]:
    """The hyper-parameters."""
    for key, value in layer.get("params", {}).items():
        if key != "wballNormed":
            yield key, _update_of_theirs(key, value), _update_of_ours(ours, key, layer)


_OF_SIZES = {
    "outSize": lambda row, shapes: row.shape[-1],
    "filters": lambda row, shapes: row.shape[0],
    "numInputs": lambda row, shapes: [_product(shape) for shape in shapes],
}


def _product(numbers: Sequence[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product


def _neuron_of_theirs(neuron: object) -> tuple[str, tuple[float, ...]]:
    if isinstance(neuron, dict):
        return neuron["type"], tuple(neuron["params"][key] for key in sorted(neuron["params"]))
    found = re.fullmatch(r"(\w*)(?:\[(.*)\])?\s*", str(neuron))
    assert found is not None, neuron
    numbers = tuple(float(number) for number in (found.group(2) or "").split(",") if number.strip())
    return found.group(1) or "ident", numbers


def _neuron_of_ours(layer: OurLayer) -> tuple[str, tuple[float, ...]]:
    return ("ident", ()) if layer.neuron is None else (layer.neuron.name, layer.neuron.arguments)


def _value(layer: OurLayer, key: str) -> Any:
    declared = layer.keys[key.lower()]
    value = declared.__get__(layer, type(layer))
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return [_plain(entry) for entry in value]
    return _plain(value)


def _plain(value: Any) -> Any:
    """A square size as its side."""
    return value.height if isinstance(value, Extent) and value.height == value.width else value


def _update_of_theirs(key: str, value: Any) -> Any:
    """A hyper-parameter as plain data; the constant `const[base=b]` is the number b."""
    if isinstance(value, list):
        return [_update_of_theirs(key, entry) for entry in value]
    if isinstance(value, dict) and key in ("quantF", "quantB"):
        return value["type"]
    if isinstance(value, dict):
        numbers = {name.lower(): number for name, number in value["params"].items()}
        return numbers["base"] if value["type"] == "const" else (value["type"], numbers)
    return value


def _update_of_ours(layer: OurLayer, key: str, theirs: Layer) -> Any:
    if key == "scale" and key in layer.keys and theirs["type"] in ("rnorm", "cnorm", "cmrnorm"):
        size = _value(layer, "size")
        return _value(layer, key) / (size if theirs["type"] == "cmrnorm" else size * size)
    if key.lower() not in layer.keys:
        return f"no key {key}"
    value = _value(layer, key)
    if isinstance(layer, WeightLayer) and key in ("epsW", "epsB"):
        return [_call(call) for call in value] if isinstance(value, list) else _call(value)
    return _call(value) if hasattr(value, "_fields") else value


def _call(call: Any) -> Any:
    numbers = dict(call.arguments)
    return numbers["base"] if call.name.lower() == "const" else (call.name.lower(), numbers)


def _equal(there: object, here: object) -> bool:
    if isinstance(there, int | float) and isinstance(here, int | float):
        return isclose(there, here, rel_tol=1e-6, abs_tol=1e-12)
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        return there.keys() == here.keys() and all(_equal(there[key], here[key]) for key in there)
    if isinstance(there, list | tuple) and isinstance(here, list | tuple):
        return len(there) == len(here) and all(map(_equal, there, here))
    return there == here

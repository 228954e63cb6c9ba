"""The layers of an old checkpoint, back to a layer file that says the same.

A checkpoint of the original programs keeps each layer as a dictionary of what its parser had made of the files, and a
layer of its own for each `neuron=`; in cuda-convnet inputs are places in a list, in the others dictionaries have no
order. Here they become sections in an order that a reader can follow (`unparsed` writes each).

Nothing here is numerical; weights are the matter of `convspec.train.old_weights`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import isqrt
from typing import Any

from convspec.diagnostics import did_you_mean
from convspec.layers import layer_type, layer_types
from convspec.layers.dialects import ALEXNET2012, CCN1, CCN1_DNOURI, CCN2, Dialect
from convspec.layers.undone import Fields, Misfit, entry, integer
from convspec.layers.unparsed import OldLayer, section, weight_sources

__all__ = ["Misfit", "OldLayer", "Restored", "restore"]


@dataclass(frozen=True, slots=True)
class Restored:
    """dialect: that of the program that saved them. layers: in an order in which each follows what it reads. sections:
    their text. input: what `[@net] input=` says. classes: of the softmax, if any."""

    dialect: Dialect
    layers: tuple[OldLayer, ...]
    sections: str
    input: str
    classes: int | None


def restore(container: object) -> Restored:
    """What `model_state['layers']` holds: a list of dictionaries (cuda-convnet) or a dictionary of them by name.

    Raises Misfit.
    """
    layers = _in_order(_without_detached_neurons(_named(container)), has_places=isinstance(container, list))
    dialect = _dialect(container, layers.values())
    sections = "\n\n".join(section(layer, layers, dialect) for layer in layers.values()) + "\n"
    return Restored(
        dialect=dialect,
        layers=tuple(layers.values()),
        sections=sections,
        input=_input_sizes(layers),
        classes=_classes(layers),
    )


# the graph


def _named(container: object) -> dict[str, OldLayer]:
    match container:
        case list() if container:
            dictionaries = container
        case dict() if container:
            dictionaries = list(container.values())
        case _:
            raise Misfit("it holds no layers")
    for fields in dictionaries:
        if not (isinstance(fields, dict) and isinstance(fields.get("name"), str)):
            raise Misfit("one of its layers is no dictionary with a name")
    names = [_checked_name(fields["name"]) for fields in dictionaries]
    if len(set(names)) < len(names):
        raise Misfit("two of its layers have one name")
    return {
        name: OldLayer(name, _type(fields), _inputs(fields, names), fields)
        for name, fields in zip(names, dictionaries, strict=True)
    }


def _checked_name(name: str) -> str:
    if not name or len(name) > 200 or not name.isprintable() or re.search(r"^[\s@]|\s$|[\],:]", name):
        raise Misfit("one of its layers has a name that no layer file can give")
    return name


def _type(fields: Fields) -> str:
    written = fields.get("type")
    if not isinstance(written, str) or layer_type(written) is None:
        shown = written if isinstance(written, str) and written.isprintable() and len(written) < 40 else "?"
        help = did_you_mean(shown, layer_types()) or "types of other people's versions are not known here"
        raise Misfit(f"layer {fields['name']} has type '{shown}', which does not exist", help)
    return written


def _inputs(fields: Fields, names: Sequence[str]) -> tuple[str, ...]:
    """Names, or in cuda-convnet places in the list."""
    given = fields.get("inputs", [])
    given = given if isinstance(given, list | tuple) else [given]
    inputs: list[str] = []
    for source in given:
        match source:
            case int() if 0 <= source < len(names):
                inputs.append(names[source])
            case str() if source in names:
                inputs.append(source)
            case _:
                raise Misfit(f"layer {fields['name']} reads a layer that the checkpoint does not have")
    return tuple(inputs)


def _without_detached_neurons(layers: Mapping[str, OldLayer]) -> dict[str, OldLayer]:
    """Fold the neuron layers that the programs made for `neuron=` back into the layers that said it."""
    detached: dict[str, str] = {}
    for layer in layers.values():
        [source, *_] = [*layer.inputs, ""]
        if layer.type == "neuron" and source and re.fullmatch(rf"{re.escape(source)}_neuron(\.\d+)?", layer.name):
            above = layers[source]
            if above.type != "neuron" and above.neuron:
                if above.neuron.partition("[")[0].strip() != layer.neuron.partition("[")[0].strip():
                    raise Misfit(f"layer {layer.name} is not the neuron of {source}")
                detached[layer.name] = source
    return {
        name: OldLayer(name, layer.type, tuple(detached.get(source, source) for source in layer.inputs), layer.fields)
        for name, layer in layers.items()
        if name not in detached
    }


def _in_order(layers: Mapping[str, OldLayer], *, has_places: bool) -> dict[str, OldLayer]:
    """Each layer after what it reads and whose weights it shares; otherwise by its number in cuda-convnet2, its place in
    cuda-convnet; data before others, by name.

    Dictionaries of Python 2 have no order, so that names must do for the code of 2012.
    """
    places = {name: place if has_places else 0 for place, name in enumerate(layers)}
    above = {name: {*layer.inputs, *_owners(layer, layers)} for name, layer in layers.items()}
    waiting = {name: set(sources) for name, sources in above.items()}

    def rank(name: str) -> tuple[Any, ...]:
        number = layers[name].fields.get("id")
        is_data = layers[name].type == "data"
        return number if isinstance(number, int) else 0, places[name], not is_data, _natural(name)

    ready = [(rank(name), name) for name, sources in waiting.items() if not sources]
    heapify(ready)
    ordered: dict[str, OldLayer] = {}
    readers: dict[str, list[str]] = {name: [] for name in layers}
    for name, sources in above.items():
        for source in sources:
            readers[source].append(name)
    while ready:
        _, name = heappop(ready)
        ordered[name] = layers[name]
        for reader in readers[name]:
            waiting[reader].discard(name)
            if not waiting[reader]:
                heappush(ready, (rank(reader), reader))
    if len(ordered) < len(layers):
        raise Misfit("its layers read one another in a cycle")
    return ordered


def _owners(layer: OldLayer, layers: Mapping[str, OldLayer]) -> set[str]:
    """The other layers whose weights it shares."""
    return {source[0] for source in weight_sources(layer) if source and source[0] in layers} - {layer.name}


def _natural(name: str) -> tuple[tuple[str, int], ...]:
    """`conv10` after `conv9`."""
    return tuple((text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d{0,9})", name))


def _dialect(container: object, layers: Iterable[OldLayer]) -> Dialect:
    fields = [layer.fields for layer in layers]
    if isinstance(container, list):
        return CCN1_DNOURI if any("dropout" in each for each in fields) else CCN1
    return CCN2 if any(isinstance(each.get("gpu"), list) for each in fields) else ALEXNET2012


# what [@net] says


def _input_sizes(layers: Mapping[str, OldLayer]) -> str:
    """`data:3x24x24, labels:1`: as maps where a reader says how many channels."""
    sizes = []
    for layer in layers.values():
        if layer.type == "data":
            features = _full_width(layer, layers)
            channels = [
                entry(reader.fields.get("channels"), reader.inputs.index(layer.name))
                for reader in layers.values()
                if layer.name in reader.inputs and "channels" in reader.fields
            ]
            side = isqrt(features // channels[0]) if channels and channels[0] else 0
            is_square = bool(channels) and channels[0] * side * side == features
            is_whole = features == integer(layer.fields.get("outputs"))
            sizes.append(f"{layer.name}:{f'{channels[0]}x{side}x{side}' if is_square and is_whole else features}")
    return ", ".join(sizes)


def _full_width(layer: OldLayer, layers: Mapping[str, OldLayer]) -> int:
    """Features of the provider's matrix, of which a data layer may read a part."""
    alike = [
        other
        for other in layers.values()
        if other.type == "data" and integer(other.fields.get("dataIdx")) == integer(layer.fields.get("dataIdx"))
    ]
    ends = [integer(other.fields.get("end", other.fields.get("outputs"))) for other in alike]
    width = max(ends)
    if width < 1:
        raise Misfit(f"layer {layer.name} has no number of outputs")
    return width


def _classes(layers: Mapping[str, OldLayer]) -> int | None:
    for layer in layers.values():
        if layer.type == "softmax":
            outputs = layer.fields.get("outputs")
            return outputs if isinstance(outputs, int) and outputs > 0 else None
    return None

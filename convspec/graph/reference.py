"""What each layer type and each section of settings takes: `convspec explain conv`, and all of it as a document.

Everything is read from the classes: their docstrings, and form, range, default and meaning of their keys.
`python -m convspec.graph.reference > docs/keys.md` writes the document again after a change of one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import Any

from convspec.graph.settings import DataSettings, NetSettings, TrainSettings
from convspec.layers import BUILT_IN, layer_type
from convspec.layers.base import Layer
from convspec.layers.keyed import Keyed
from convspec.layers.keys import REQUIRED, Key
from convspec.layers.weights import WeightLayer

SETTINGS: Mapping[str, type[Keyed]] = {"@net": NetSettings, "@train": TrainSettings, "@data": DataSettings}
_INTRODUCTION = """\
# Keys

What every layer type and every section of settings takes. `convspec explain conv` prints it for one, also for a type that a
package of yours adds. Lists have an entry for each input of the layer, and a single entry serves all; keys may be in any case.
`[@params]` may give the keys that say so in the last column to all layers, and `[@params conv]` any key but `inputs` and `expect`
to those of one type ([the language](language.md)). What each type computes is on the pages of [layers with weights](weights.md), [without](layers.md) and [costs](costs.md).

"""


def explained(name: str) -> str | None:
    """What a layer type or a section of settings is and takes, for a terminal; None where there is no such name."""
    cls = SETTINGS.get(name) or layer_type(name)
    if cls is None:
        return None
    blocks = [f"{name}: {cleandoc(cls.__doc__ or '')}"]
    own, learning, common = _parts(cls)
    titles = {"keys": own, "of all layers that learn": learning, "of all layers": common}
    for title, keys in titles.items():
        if keys:
            width = max(len(key.spelling) for key in keys)
            blocks.append("\n".join([title, *(_lines(key, width) for key in keys)]))
    return "\n\n".join(blocks) + "\n"


def document() -> str:
    """All types and settings as tables, in Markdown."""
    blocks = [_table("All layers", "", Layer.keys.values())]
    learning = [key for key in WeightLayer.keys.values() if key not in Layer.keys.values()]
    blocks.append(_table("All layers that learn", "", learning))
    types = {name: BUILT_IN[name] for name in sorted(BUILT_IN)}
    for name, cls in {**types, **SETTINGS}.items():
        heading = f"`[{name}]`" if name in SETTINGS else f"`{name}`"
        more = "" if not issubclass(cls, Layer) else " and those of all layers"
        more = more if not issubclass(cls, WeightLayer) else ", those of all layers that learn, and of all layers"
        first = " ".join(cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())
        blocks.append(_table(heading, first + (f" Its keys{more}:" if more else ""), _parts(cls)[0]))
    return _INTRODUCTION + "\n".join(blocks)


def _parts(cls: type[Keyed]) -> tuple[list[Key[Any]], list[Key[Any]], list[Key[Any]]]:
    """The keys of a class: its own, those of all layers that learn, those of all layers."""
    common = [key for key in cls.keys.values() if key in Layer.keys.values()]
    learning = [key for key in cls.keys.values() if key in WeightLayer.keys.values() and key not in common]
    own = [key for key in cls.keys.values() if key not in common and key not in learning]
    return own, learning, common


def _lines(key: Key[Any], width: int) -> str:
    return f"  {key.spelling:<{width}}  {key.doc}\n  {'':<{width}}  {_takes(key)}; {_default(key)}"


def _table(heading: str, text: str, keys: Iterable[Key[Any]]) -> str:
    lines = [f"## {heading}", "", *([text, ""] if text else [])]
    rows = [
        f"| `{key.spelling}` | {key.doc} | {_takes(key)} | {_default(key)} |".replace("[@params]", "`[@params]`")
        for key in keys
    ]
    if rows:
        lines += ["| key | | takes | |", "| --- | --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _takes(key: Key[Any]) -> str:
    """Its form and range."""
    if key.choices:
        return ", ".join(key.choices[:-1]) + (" or " if len(key.choices) > 1 else "") + key.choices[-1]
    bounds = []
    if key.minimum is not None:
        bounds.append(f"at least {key.minimum:.10g}")
    if key.above is not None:
        bounds.append(f"above {key.above:.10g}")
    if key.maximum is not None:
        bounds.append(f"at most {key.maximum:.10g}")
    return ", ".join([str(key.form.description), *bounds])


def _default(key: Key[Any]) -> str:
    """What holds where it is absent, and whether `[@params]` may supply it."""
    default = key.default
    match default:
        case _ if default is REQUIRED:
            text = "required"
        case bool() | int() | float():
            text = f"else {default:g}"
        case None | "" | ():
            text = "optional"
        case _:
            text = f"else {default}"
    return f"{text}; [@params]" if key.takes_default else text


if __name__ == "__main__":
    sys.stdout.write(document())

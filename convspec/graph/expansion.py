"""`repeat=N` and instances of templates become layers.

- `repeat=3` on a layer `conv`: a chain `conv_1`, `conv_2`, `conv_3`, each with the same keys; who reads `conv` reads the
  last of them.
- An instance `stage` of a template with the layers `conv` and `sum`: `stage.conv`, `stage.sum`; who reads `stage` reads
  the last one. With `repeat=2`: `stage_1.conv` to `stage_2.sum`.
- A section `[stage_2.conv]` or `[stage_2]` without a type: keys of this one alone, over those of all.

How many layers there will be is counted before one is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from convspec.diagnostics import Report
from convspec.graph.making import Maker, keys_with_names
from convspec.graph.merging import Merged, is_of_template
from convspec.graph.templates import read_templates
from convspec.graph.wires import names_in, with_names


class Expansion(NamedTuple):
    """sections: with layers in the place of instances. broken: what could not be made, which has been reported.
    templates: the names of all templates. aliases: the layer that a name of an instance or of a repeated layer means."""

    sections: dict[str, Merged]
    broken: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}


def expand(sections: Mapping[str, Merged], report: Report) -> Expansion:
    """Make the layers that templates and `repeat=` stand for. Reports CS109, CS120 to CS124, CS203 and CS207."""
    templates = read_templates(sections, report)
    network = {name: section for name, section in sections.items() if not is_of_template(name)}
    maker = Maker(network, templates, report)
    groups = {name: maker.layers_of(section) for name, section in network.items() if maker.is_asked_for(section)}
    expanded: dict[str, Merged] = {}
    for name, section in network.items():
        if name in groups:
            expanded.update(groups[name])
        elif name not in maker.used:
            expanded[name] = section
    renamed = {name: _renamed(section, maker.aliases) for name, section in expanded.items()}
    return Expansion(renamed, tuple(maker.broken), tuple(templates), maker.aliases)


def _renamed(section: Merged, aliases: Mapping[str, str]) -> Merged:
    """The section with the names of instances and of repeated layers turned into those of the layers that they give."""
    for key, form in keys_with_names(section.name, section.entries).items():
        entry = section.entries.get(key)
        names = names_in(entry, form) if entry is not None else ()
        if entry is not None and any(name.text in aliases for name in names):
            section = section.with_entry(with_names(entry, names, [_final(name.text, aliases) for name in names]))
    return section


def _final(name: str, aliases: Mapping[str, str]) -> str:
    while name in aliases:
        name = aliases[name]
    return name

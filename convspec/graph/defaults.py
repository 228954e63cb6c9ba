"""`[@params]` and `[@params TYPE]`: values for the keys that layers do not say, and what is said of keys nothing reads.

A key of the section itself comes before one of `[@params TYPE]`, which comes before one of `[@params]`. `[@params]` may
hold the keys of the parameter file and the initial values; `[@params TYPE]`, because it is for one type, all keys but
those that say something of one layer: `inputs`, `expect`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from convspec.diagnostics import Report, closest, did_you_mean
from convspec.graph.merging import OF_TYPE, TEMPLATE, Merged
from convspec.layers import layer_type, layer_types
from convspec.layers.base import Layer
from convspec.layers.dialects import Dialect
from convspec.layers.foreign import key_meant
from convspec.layers.keyed import DEFAULTS
from convspec.layers.keys import Key
from convspec.syntax.document import Entry


def read_type_defaults(
    sections: Mapping[str, Merged],
    parameters: Mapping[str, Merged],
    templates: Collection[str],
    dialect: Dialect,
    report: Report,
) -> Mapping[str, Mapping[str, Entry]]:
    """The entries of `[@params TYPE]` by type. Reports CS109 for a type that does not exist and CS207."""
    found: dict[str, dict[str, Entry]] = {}
    for section in (*sections.values(), *parameters.values()):
        if not section.name.startswith(OF_TYPE):
            continue
        name = section.name.removeprefix(OF_TYPE)
        cls = layer_type(name)
        if cls is None:
            help = did_you_mean(name, layer_types()) or f"types are {', '.join(layer_types())}"
            if name in templates:
                help = f"{name} is a template: give its parameters their values in [{TEMPLATE}{name}]"
            report.add(
                "CS109", section.header, f"[{section.name}] is for layers of a type that does not exist", help=help
            )
            continue
        keys = {key: value for key, value in cls.keys_in(dialect).items() if not value.is_individual}
        report_unread_keys(section.name, section.entries.values(), keys, report)
        found.setdefault(name, {}).update(section.entries)
    return found


def report_unread_defaults(defaults: Mapping[str, Entry], built: Mapping[str, Layer | None], report: Report) -> None:
    """Report CS207 for entries of `[@params]` that no layer of this spec takes, if all layers are known."""
    if None in built.values():
        return
    readable = {key.name: key for layer in built.values() if layer for key in layer.keys.values() if key.takes_default}
    report_unread_keys(DEFAULTS, defaults.values(), readable, report)


def report_unread_keys(
    section: str, entries: Iterable[Entry], keys: Mapping[str, Key[Any] | None], report: Report
) -> None:
    written = {entry.key: entry for entry in entries}
    unread = [entry for name, entry in written.items() if name not in keys]
    if not unread:
        return
    spellings = {name: name if key is None else key.spelling for name, key in keys.items()}
    for entry in unread:
        free = [name for name in spellings if name not in written]
        guess = key_meant(entry.key, spellings) or closest(entry.key, free)
        taken = f"delete it; {section} takes {', '.join(spellings.values()) or 'nothing here'}"
        report.add(
            "CS207",
            entry.key_span,
            f"nothing reads {entry.written_key} of {section}",
            help=taken if guess is None else f"did you mean '{spellings[guess]}'?",
        )

"""`[@template block]` and its layers `[@block.conv]`: what they say, and one instance of them.

    [@template block]        the parameters, each with its default; without one, an instance must say it
    filters=
    [@block.conv]            a layer of every instance
    type=conv
    inputs=$inputs           what the instance reads
    filters=$filters
    [@block.sum]             the last one is what the instance gives
    type=eltsum
    inputs=conv,$inputs

    [stage]                  an instance: the layers stage.conv and stage.sum
    type=block
    inputs=data
    filters=16

A name that is written in a template is first looked for in the template, then in the network; one that comes with a
parameter is looked for where the instance stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from convspec.diagnostics import Report, Span, did_you_mean
from convspec.graph.merging import TEMPLATE, Merged, is_template_layer
from convspec.graph.wires import inputs_entry, names_in, with_names
from convspec.layers import layer_type
from convspec.syntax.document import Entry, Piece
from convspec.syntax.forms import Form
from convspec.syntax.values import Name

# Keys of an instance that say something of it, and are no parameters.
RESERVED = ("type", "inputs", "repeat", "remove", "after", "expect")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")


class Template(NamedTuple):
    """parameters: with their defaults; an empty value is none. layers: by their names in the template."""

    name: str
    header: Span
    parameters: Mapping[str, Entry]
    layers: Mapping[str, Merged]


class Fragment(NamedTuple):
    """A part of a value: its text, where that is written, and the instance in which a layer's name in it is looked for."""

    text: str
    span: Span
    instance: Instance | None = None


class Instance(NamedTuple):
    """name: what its layers begin with. parameters: the values of its template's, and its inputs, if it has any."""

    name: str
    template: Template
    parameters: Mapping[str, tuple[Fragment, ...]]

    def name_of(self, layer: str) -> str:
        """The layer that a name in the template means."""
        return f"{self.name}.{layer}" if layer in self.template.layers else layer


class Said(NamedTuple):
    """A key of a layer that is being made. fragments: of its value, or None where it is as it is written."""

    entry: Entry
    fragments: tuple[Fragment, ...] | None = None

    @classmethod
    def inputs(cls, place: Span, *fragments: Fragment) -> Said:
        """An `inputs=` that no file has; `place` is what asks for it."""
        return cls(inputs_entry((), place), fragments)

    def parts(self) -> tuple[Fragment, ...]:
        return (Fragment(self.entry.value, self.entry.value_span),) if self.fragments is None else self.fragments

    @property
    def text(self) -> str:
        if self.fragments is None:
            return self.entry.value
        return "".join(fragment.text for fragment in self.fragments)

    def as_entry(self) -> Entry:
        """The key as an entry. A value that is one parameter stands where that is given."""
        entry, fragments = self
        if fragments is None or [(part.text, part.span) for part in fragments] == [(entry.value, entry.value_span)]:
            return entry
        pieces, end = [], 0
        for fragment in fragments:
            pieces.append(Piece(end, end + len(fragment.text), fragment.span))
            end += len(fragment.text)
        span = fragments[0].span if len(fragments) == 1 else entry.value_span
        return entry._replace(value=self.text, value_span=span, pieces=tuple(pieces))

    def as_entry_with_names(self, form: Form[Any]) -> Entry:
        """The key as an entry in which the names of a template's layers are those of the instance's. form: of its value."""
        entry = self.as_entry()
        names = names_in(entry, form) if self.fragments is not None else ()
        meant = [self._meant(name) for name in names]
        return entry if meant == [name.text for name in names] else with_names(entry, names, meant)

    def _meant(self, name: Name) -> str:
        """The layer that a name means: in the instance of the fragment in which it begins."""
        end = 0
        for fragment in self.parts():
            end += len(fragment.text)
            if name.start < end:
                return fragment.instance.name_of(name.text) if fragment.instance is not None else name.text
        return name.text


def read_templates(sections: Mapping[str, Merged], report: Report) -> dict[str, Template | None]:
    """The templates of a spec by name; None for one that is wrong. Reports CS109 and CS120."""
    headers = {name.removeprefix(TEMPLATE): section for name, section in sections.items() if name.startswith(TEMPLATE)}
    if "@template" in sections:
        report.add(
            "CS120", sections["@template"].header, "a template needs a name", help="write [@template block], say"
        )
    layers: dict[str, dict[str, Merged]] = {name: {} for name in headers}
    for name, section in sections.items():
        if is_template_layer(name):
            template, _, layer = name[1:].partition(".")
            if template in layers:
                layers[template][layer] = section
            else:
                _report_unknown_template(template, section, headers, report)
    templates: dict[str, Template | None] = {}
    for name, section in headers.items():
        is_bad = _report_bad_template(name, section, layers[name], report)
        templates[name] = None if is_bad else Template(name, section.header, section.entries, _in_order(layers[name]))
    return templates


def _in_order(layers: Mapping[str, Merged]) -> Mapping[str, Merged]:
    """The layers of a template, with those that stand `after=` another one behind it: what the last one gives counts."""
    names = [name for name, section in layers.items() if _leader(section) not in layers]
    last: dict[str, str] = {}
    for name in [name for name, section in layers.items() if _leader(section) in layers]:
        leader = _leader(layers[name])
        behind = last.get(leader, leader)
        names.insert(names.index(behind) + 1 if behind in names else len(names), name)
        last[leader] = name
    return {name: layers[name] for name in names}


def _leader(section: Merged) -> str:
    return section.entries["after"].value if "after" in section.entries else ""


def _report_unknown_template(name: str, section: Merged, headers: Mapping[str, Merged], report: Report) -> None:
    report.add(
        "CS109",
        section.header,
        f"[{section.name}] is a layer of a template {name}, which does not exist",
        help=did_you_mean(name, headers) or f"add a section [{TEMPLATE}{name}] with its parameters, if it has any",
    )


def _report_bad_template(name: str, section: Merged, layers: Mapping[str, Merged], report: Report) -> bool:
    """Whether a template cannot be one. Reports CS120."""
    reserved = next((entry for key, entry in section.entries.items() if key in RESERVED), None)
    if not _NAME.fullmatch(name):
        message, span = f"a template cannot be called '{name}'", section.header
        help = "a name has letters, digits, _ and -, and starts with a letter"
    elif layer_type(name) is not None:
        message, span = f"there is a layer type {name} already", section.header
        help = "call the template otherwise"
    elif reserved is not None:
        message, span = f"{reserved.written_key} cannot be a parameter of template {name}", reserved.key_span
        help = f"every instance may say {', '.join(RESERVED)}"
        if reserved.key == "inputs":
            help = "delete it: $inputs is what an instance reads"
    elif not layers:
        message, span = f"template {name} has no layers", section.header
        help = f"a layer of it is a section such as [@{name}.conv]"
    else:
        return False
    report.add("CS120", span, message, help=help)
    return True


def substituted(said: Said, instance: Instance, report: Report) -> Said | None:
    """A key of a template's layer with the parameters of an instance filled in. Reports CS123 and CS203."""
    entry = said.entry
    if "$" not in entry.value:
        return Said(entry, (Fragment(entry.value, entry.value_span, instance),))
    fragments: list[Fragment] = []
    end = 0
    for match in _REFERENCE.finditer(entry.value):
        fragments.extend(_literal(entry, end, match.start(), instance))
        end = match.end()
        dollar, *names = match.groups()
        if dollar:
            fragments.append(Fragment("$", entry.part(*match.span()), instance))
            continue
        name = next(name for name in names if name).lower()
        value = instance.parameters.get(name)
        if value is None:
            _report_no_value(name, entry.part(*match.span()), instance, report)
            return None
        fragments.extend(value)
    fragments.extend(_literal(entry, end, len(entry.value), instance))
    return Said(entry, tuple(fragments))


def _literal(entry: Entry, start: int, end: int, instance: Instance) -> list[Fragment]:
    return [Fragment(entry.value[start:end], entry.part(start, end), instance)] if start < end else []


def _report_no_value(name: str, span: Span, instance: Instance, report: Report) -> None:
    template = instance.template
    if name == "inputs":
        if not report.has("CS203", span):
            message = f"{instance.name} needs inputs, which template {template.name} reads here"
            report.add("CS203", span, message, help=f"add inputs= to [{instance.name}]")
    elif name not in template.parameters and not report.has("CS123", span):
        known = ", ".join(f"${key}" for key in (*template.parameters, "inputs"))
        report.add(
            "CS123",
            span,
            f"template {template.name} has no parameter {name}",
            help=did_you_mean(name, [*template.parameters, "inputs"])
            or f"it has {known}; add {name}= to [{TEMPLATE}{template.name}], with a default or without",
        )

"""The layers that one section of a network stands for: a chain of copies, an instance of a template, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from convspec.diagnostics import Label, Report, Span, closest, did_you_mean
from convspec.graph.merging import TEMPLATE, Merged
from convspec.graph.templates import RESERVED, Fragment, Instance, Said, Template, substituted
from convspec.graph.wires import FORMS_WITH_NAMES
from convspec.layers import layer_type
from convspec.layers.base import Layer
from convspec.layers.keys import integer
from convspec.syntax.document import Entry
from convspec.syntax.forms import NAME, NAMES, Form

MAXIMUM_LAYERS = 20_000
MAXIMUM_CHARACTERS = 2**22
MAXIMUM_DEPTH = 16
REPEAT = integer("repeat", minimum=1, maximum=MAXIMUM_LAYERS, doc="copies of the layer, each reading the one before")
# What a part of a value counts beside its characters, so that a great many short ones are too many as well.
_OVERHEAD = 8
_OF_THE_LAST = ("after", "expect")

_Keys = dict[str, Said]


def keys_with_names(section: str, entries: Mapping[str, Entry]) -> Mapping[str, Form[Any]]:
    """The keys whose values hold names of layers, with the forms of these."""
    if section == "@net":
        return {"outputs": NAMES}
    written = entries.get("type")
    cls = layer_type(written.value) if written is not None else None
    return {"inputs": NAMES, "after": NAME} if cls is None else _keys_with_names_of(cls)


@cache
def _keys_with_names_of(cls: type[Layer]) -> Mapping[str, Form[Any]]:
    return {"after": NAME, **{key.name: key.form for key in cls.keys.values() if key.form in FORMS_WITH_NAMES}}


class _TooMuch(Exception):
    """More than anyone can have meant."""


class Maker:
    """Makes the layers that sections of a network stand for.

    aliases: the layer that a name of an instance, of a repeated layer, of one of its copies means. broken: sections that
    could not be made. used: sections that are keys for one layer of those that were made.
    """

    def __init__(
        self, sections: Mapping[str, Merged], templates: Mapping[str, Template | None], report: Report
    ) -> None:
        self.aliases: dict[str, str] = {}
        self.broken: list[str] = []
        self.used: set[str] = set()
        self._sections = sections
        self._templates = templates
        self._report = report
        self._made: dict[str, Merged] = {}
        self._new_aliases: dict[str, str] = {}
        self._names: set[str] = set()
        self._has_failed = False
        self._characters = 0

    def is_asked_for(self, section: Merged) -> bool:
        """Whether a section stands for other layers than itself."""
        if not section.is_layer or "type" not in section.entries:
            return False
        return section.entries["type"].value in self._templates or REPEAT.name in section.entries

    def layers_of(self, section: Merged) -> dict[str, Merged]:
        """The layers that a section of the network stands for; none after a report."""
        keys = {key: Said(entry) for key, entry in section.entries.items()}
        self._made, self._has_failed = {}, False
        self._new_aliases = {}
        try:
            if len(self._names) + self._number_of(keys, ()) > MAXIMUM_LAYERS:
                raise _TooMuch
            self._make(section.name, keys, section, section.header, ())
        except _TooMuch:
            self._report_too_much(section)
        if self._has_failed:
            self.broken.append(section.name)
            return {}
        self.aliases.update(self._new_aliases)
        return self._made

    def _report_too_much(self, section: Merged) -> None:
        self._has_failed = True
        self._report.add(
            "CS122",
            section.header,
            f"{section.name} stands for too much: all templates and repeat= of a spec make at most {MAXIMUM_LAYERS:,} "
            f"layers, and {MAXIMUM_CHARACTERS:,} characters",
            help="correct repeat= of it, or of the layers in its template",
        )

    def _number_of(self, keys: _Keys, above: tuple[str, ...]) -> int:
        """How many layers these keys stand for; keys for one copy alone are not looked at. Raises _TooMuch."""
        copies = 1
        if REPEAT.name in keys:
            copies = REPEAT.read("", keys[REPEAT.name].as_entry(), Report()) or 1
        template = self._templates.get(keys["type"].text) if "type" in keys else None
        instance = self._instance("", keys, template, Report()) if template is not None else None
        if instance is None or instance.template.name in above or len(above) == MAXIMUM_DEPTH:
            return copies
        count = 0
        for layer in instance.template.layers.values():
            inner = self._filled_in(layer, instance, Report())
            count += self._number_of(inner, (*above, instance.template.name)) if inner is not None else 0
            if count * copies > MAXIMUM_LAYERS:
                raise _TooMuch
        return count * copies

    def _make(self, name: str, keys: _Keys, section: Merged, maker: Span, above: tuple[str, ...]) -> None:
        """What a section of the network or of a template stands for: one layer, one instance, or a chain of them."""
        repeat = keys.pop(REPEAT.name, None)
        if repeat is None:
            self._make_one(name, keys, section, maker, above)
            return
        copies = REPEAT.read(name, repeat.as_entry(), self._report)
        if copies is None:
            self._has_failed = True
            return
        place = repeat.as_entry().value_span
        for number in range(1, copies + 1):
            copy = {key: said for key, said in keys.items() if number == copies or key not in _OF_THE_LAST}
            if number > 1:
                copy["inputs"] = Said.inputs(place, Fragment(f"{name}_{number - 1}", place))
            elif "inputs" not in keys and "after" in keys:
                copy["inputs"] = Said.inputs(place, *keys["after"].parts())
            own_name = f"{name}_{number}"
            self._make_one(own_name, self._with_own_keys(own_name, copy, maker), section, maker, above)
        self._new_aliases[name] = f"{name}_{copies}"

    def _make_one(self, name: str, keys: _Keys, section: Merged, maker: Span, above: tuple[str, ...]) -> None:
        written = keys.get("type")
        if written is None or written.text not in self._templates:
            self._make_layer(name, keys, section, maker)
            return
        template = self._templates[written.text]
        if template is None:
            self._has_failed = True
        elif template.name in above or len(above) == MAXIMUM_DEPTH:
            self._has_failed = True
            self._report_endless(written.as_entry().value_span, template.name, above)
        else:
            self._make_instance(name, keys, template, maker, above)

    def _report_endless(self, span: Span, template: str, above: tuple[str, ...]) -> None:
        if self._report.has("CS121", span):
            return
        message = f"templates stand in one another {MAXIMUM_DEPTH} deep, and {template} would be one more"
        if template in above:
            steps = [*above[above.index(template) :], template]
            message = f"template {' has a layer of type '.join(steps)}: there is no end to it"
        self._report.add("CS121", span, message, help="a template can have layers of other templates, not of itself")

    def _make_instance(self, name: str, keys: _Keys, template: Template, maker: Span, above: tuple[str, ...]) -> None:
        instance = self._instance(name, keys, template, self._report)
        if instance is None:
            self._has_failed = True
            return
        self._report_unread(name, keys, template)
        *_, last = template.layers
        for short, layer in template.layers.items():
            inner = self._filled_in(layer, instance, self._report)
            if inner is None:
                self._has_failed = True
                continue
            of_all = ("remove", *_OF_THE_LAST) if short == last else ("remove",)
            inner.update({key: keys[key] for key in of_all if key in keys})
            full_name = f"{name}.{short}"
            own_keys = self._with_own_keys(full_name, inner, maker)
            self._make(full_name, own_keys, layer, maker, (*above, template.name))
        self._new_aliases[name] = f"{name}.{last}"

    def _instance(self, name: str, keys: _Keys, template: Template, report: Report) -> Instance | None:
        """An instance with the values of its parameters. Reports CS203."""
        values: dict[str, tuple[Fragment, ...]] = {}
        for key, default in template.parameters.items():
            said = keys.get(key)
            if said is not None and said.text:
                values[key] = said.parts()
            elif default.value:
                values[key] = (Fragment(default.value, default.value_span),)
        source = keys.get("inputs") or keys.get("after")
        if source is not None:
            values["inputs"] = source.parts()
        missing = [default for key, default in template.parameters.items() if key not in values]
        if not missing:
            return Instance(name, template, values)
        self._report_missing(name, keys, template, missing, report)
        return None

    def _report_missing(
        self, name: str, keys: _Keys, template: Template, missing: Sequence[Entry], report: Report
    ) -> None:
        """Report CS203, at the key that was probably meant to be the first one that is missing, if there is one."""
        unread = [key for key in keys if key not in (*template.parameters, *RESERVED)]
        guess = closest(missing[0].key, unread)
        blank = keys.get(missing[0].key)
        guess = missing[0].key if blank is not None else guess
        place = keys["type"].as_entry().value_span if guess is None else keys[guess].entry.key_span
        if report.has("CS203", place):
            return
        listed = ", ".join(entry.written_key for entry in missing)
        message = f"{name} needs {listed}: parameters of template {template.name} without a default"
        help = f"add {missing[0].written_key}= below this line"
        if blank is not None:
            message, help = (
                f"{name} has {missing[0].written_key}= without a value",
                f"write a value behind it, or give it one in [{TEMPLATE}{template.name}]",
            )
        elif guess is not None:
            message = (
                f"{name} needs {missing[0].written_key}, and has {keys[guess].entry.written_key}, which nothing reads"
            )
            help = f"did you mean '{missing[0].written_key}'?"
        labels = [Label(entry.key_span, "declared here") for entry in missing]
        report.add("CS203", place, message, labels=labels, help=help)

    def _report_unread(self, name: str, keys: _Keys, template: Template) -> None:
        known = [*template.parameters, *RESERVED]
        for key, said in keys.items():
            if key not in known and not self._report.has("CS207", said.entry.key_span):
                taken = f"delete it, or add {said.entry.written_key}= to [{TEMPLATE}{template.name}]"
                message = (
                    f"nothing reads {said.entry.written_key} of {name}: template {template.name} has no such parameter"
                )
                self._report.add("CS207", said.entry.key_span, message, help=did_you_mean(key, known) or taken)

    def _filled_in(self, layer: Merged, instance: Instance, report: Report) -> _Keys | None:
        """The keys of a layer of a template with the parameters of an instance; None after a report."""
        keys: _Keys = {}
        for key, entry in layer.entries.items():
            said = substituted(Said(entry), instance, report)
            if said is not None:
                keys[key] = said
                if "$" in entry.value:
                    self._charge(sum(len(fragment.text) + _OVERHEAD for fragment in said.parts()))
        return keys if len(keys) == len(layer.entries) else None

    def _charge(self, characters: int) -> None:
        self._characters += characters
        if self._characters > MAXIMUM_CHARACTERS:
            raise _TooMuch

    def _with_own_keys(self, name: str, keys: _Keys, maker: Span) -> _Keys:
        """The keys of a layer that is made, and over them those that a section of its name gives to it alone."""
        section = self._sections.get(name)
        if section is None:
            return keys
        if "type" in section.entries:
            self._report_taken(name, section.header, maker)
            return keys
        self.used.add(name)
        return {**keys, **{key: Said(entry) for key, entry in section.entries.items()}}

    def _report_taken(self, name: str, place: Span, maker: Span) -> None:
        self._has_failed = True
        if not self._report.has("CS124", place):
            self._report.add(
                "CS124",
                place,
                f"{name} is the name of a layer that is made already",
                labels=[Label(maker, f"makes {name}")],
                help="call one of them otherwise; a section without type= changes keys of the one that is made",
            )

    def _make_layer(self, name: str, keys: _Keys, section: Merged, maker: Span) -> None:
        self._charge(len(name))
        if len(self._names) == MAXIMUM_LAYERS:
            raise _TooMuch
        if name in self._names:
            self._report_taken(name, maker, maker)
            return
        self._names.add(name)
        written = {"type": keys["type"].as_entry()} if "type" in keys else {}
        forms = keys_with_names(name, written)
        entries = {
            key: said.as_entry_with_names(forms[key]) if key in forms else said.as_entry() for key, said in keys.items()
        }
        self._made[name] = Merged(name, section.header, entries, section.unreadable, maker=maker)

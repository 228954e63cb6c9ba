"""Sections by name: the two files of a spec, each with the sections of one name merged, and both as one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from convspec.diagnostics import Label, Report, SourceFile, Span
from convspec.layers import layer_type
from convspec.layers.base import Layer
from convspec.layers.dialects import CONVSPEC, Dialect
from convspec.layers.keys import Home, Key
from convspec.syntax.document import Document, Entry

FOR_ALL = "DEFAULT"
CLAIM = "expect"
# The keys and the sections that make more of a spec than plain layers.
EDITS = ("remove", "after")
REPEAT = "repeat"
TEMPLATE = "@template "
OF_TYPE = "@params "


class Merged(NamedTuple):
    """All sections of one name as one: the originals merge them, and the last of two equal keys wins.

    unreadable: the first words, in lower case, of lines that the parser reported; perhaps they were to be keys.
    again: the second header, where the name stands twice.
    is_parameters: whether it stands in parameter files alone, which is for a layer of that name to be of use.
    maker: of a layer that a template makes, the header of the section that asks for it.
    """

    name: str
    header: Span
    entries: Mapping[str, Entry]
    unreadable: frozenset[str] = frozenset()
    again: Span | None = None
    is_parameters: bool = False
    maker: Span | None = None

    @property
    def is_layer(self) -> bool:
        return not self.name.startswith("@") and self.name != FOR_ALL and bool(self.name.strip())

    @property
    def layer_class(self) -> type[Layer] | None:
        """The class of its `type=`; None where it says none, or one that there is not."""
        written = self.entries.get("type")
        return None if written is None else layer_type(written.value)

    def without(self, *keys: str) -> Merged:
        if not any(key in self.entries for key in keys):
            return self
        return self._replace(entries={key: entry for key, entry in self.entries.items() if key not in keys})

    def with_entry(self, entry: Entry) -> Merged:
        return self._replace(entries={**self.entries, entry.key: entry})


class Sections(NamedTuple):
    """All that the files of a spec say, with the overrides applied.

    layers: of the layer file, or of the one file. params: of the parameter file, or None in the one-file form.
    files: all that were read, the one that was asked for first. dialect: in which they are to be read.
    broken: sections that could not be made into layers, which has been reported. templates: the names of all templates.
    aliases: of what was made, names of instances and repeated layers, and the layers that they mean.
    is_complete: False where a file that it extends could not be had, which has been reported; then it holds nothing.
    """

    layers: dict[str, Merged]
    params: dict[str, Merged] | None
    files: tuple[SourceFile, ...]
    dialect: Dialect = CONVSPEC
    broken: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}
    is_complete: bool = True

    @property
    def joined(self) -> dict[str, Merged]:
        """Everything as one file, without the keys that stand in the wrong file, where nothing reads them."""
        return self.layers if self.params is None else join_files(self.layers, self.params, self.dialect)


def is_of_template(name: str) -> bool:
    """Whether a section is `[@template block]` or `[@block.conv]`."""
    return name.startswith("@") and (f"{name} ".startswith(TEMPLATE) or is_template_layer(name))


def is_template_layer(name: str) -> bool:
    return name.startswith("@") and "." in name and not name.startswith((TEMPLATE, OF_TYPE))


def needs_expansion(sections: Mapping[str, Merged]) -> bool:
    return any(REPEAT in section.entries or is_of_template(name) for name, section in sections.items())


def merge_sections(document: Document, report: Report) -> dict[str, Merged]:
    """Sections by name. Reports CS106 for a name that comes again, CS107 for a key that does."""
    merged: dict[str, Merged] = {}
    for section in document.sections:
        name = _canonical(section.name)
        before = merged.get(name)
        if before is not None:
            report.add(
                "CS106",
                section.span,
                f"[{section.name}] stands twice; both count as one section",
                labels=[Label(before.header, "first here")],
                help="rename one of them, or join them",
            )
        entries = dict(before.entries) if before else {}
        for entry in section.entries:
            if entry.key in entries:
                report.add(
                    "CS107",
                    entry.key_span,
                    f"{entry.written_key} stands twice in [{section.name}]; the last one counts",
                    labels=[Label(entries[entry.key].key_span, "first here")],
                    help="delete one of them",
                )
            entries[entry.key] = entry
        unreadable = section.unreadable_words.union(before.unreadable if before else ())
        header, again = (before.header, section.span) if before else (section.span, None)
        merged[name] = Merged(name, header, entries, unreadable, again)
    return merged


def _canonical(name: str) -> str:
    """`@params conv` for `@params   conv`; the name of a layer is what it is."""
    return " ".join(name.split()) if name.startswith("@") else name


def key_of(name: str, entry: Entry, dialect: Dialect, *files: Mapping[str, Merged]) -> Key[Any] | None:
    """The key of a layer that an entry is for; None for one that its layer does not know.

    files: sections among which the type of the layer is, the nearest first.
    """
    typed = (sections[name] for sections in files if name in sections and "type" in sections[name].entries)
    section = next(typed, None)
    cls = None if section is None else section.layer_class
    return None if cls is None else cls.keys_in(dialect).get(entry.key)


def join_files(
    layers: Mapping[str, Merged],
    params: Mapping[str, Merged],
    dialect: Dialect,
    report: Report | None = None,
    *,
    below: Mapping[str, Merged] = {},
) -> dict[str, Merged]:
    """A layer file and its parameter file as one, without the keys that stand in the wrong one of them.

    below: the sections of the file that they extend, which may have the types of their layers. Reports CS208.
    """
    joined = dict(layers)
    for name, section in params.items():
        before = joined.get(name)
        if before is None:
            before = Merged(name, section.header, {}, is_parameters=section.is_layer)
        own = _at_home(before, Home.LAYERS, report, dialect, layers, below)
        added = _at_home(section, Home.PARAMS, report, dialect, layers, below)
        entries = {entry.key: entry for entry in (*own, *added)}
        joined[name] = before._replace(entries=entries, unreadable=before.unreadable | section.unreadable)
    return joined


def _at_home(
    section: Merged, home: Home, report: Report | None, dialect: Dialect, *files: Mapping[str, Merged]
) -> list[Entry]:
    """The entries of a section that belong into the file in which they stand."""
    kept = []
    for entry in section.entries.values():
        key = key_of(section.name, entry, dialect, *files)
        if key is None or key.home is home:
            kept.append(entry)
        elif report is not None:
            report_misplaced(section.name, entry, key, home, report)
    return kept


def report_misplaced(section: str, entry: Entry, key: Key[Any], home: Home, report: Report) -> None:
    """Report CS208 for a key that stands in the file `home`, and belongs into the other one."""
    report.add(
        "CS208",
        entry.key_span,
        f"{key.spelling} of {section} stands in the {home.value}, where nothing reads it",
        help=f"move it to [{section}] of the {key.home.value}",
    )


def print_sections(
    sections: Sections, values: Mapping[str, Mapping[str, str]], settings: Mapping[str, str] = {}
) -> str:
    """The text of one file that says the same: one entry a key, no comments, no claims. It names its dialect, unless that
    is ours.

    values: of keys, by section and key, in place of those that stand in the sections. settings: keys of `[@net]`, over
    those that stand there.
    """
    joined = {name: section.without(CLAIM) for name, section in sections.joined.items() if not section.is_parameters}
    given = {name: {**section.entries, **_replaced(section, values.get(name, {}))} for name, section in joined.items()}
    lines = {name: [_line(entry) for entry in entries.values()] for name, entries in given.items()}
    stated = {} if sections.dialect.is_ours else {"dialect": sections.dialect.name}
    if said := {**stated, **settings}:
        of_net = joined["@net"].entries.values() if "@net" in joined else ()
        own = [f"{key}={value}" for key, value in said.items()]
        own += [_line(entry) for entry in of_net if entry.key not in said]
        lines = {"@net": own, **{name: own for name, own in lines.items() if name != "@net"}}
    blocks = ["\n".join([f"[{name}]", *own]) for name, own in lines.items()]
    return "\n\n".join(blocks) + "\n"


def _replaced(section: Merged, values: Mapping[str, str]) -> Mapping[str, Entry]:
    return {key: section.entries[key]._replace(value=value) for key, value in values.items() if key in section.entries}


def _line(entry: Entry) -> str:
    return f"{entry.written_key}={entry.value.replace(chr(10), ' ')}"

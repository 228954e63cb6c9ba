"""From Documents to a Graph: sections become typed layers, names become edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from convspec.diagnostics import Label, Report, SourceFile, Span, closest, did_you_mean
from convspec.graph.graph import Graph
from convspec.graph.settings import DataSettings, NetSettings, TrainSettings
from convspec.layers import layer_type, layer_types
from convspec.layers.base import Layer
from convspec.layers.keyed import DEFAULTS, Keyed, RawSection
from convspec.layers.keys import Home, Key
from convspec.syntax.document import Document, Entry
from convspec.syntax.parser import parse_document

_SETTINGS: Mapping[str, type[Keyed]] = {"@net": NetSettings, "@train": TrainSettings, "@data": DataSettings}
_FOR_ALL = "DEFAULT"
_WRONG_INPUTS = ("CS301", "CS302", "CS303", "CS305")


class Merged(NamedTuple):
    """All sections of one name as one: the originals merge them, and the last of two equal keys wins.

    unreadable: the first words, in lower case, of lines that the parser reported; perhaps they were to be keys.
    again: the second header, where the name stands twice.
    """

    name: str
    header: Span
    entries: Mapping[str, Entry]
    unreadable: frozenset[str] = frozenset()
    again: Span | None = None


def resolve(
    layers: Document, params: Document | None, overrides: Sequence[str], report: Report, *, lacks_params: bool = False
) -> Graph:
    """The graph of a layer file and its parameter file, or of a one-file spec (params None).

    overrides: `conv2.filters=192`, `@train.epochs=5`, applied last. lacks_params: the parameter file is missing, which
    has been reported, so that its keys are not asked for. Reports CS106, CS107, CS109, CS110, CS2xx and CS3xx.
    """
    sections = merge_sections(layers, report)
    parameters = None if params is None else merge_sections(params, report)
    apply_overrides(sections, parameters, overrides, report)
    settings = {name: _settings(name, sections, report) for name in _SETTINGS}
    _report_unknown_settings(sections, report)
    defaults = sections[DEFAULTS].entries if DEFAULTS in sections else {}
    if parameters is not None and DEFAULTS in parameters:
        defaults = {**defaults, **parameters[DEFAULTS].entries}
    for_all = {**_entries_of(_FOR_ALL, sections), **_entries_of(_FOR_ALL, parameters or {})}
    built: dict[str, Layer | None] = {}
    for section in sections.values():
        if not section.name.startswith("@") and section.name != _FOR_ALL and section.name.strip():
            raw = RawSection(
                section.name,
                section.header,
                _entries_of(section.name, sections),
                None if parameters is None else _entries_of(section.name, parameters),
                defaults,
                lacks_params,
                parameters[section.name].header if parameters and section.name in parameters else None,
                for_all,
                section.unreadable,
            )
            built[section.name] = _layer(raw, report)
    if not built:
        report.add(
            "CS110",
            Span(layers.file, 0, 0),
            f"{layers.file.name} has no layers",
            help="a layer is a section such as [data] with type=data and dataIdx=0",
        )
    _report_orphan_parameters(parameters, built, report)
    _report_unread_defaults(defaults, built, report)
    net, train, data = settings["@net"], settings["@train"], settings["@data"]
    assert isinstance(net, NetSettings)
    assert isinstance(train, TrainSettings)
    assert isinstance(data, DataSettings)
    graph = Graph({name: layer for name, layer in built.items() if layer is not None}, net, train, data)
    _report_bad_inputs(graph, built, {name: s.again for name, s in sections.items() if s.again}, report)
    graph.report_cycles(report)
    _report_unread_layers(graph, built, report)
    _report_without_effect(graph, report)
    return graph


def print_resolved(layers: Document, params: Document | None, overrides: Sequence[str]) -> str:
    """A spec as one file with its overrides applied: one entry a key, no comments, no key that stood in the wrong file."""
    silent = Report()
    sections = merge_sections(layers, silent)
    parameters = None if params is None else merge_sections(params, silent)
    apply_overrides(sections, parameters, overrides, silent)
    for name, section in (parameters or {}).items():
        before = sections.get(name, Merged(name, section.header, {}))
        own = [e for e in before.entries.values() if _home_of(name, e, sections) is not Home.PARAMS]
        added = [e for e in section.entries.values() if _home_of(name, e, sections) is not Home.LAYERS]
        sections[name] = before._replace(entries={entry.key: entry for entry in (*own, *added)})
    blocks = []
    for section in sections.values():
        lines = [f"{entry.written_key}={entry.value.replace(chr(10), ' ')}" for entry in section.entries.values()]
        blocks.append("\n".join([f"[{section.name}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def merge_sections(document: Document, report: Report) -> dict[str, Merged]:
    """Sections by name. Reports CS106 for a name that comes again, CS107 for a key that does."""
    merged: dict[str, Merged] = {}
    for section in document.sections:
        before = merged.get(section.name)
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
        merged[section.name] = Merged(section.name, header, entries, unreadable, again)
    return merged


def apply_overrides(
    sections: dict[str, Merged], parameters: dict[str, Merged] | None, overrides: Sequence[str], report: Report
) -> None:
    """Set `section.key=value` in the sections. Reports CS213 for an override that names no section."""
    for text in overrides:
        document = _override_document(text, sections, report)
        if document is None:
            continue
        section = document.sections[0]
        entry = next(section.entries)
        is_parameter = _home_of(section.name, entry, sections) is Home.PARAMS
        place = parameters if parameters is not None and is_parameter else sections
        before = place.get(section.name) or Merged(section.name, section.span, {})
        place[section.name] = before._replace(entries={**before.entries, entry.key: entry})


def _override_document(text: str, sections: Mapping[str, Merged], report: Report) -> Document | None:
    path, equals, value = text.partition("=")
    name, dot, key = path.strip().rpartition(".")
    is_known = name in sections or name in _SETTINGS or name == DEFAULTS
    if equals and dot and key and is_known and "\n" not in text:
        source = SourceFile(f"--set {text}", f"[{name}]\n{key}={value}\n")
        document = parse_document(source, report)
        if len(document.sections) == 1 and next(document.sections[0].entries, None) is not None:
            return document
    span = Span(SourceFile(f"--set {text}", text), 0, len(text))
    if not (equals and dot and key):
        message, help = f"'{text}' is not section.key=value", "write --set conv2.filters=192, say"
    else:
        message = f"'{text}' names no section of this spec"
        help = did_you_mean(name, [*sections, *_SETTINGS]) or "name a layer, @net, @params, @train or @data"
    report.add("CS213", span, message, help=help)
    return None


def _home_of(name: str, entry: Entry, sections: Mapping[str, Merged]) -> Home | None:
    """The file that a key of a layer belongs to; None for a key that its layer does not know."""
    written = sections[name].entries.get("type") if name in sections else None
    cls = layer_type(written.value) if written is not None else None
    key = cls.keys.get(entry.key) if cls is not None else None
    return None if key is None else key.home


def _entries_of(name: str, sections: Mapping[str, Merged]) -> Mapping[str, Entry]:
    """Entries of a section; `[DEFAULT]` feeds every one, as in ConfigParser."""
    for_all = sections[_FOR_ALL].entries if _FOR_ALL in sections else {}
    own = sections[name].entries if name in sections else {}
    return {**for_all, **own} if for_all else own


def _settings(name: str, sections: Mapping[str, Merged], report: Report) -> Keyed:
    cls = _SETTINGS[name]
    merged = sections.get(name)
    if merged is None:
        return cls(RawSection(name, Span(SourceFile(name, ""), 0, 0), {}), report)
    section = cls(RawSection(name, merged.header, merged.entries), report)
    _report_unread_keys(name, merged.entries.values(), cls.keys, report)
    return section


def _report_unknown_settings(sections: Mapping[str, Merged], report: Report) -> None:
    known = [*_SETTINGS, DEFAULTS]
    for section in sections.values():
        if section.name.startswith("@") and section.name not in known:
            report.add(
                "CS109",
                section.header,
                f"there is no section [{section.name}]",
                help=did_you_mean(section.name, known) or f"sections with @ are {', '.join(known)}",
            )


def _layer(raw: RawSection, report: Report) -> Layer | None:
    """The typed layer of a section, or None where its type is not known."""
    written = raw.layers.get("type")
    if written is None:
        if "type" not in raw.unreadable:
            _report_no_type(raw, report)
        return None
    cls = layer_type(written.value)
    if cls is None:
        types = layer_types()
        report.add(
            "CS202",
            written.value_span,
            f"{raw.name} has type '{written.value}', which does not exist",
            help=did_you_mean(written.value, types) or f"types are {', '.join(types)}",
        )
        return None
    layer = cls(raw, report)
    layer.validate(report)
    _report_unread_layer_keys(raw, layer, report)
    return layer


def _report_no_type(raw: RawSection, report: Report) -> None:
    guess = closest("type", list(raw.layers))
    if guess is not None:
        entry = raw.layers[guess]
        message = f"{raw.name} has no type, and has {entry.written_key}, which nothing reads"
        report.add("CS201", entry.key_span, message, help="did you mean 'type'?")
        return
    types = "type=conv, say" if "filters" in raw.layers else "type=, such as conv, fc, pool or softmax"
    report.add("CS201", raw.header, f"{raw.name} has no type", help=f"add {types}")


def _report_unread_layer_keys(raw: RawSection, layer: Layer, report: Report) -> None:
    keys: dict[str, Key[Any] | None] = {"type": None, **layer.keys}
    for home, every in ((Home.LAYERS, raw.layers), (Home.PARAMS, raw.params or {})):
        is_own = (e for e in every.values() if e.key_span not in layer.explained and not raw.is_shared(e))
        entries = list(is_own)
        _report_unread_keys(raw.name, entries, keys, report)
        for entry in entries:
            key = keys.get(entry.key)
            if raw.params is not None and key is not None and key.home is not home:
                report.add(
                    "CS208",
                    entry.key_span,
                    f"{key.spelling} of {raw.name} stands in the {home.value}, where nothing reads it",
                    help=f"move it to [{raw.name}] of the {key.home.value}",
                )


def _report_unread_keys(
    section: str, entries: Iterable[Entry], keys: Mapping[str, Key[Any] | None], report: Report
) -> None:
    spellings = {name: name if key is None else key.spelling for name, key in keys.items()}
    for entry in entries:
        if entry.key not in keys:
            guess = closest(entry.key, spellings)
            taken = f"delete it; {section} takes {', '.join(spellings.values())}"
            report.add(
                "CS207",
                entry.key_span,
                f"nothing reads {entry.written_key} of {section}",
                help=taken if guess is None else f"did you mean '{spellings[guess]}'?",
            )


def _report_without_effect(graph: Graph, report: Report) -> None:
    """Report CS214, once for all layers that have such a key."""
    found: dict[str, list[tuple[Key[Any], Span]]] = {}
    for layer in graph.layers.values():
        for key in layer.keys.values():
            if not key.has_effect and layer.is_given(key.attribute):
                found.setdefault(key.name, []).append((key, layer.span(key.attribute)))
    for (key, span), *others in found.values():
        layers = f", here and in {len(others)} more layers" if others else ""
        report.add("CS214", span, f"{key.spelling} has no effect{layers}", notes=[f"{key.spelling}: {key.doc}"])


def _report_orphan_parameters(
    parameters: Mapping[str, Merged] | None, built: Mapping[str, Layer | None], report: Report
) -> None:
    for section in (parameters or {}).values():
        if section.name not in built and section.name not in (DEFAULTS, _FOR_ALL):
            report.add(
                "CS209",
                section.header,
                f"[{section.name}] holds parameters of a layer that does not exist",
                help=did_you_mean(section.name, built) or "delete it, or give it the name of a layer",
            )


def _report_unread_defaults(defaults: Mapping[str, Entry], built: Mapping[str, Layer | None], report: Report) -> None:
    """Report CS207 for entries of `[@params]` that no layer of this spec takes."""
    readable = {key.name: key for layer in built.values() if layer for key in layer.keys.values() if key.takes_default}
    _report_unread_keys(DEFAULTS, defaults.values(), readable, report)


def _report_bad_inputs(
    graph: Graph, built: Mapping[str, Layer | None], twice: Mapping[str, Span], report: Report
) -> None:
    """Report CS301, CS305 and CS306. twice: second headers of a name, one of which was perhaps to be the missing layer."""
    for layer in graph.layers.values():
        seen: set[str] = set()
        for name in layer.inputs or ():
            span = layer.part("inputs", name)
            if name.text not in built:
                layer.is_broken = True
                more = ", ..." if len(built) > 8 else ""
                help = did_you_mean(name.text, built) or f"the layers are {', '.join(list(built)[:8])}{more}"
                twin = closest(name.text, twice) or (next(iter(twice)) if len(twice) == 1 else None)
                labels = [Label(twice[twin], f"[{twin}] again: was this to be {name.text}?")] if twin else []
                message = f"{layer.name} reads {name.text}, which does not exist"
                report.add("CS301", span, message, labels=labels, help=help)
            elif name.text in seen:
                report.add(
                    "CS306",
                    span,
                    f"{layer.name} reads {name.text} twice",
                    help="take one of them out, unless it is meant",
                )
            seen.add(name.text)
        _report_bad_sources(layer, graph, report)


def _report_bad_sources(layer: Layer, graph: Graph, report: Report) -> None:
    sources = [graph.layers[name] for name in layer.input_names if name in graph.layers]
    for name in layer.inputs or ():
        source = graph.layers.get(name.text)
        if source is not None and source.is_cost and source is not layer:
            layer.is_broken = True
            report.add(
                "CS305",
                layer.part("inputs", name),
                f"{layer.name} reads {source.name}, which is a cost; nothing reads a cost",
                help=f"read {source.input_names[-1]} instead" if source.input_names else None,
            )
    if not layer.is_broken and len(sources) == layer.input_count:
        layer.validate_sources(sources, report)


def _report_unread_layers(graph: Graph, built: Mapping[str, Layer | None], report: Report) -> None:
    """Report CS304 for layers that nothing reads, and CS301 for outputs of `[@net]` that do not exist.

    Where some inputs are wrong, it is not known either what is read.
    """
    outputs = {name.text for name in graph.net.outputs or ()}
    for name in graph.net.outputs or ():
        if name.text not in built:
            span = graph.net.part("outputs", name)
            help = did_you_mean(name.text, built)
            report.add("CS301", span, f"the network gives {name.text}, which does not exist", help=help)
    if None in built.values() or any(d.code in _WRONG_INPUTS for d in report):
        return
    if any(layer.input_counts[0] > 0 and not layer.input_names for layer in graph.layers.values()):
        return
    for layer in graph.layers.values():
        if not layer.is_cost and not graph.readers[layer.name] and layer.name not in outputs:
            report.add(
                "CS304",
                layer.header,
                f"nothing reads {layer.name}",
                help=f"delete it, name it in inputs= of another layer, or add outputs={layer.name} to [@net]",
            )

"""From Documents to a Graph: sections become typed layers, names become edges."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from convspec.diagnostics import Report, SourceFile, Span, closest, did_you_mean, listed
from convspec.graph.connections import report_bad_inputs, report_unread_layers
from convspec.graph.defaults import read_type_defaults, report_unread_defaults, report_unread_keys
from convspec.graph.graph import Graph
from convspec.graph.interpolation import interpolate
from convspec.graph.made_names import maker_of
from convspec.graph.merging import FOR_ALL, OF_TYPE, Merged, Sections, report_misplaced
from convspec.graph.restrictions import report_stopped_gradients
from convspec.graph.settings import SETTINGS, DataSettings, NetSettings, TrainSettings
from convspec.graph.sharing import report_sources
from convspec.layers import BUILT_IN, layer_type, layer_types
from convspec.layers.base import Layer
from convspec.layers.dialects import Dialect
from convspec.layers.foreign import type_meant
from convspec.layers.keyed import DEFAULTS, Keyed, RawSection, Remark
from convspec.layers.keys import REQUIRED, Home, Key, report_fault
from convspec.syntax.document import Entry

Settings = TypeVar("Settings", bound=Keyed)


def resolve(spec: Sections, report: Report, *, lacks_params: bool = False) -> Graph:
    """The graph of the sections of a spec.

    lacks_params: the parameter file is missing, which has been reported, so that its keys are not asked for. Reports
    CS109, CS110, CS2xx and CS3xx.
    """
    sections, parameters = spec.layers, spec.params
    net = _settings("@net", NetSettings, sections, report)
    train = _settings("@train", TrainSettings, sections, report)
    data = _settings("@data", DataSettings, sections, report)
    _report_unknown_settings(sections, report)
    defaults = _Defaults.of(spec, report)
    unmade = _unmade(spec)
    built: dict[str, Layer | None] = dict.fromkeys(spec.broken)
    for section in sections.values():
        if section.is_layer and not section.is_parameters:
            since = len(report)
            built[section.name] = _layer(_raw(section, spec, defaults, lacks_params=lacks_params), spec, unmade, report)
            if section.maker is not None and len(report) > since:
                report.attribute(since, section.maker)
    if not built and spec.is_complete:
        _report_no_layers(spec.files[0], net, sections, report)
    _report_orphan_parameters(sections, parameters or {}, built, report)
    report_unread_defaults(defaults.entries, built, report)
    known = {name: layer for name, layer in built.items() if layer is not None}
    graph = Graph(known, net, train, data, spec.dialect)
    twice = {name: s.again for name, s in sections.items() if s.again}
    report_bad_inputs(graph, built, spec.aliases, twice, report)
    report_sources(graph, built, report)
    graph.report_cycles(report)
    report_stopped_gradients(graph, report)
    report_unread_layers(graph, built, report)
    _report_without_effect(graph, report)
    _report_remarks(graph, report)
    return graph


class _Defaults(NamedTuple):
    """Entries that many layers share: of `[@params]`, of `[@params TYPE]` by type, and of `[DEFAULT]`."""

    entries: Mapping[str, Entry]
    by_type: Mapping[str, Mapping[str, Entry]]
    for_all: Mapping[str, Entry]

    @classmethod
    def of(cls, spec: Sections, report: Report) -> _Defaults:
        """Reports what `read_type_defaults` does."""
        files = (spec.layers, spec.params or {})
        entries, for_all = (
            {key: entry for file in files if name in file for key, entry in file[name].entries.items()}
            for name in (DEFAULTS, FOR_ALL)
        )
        return cls(entries, read_type_defaults(*files, spec.templates, spec.dialect, report), for_all)


def _raw(section: Merged, spec: Sections, defaults: _Defaults, *, lacks_params: bool) -> RawSection:
    """A section with all that may supply its keys, references in values filled in."""
    name, params = section.name, spec.params
    own = _entries_of(name, spec.layers)
    of_params = None if params is None else _entries_of(name, params)
    scope = {**defaults.entries, **own, **(of_params or {})}
    entries = interpolate(name, own, own)
    of_type = defaults.by_type.get(entries["type"].value, {}) if "type" in entries else {}
    return RawSection(
        name=name,
        header=section.header,
        layers=entries,
        params=None if of_params is None else interpolate(name, of_params, of_params),
        defaults=interpolate(name, defaults.entries, scope),
        type_defaults=interpolate(name, of_type, scope),
        for_all=defaults.for_all,
        lacks_params=lacks_params,
        params_header=params[name].header if params is not None and name in params else None,
        unreadable=section.unreadable,
        dialect=spec.dialect,
        maker=section.maker,
    )


def _report_no_layers(file: SourceFile, net: NetSettings, sections: Mapping[str, Merged], report: Report) -> None:
    """Report CS110, at the key that was probably meant to be `extends`, if there is one."""
    written = sections["@net"].entries if "@net" in sections else {}
    guess = closest("extends", [key for key in written if key not in net.keys])
    if guess is not None:
        message = f"{file.name} has no layers, and has {written[guess].written_key}, which nothing reads"
        report.add("CS110", written[guess].key_span, message, help="did you mean 'extends'?")
        return
    help = "a layer is a section such as [data] with type=data and dataIdx=0"
    report.add("CS110", Span(file, 0, 0), f"{file.name} has no layers", help=help)


def _entries_of(name: str, sections: Mapping[str, Merged]) -> Mapping[str, Entry]:
    """Entries of a section; `[DEFAULT]` feeds every one, as in ConfigParser."""
    for_all = sections[FOR_ALL].entries if FOR_ALL in sections else {}
    own = sections[name].entries if name in sections else {}
    return {**for_all, **own} if for_all else own


def _settings(name: str, cls: type[Settings], sections: Mapping[str, Merged], report: Report) -> Settings:
    merged = sections.get(name)
    if merged is None:
        return cls(RawSection(name, Span(SourceFile(name, ""), 0, 0), {}), report)
    section = cls(RawSection(name, merged.header, merged.entries), report)
    report_unread_keys(name, merged.entries.values(), cls.keys, report)
    return section


def _report_unknown_settings(sections: Mapping[str, Merged], report: Report) -> None:
    known = [*SETTINGS, DEFAULTS]
    for section in sections.values():
        is_ours = section.name.startswith("@") and not section.name.startswith(OF_TYPE)
        if is_ours and section.name not in known:
            report.add(
                "CS109",
                section.header,
                f"there is no section [{section.name}]",
                help=did_you_mean(section.name, known) or f"sections with @ are {', '.join(known)}",
            )


def _layer(raw: RawSection, spec: Sections, unmade: Collection[str], report: Report) -> Layer | None:
    """The typed layer of a section, or None where its type is not known."""
    written = raw.layers.get("type")
    if written is None:
        if "type" not in raw.unreadable and maker_of(raw.name, unmade) is None:
            _report_no_type(raw, spec, report)
        return None
    if written.fault is not None:
        report_fault(raw.name, written, report)
        return None
    cls = layer_type(written.value)
    if cls is None or not _has_type(raw.dialect, written.value):
        _report_unknown_type(raw, written, spec.templates, report)
        return None
    layer = cls(raw, report)
    layer.validate(report)
    _report_unread_layer_keys(raw, layer, report)
    _report_no_parameters(raw, layer, report)
    return layer


def _report_no_parameters(raw: RawSection, layer: Layer, report: Report) -> None:
    """Report CS203 for a layer without the section in the parameter file that its program looked for.

    `[DEFAULT]` of that file gives it keys, and no section.
    """
    if raw.params is None or raw.params_header is not None or layer.dialect.is_ours or raw.defaults:
        return
    kind = raw.layers.get(layer.type)
    needs = {layer.type, f"{layer.type}={kind.value if kind else ''}"} & layer.dialect.section_types
    has_keys = any(key.home is Home.PARAMS and key.default is REQUIRED for key in layer.keys.values())
    if (not needs and not has_keys) or report.has("CS203", raw.header):
        return
    layer.is_broken = True
    message = (
        f"{raw.name} is not in the parameter file, where {layer.dialect.program} wants a section for each {layer.type}"
    )
    report.add("CS203", raw.header, message, help=f"add [{raw.name}] to the parameter file; it may be empty")


def _has_type(dialect: Dialect, name: str) -> bool:
    """Whether a dialect has a layer type; types that other packages add are in every dialect."""
    return dialect.has_type(name) or name not in BUILT_IN


def _report_unknown_type(raw: RawSection, written: Entry, templates: Sequence[str], report: Report) -> None:
    types = [*templates, *(name for name in layer_types() if _has_type(raw.dialect, name))]
    message = f"{raw.name} has type '{written.value}', which does not exist"
    meant = type_meant(written.value)
    help = f"did you mean '{meant}'?" if meant in types else did_you_mean(written.value, types)
    help = help or f"types are {', '.join(types)}"
    if layer_type(written.value) is not None:
        message = f"{raw.name} has type '{written.value}', which {raw.dialect.program} did not have"
        help = raw.dialect.way_out
    report.add("CS202", written.value_span, message, help=help)


def _report_no_type(raw: RawSection, spec: Sections, report: Report) -> None:
    maker = maker_of(raw.name, spec.aliases)
    if maker is not None:
        _report_unmade(raw, maker, spec, report)
        return
    guess = closest("type", list(raw.layers))
    if guess is not None:
        entry = raw.layers[guess]
        message = f"{raw.name} has no type, and has {entry.written_key}, which nothing reads"
        report.add("CS201", entry.key_span, message, help="did you mean 'type'?")
        return
    others = spec.layers if len(spec.files) > 1 else {}
    types = "type=conv, say" if "filters" in raw.layers else "type=, such as conv, fc, pool or softmax"
    below = [name for name, other in others.items() if other.header.file is not raw.header.file]
    meant = did_you_mean(raw.name, [name for name in spec.aliases if others]) or did_you_mean(raw.name, below)
    message = f"{raw.name} has no type" + (", and the files that are extended have no such layer" if others else "")
    report.add("CS201", raw.header, message, help=meant or f"add {types}")


def _unmade(spec: Sections) -> set[str]:
    """What would make layers, and could not or is of a type that there is not: others are not to miss its layers."""
    sections = spec.layers.values()
    if all("type" in section.entries for section in sections):
        return set(spec.broken)
    untyped = (s.name for s in sections if "type" in s.entries and s.layer_class is None)
    return {*spec.broken, *untyped}


def _report_unmade(raw: RawSection, maker: str, spec: Sections, report: Report) -> None:
    """Report CS201 for keys of one layer among those that an instance or `repeat=` makes, if none has this name."""
    made = [name for name in (*spec.layers, *spec.aliases) if name != raw.name and maker_of(name, (maker,))]
    rest = raw.name.removeprefix(f"{maker}.")
    guess = closest(rest, [name.removeprefix(f"{maker}.") for name in made])
    help = f"did you mean '{maker}.{guess}'?" if guess else f"it makes {listed(made)}"
    copy = f"{maker}_1.{rest}"
    if copy in made:
        help = f"{maker} has copies: write [{copy}] for the first of them"
    report.add("CS201", raw.header, f"{raw.name} has no type, and {maker} makes no layer of this name", help=help)


def _report_unread_layer_keys(raw: RawSection, layer: Layer, report: Report) -> None:
    keys: dict[str, Key[Any] | None] = {"type": None, **layer.keys}
    for home, every in ((Home.LAYERS, raw.layers), (Home.PARAMS, raw.params or {})):
        is_own = (e for e in every.values() if e.key_span not in layer.explained and not raw.is_shared(e))
        entries = [e for e in is_own if not _report_known_unread(layer, e, report)]
        report_unread_keys(raw.name, entries, keys, report)
        for entry in entries:
            key = keys.get(entry.key)
            if raw.params is not None and key is not None and key.home is not home:
                report_misplaced(raw.name, entry, key, home, report)


def _report_known_unread(layer: Layer, entry: Entry, report: Report) -> bool:
    """Report CS207 for a key that another dialect reads, or that is idle here; whether it is one."""
    key = type(layer).keys.get(entry.key)
    if key is None or key.name in layer.keys:
        return False
    message, help = f"nothing reads {key.spelling} of {layer.name}", "delete it"
    if key.name in layer.idle:
        message += f": it has {layer.idle[key.name]}"
    else:
        message += f": {layer.dialect.program} had no such key in {layer.type} layers"
        help += f"; {layer.dialect.way_out}"
    report.add("CS207", entry.key_span, message, help=help)
    return True


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


def _report_remarks(graph: Graph, report: Report) -> None:
    """Report what layers remark on their values: once where several say the same."""
    found: dict[tuple[str, str], dict[Span, Remark]] = {}
    for layer in graph.layers.values():
        for remark in layer.remarks:
            found.setdefault((remark.code, remark.message), {})[remark.span] = remark
    for (code, message), remarks in found.items():
        first, *others = remarks.values()
        places = f", here and in {len(others)} more places" if len(others) > 1 else ", here and in one more place"
        report.add(code, first.span, message + (places if others else ""), notes=[first.note], help=first.help)


def _report_orphan_parameters(
    sections: Mapping[str, Merged],
    parameters: Mapping[str, Merged],
    built: Mapping[str, Layer | None],
    report: Report,
) -> None:
    orphans = [section for section in sections.values() if section.is_parameters]
    known = {DEFAULTS, FOR_ALL, *built}
    orphans += [s for s in parameters.values() if s.name not in known and not s.name.startswith(OF_TYPE)]
    for section in orphans:
        report.add(
            "CS209",
            section.header,
            f"[{section.name}] holds parameters of a layer that does not exist",
            help=did_you_mean(section.name, built) or "delete it, or give it the name of a layer",
        )

"""`--set section.key=value`: overrides from the command line, applied after everything that files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convspec.diagnostics import Report, SourceFile, Span, did_you_mean
from convspec.graph.merging import OF_TYPE, Merged, key_of
from convspec.graph.settings import SETTINGS
from convspec.layers.dialects import Dialect
from convspec.layers.keyed import DEFAULTS
from convspec.layers.keys import Home
from convspec.syntax.document import Document
from convspec.syntax.parser import parse_document

_WITH_BLANK = ("@params.", "@params ", "@template.", "@template ")


def apply_overrides(
    sections: dict[str, Merged],
    parameters: dict[str, Merged] | None,
    overrides: Sequence[str],
    dialect: Dialect,
    report: Report,
    *,
    makes_layers: bool,
) -> dict[str, Span]:
    """Set `section.key=value` in the sections. Reports CS213 for an override that names no section, or `extends`.

    makes_layers: whether names that do not stand there may be those of layers that are made later. Such sections are
    added and returned, with the overrides that name them.
    """
    added: dict[str, Span] = {}
    for text in overrides:
        document = _override_document(text, sections, report, makes_layers=makes_layers)
        if document is None:
            continue
        section = document.sections[0]
        entry = next(section.entries)
        key = key_of(section.name, entry, dialect, sections)
        is_parameter = key is not None and key.home is Home.PARAMS
        place = parameters if parameters is not None and is_parameter else sections
        if makes_layers and section.name not in sections and not section.name.startswith("@"):
            added[section.name] = entry.key_span
        before = place.get(section.name) or Merged(section.name, section.span, {})
        place[section.name] = before._replace(entries={**before.entries, entry.key: entry})
    return added


def _override_document(
    text: str, sections: Mapping[str, Merged], report: Report, *, makes_layers: bool
) -> Document | None:
    path, equals, value = text.partition("=")
    name, dot, key = path.strip().rpartition(".")
    if name.startswith(_WITH_BLANK):
        name = " ".join(name.replace(".", " ", 1).split())
    is_known = name in sections or name in SETTINGS or name == DEFAULTS or name.startswith(OF_TYPE)
    is_known = is_known or (makes_layers and bool(name) and not name.startswith("@"))
    is_extends = name == "@net" and key.strip().lower() == "extends"
    if equals and dot and key and is_known and "\n" not in text and not is_extends:
        source = SourceFile(f"--set {text}", f"[{name}]\n{key}={value}\n")
        document = parse_document(source, report)
        if len(document.sections) == 1 and next(document.sections[0].entries, None) is not None:
            return document
    span = Span(SourceFile(f"--set {text}", text), 0, len(text))
    if not (equals and dot and key):
        message, help = f"'{text}' is not section.key=value", "write --set conv2.filters=192, say"
    elif "\n" in text:
        message, help = f"'{text}' has more than one line", "override a key with a --set of its own each"
    elif is_extends:
        message, help = (
            f"'{text}': what a spec extends is said in its file alone",
            "write extends= under [@net] of a file",
        )
    else:
        message, help = _unknown(text, name, sections)
    report.add("CS213", span, message, help=help)
    return None


def changes_network(overrides: Sequence[str]) -> bool:
    """Whether any of these overrides is of the network, and not of its training or its data."""
    return any(not text.strip().startswith(("@train.", "@data.")) for text in overrides)


def report_unused(added: Mapping[str, Span], sections: Mapping[str, Merged], report: Report) -> None:
    """Report CS213 for overrides of layers that were not made. sections: with the layers that were."""
    for name, span in added.items():
        message, help = _unknown(span.file.name.removeprefix("--set "), name, sections)
        report.add("CS213", span, message, help=help)


def _unknown(text: str, name: str, sections: Mapping[str, Merged]) -> tuple[str, str]:
    help = did_you_mean(name, [*sections, *SETTINGS]) or "name a layer, @net, @params, @train or @data"
    return f"'{text}' names no section of this spec", help

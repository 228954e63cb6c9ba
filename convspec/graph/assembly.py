"""From the files of a spec to its sections: all that is said before anyone asks what it means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from convspec.diagnostics import Report
from convspec.graph.dialect import recognize
from convspec.graph.merging import Merged, Sections, merge_sections
from convspec.graph.overrides import apply_overrides
from convspec.layers.dialects import CONVSPEC, NAMES, Dialect, dialect_named
from convspec.syntax.document import Document, Entry


def assemble(
    layers: Document,
    params: Document | None,
    overrides: Sequence[str],
    report: Report,
    *,
    dialect: Dialect | None = None,
    lacks_params: bool = False,
) -> Sections:
    """The sections of a layer file and its parameter file, or of a one-file spec (params None).

    overrides: `conv2.filters=192`, `@train.epochs=5`, applied last. dialect: in which to read them, over what `[@net]`
    says; without either it is recognised. lacks_params: the one file is a layer file whose parameters are missing.
    Reports CS106, CS107 and CS213.
    """
    sections = merge_sections(layers, report)
    parameters = None if params is None else merge_sections(params, report)
    # What stands where depends on the dialect, which `--set @net.dialect=ccn2` may name.
    of_settings = [text for text in overrides if text.startswith("@")]
    apply_overrides(sections, parameters, of_settings, CONVSPEC, report)
    dialect = dialect or _stated(sections) or _recognized(sections, {} if lacks_params else parameters)
    apply_overrides(sections, parameters, [text for text in overrides if text not in of_settings], dialect, report)
    files = (layers.file,) if params is None else (layers.file, params.file)
    return Sections(sections, parameters, files, dialect)


def _stated(sections: Mapping[str, Merged]) -> Dialect | None:
    """What `[@net] dialect=` names; of a word that names none, `NetSettings` speaks."""
    entry = sections["@net"].entries.get("dialect") if "@net" in sections else None
    return dialect_named(entry.value) if entry is not None and entry.value in NAMES else None


def _recognized(layers: Mapping[str, Merged], params: Mapping[str, Merged] | None) -> Dialect:
    has_settings = any(name.startswith("@") for name in (*layers, *(params or ())))
    return recognize(_entries(layers), None if params is None else _entries(params), has_settings=has_settings)


def _entries(sections: Mapping[str, Merged]) -> Iterable[Entry]:
    return chain.from_iterable(section.entries.values() for section in sections.values())

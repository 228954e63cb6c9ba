"""From the files of a spec to its sections: all that is said before anyone asks what it means.

Where a spec is more than plain sections, `changes` makes plain ones of it; most specs are not, and do not load it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain as chained

from convspec.diagnostics import Report
from convspec.graph.dialect import recognize
from convspec.graph.extension import Level, Ranks, lay_over_one_another, read_chain
from convspec.graph.files import SpecFiles
from convspec.graph.merging import EDITS, Merged, Sections, join_files, needs_expansion
from convspec.graph.overrides import apply_overrides
from convspec.layers.dialects import NAMES, Dialect, dialect_named
from convspec.syntax.document import Entry


def assemble(
    spec: SpecFiles,
    overrides: Sequence[str],
    report: Report,
    *,
    dialect: Dialect | None = None,
) -> Sections:
    """The sections of a spec, of one file or two, and of what it extends.

    overrides: `conv2.filters=192`, `@train.epochs=5`, laid over what all files say; layers are taken out and put in
    after that. Where there is more than plain sections, the two files of a spec are joined into one. dialect: in which
    to read them, over what `[@net]` says; without either it is recognised, by the file that extends nothing. Reports
    CS106, CS107, CS109, CS113, CS120 to CS124, CS203, CS207, CS208, CS213, CS301, CS307 and CS308, and what
    `read_base` reports.
    """
    chain = read_chain(spec, report)
    if chain is None:
        return Sections({}, None, spec.sources, is_complete=False)
    levels = [Level.of(files, report) for files in chain]
    # What stands where depends on the dialect, which `--set @net.dialect=ccn2` may name.
    dialect = dialect or _stated(overrides, levels) or _recognized(levels[-1], chain[-1])
    sections, parameters = levels[0]
    if len(levels) > 1:
        sections, parameters = lay_over_one_another(levels, dialect, report), None
    makes_layers = needs_expansion(sections)
    added = apply_overrides(sections, parameters, overrides, dialect, report, makes_layers=makes_layers)
    files = tuple(chained.from_iterable(each.sources for each in chain))
    makes_layers = makes_layers or (bool(overrides) and needs_expansion(sections))
    if not makes_layers and not _is_edited(sections):
        return Sections(sections, parameters, files, dialect)
    if parameters is not None:
        sections = join_files(sections, parameters, dialect, report)
    from convspec.graph.changes import change

    return change(Sections(sections, None, files, dialect), added, Ranks(chain), report)


def _stated(overrides: Sequence[str], levels: Sequence[Level]) -> Dialect | None:
    """What `[@net] dialect=` names; of a word that names none, `NetSettings` speaks."""
    named = [text.removeprefix("@net.dialect=").strip() for text in overrides if text.startswith("@net.dialect=")]
    entries = [level.layers["@net"].entries.get("dialect") for level in levels if "@net" in level.layers]
    words = [*reversed(named), *(entry.value for entry in entries if entry is not None)]
    return dialect_named(words[0]) if words and words[0] in NAMES else None


def _recognized(level: Level, files: SpecFiles) -> Dialect:
    params = {} if files.lacks_params else level.params
    has_settings = any(name.startswith("@") for name in (*level.layers, *(params or ())))
    return recognize(_entries(level.layers), None if params is None else _entries(params), has_settings=has_settings)


def _entries(sections: Mapping[str, Merged]) -> Iterable[Entry]:
    return chained.from_iterable(section.entries.values() for section in sections.values())


def _is_edited(sections: Mapping[str, Merged]) -> bool:
    return any(key in section.entries for section in sections.values() for key in EDITS)

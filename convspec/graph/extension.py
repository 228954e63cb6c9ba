"""`[@net] extends=FILE`: a spec that is another one with changes.

The files of a chain are laid over one another, from the one that extends nothing up: a key overrides the one below, a
section that is new is added. Nothing is taken over of what a file says of itself alone: its name, its note, and what
it expects sizes to be. A pair of layer file and parameter file counts as one file here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from convspec.diagnostics import Report, SourceFile, Span
from convspec.graph.files import EXTENDS, SpecFiles, extends_entry, read_base
from convspec.graph.merging import CLAIM, Merged, join_files, merge_sections
from convspec.layers import layer_type
from convspec.layers.dialects import Dialect
from convspec.syntax.document import Entry

MAXIMUM_FILES = 32
_NET = "@net"
_OF_ITS_FILE = {_NET: (EXTENDS, "name", "note")}


class Level(NamedTuple):
    """The sections of one spec of a chain, of its layer file or one file and of its parameter file."""

    layers: dict[str, Merged]
    params: dict[str, Merged] | None

    @classmethod
    def of(cls, files: SpecFiles, report: Report) -> Level:
        """Reports CS106 and CS107."""
        layers = merge_sections(files.layers, report)
        return cls(layers, None if files.params is None else merge_sections(files.params, report))


class Ranks:
    """Which file of a chain a text stands in: 0 for the one that was asked for, 1 for the one that it extends, and so on.

    An override from the command line stands above them all. `last` is the file that extends nothing.
    """

    def __init__(self, chain: Sequence[SpecFiles]) -> None:
        self._ranks = {file: rank for rank, spec in enumerate(chain) for file in spec.sources}
        self.last = len(chain) - 1

    def of(self, span: Span) -> int:
        return self._ranks.get(span.file, -1)


def read_chain(spec: SpecFiles, report: Report) -> tuple[SpecFiles, ...] | None:
    """The spec, the one that it extends, and so on; None where one of them cannot be had. Reports CS113, and what
    `read_base` does."""
    chain = [spec]
    seen = {_identity(spec.layers.file)}
    while (entry := extends_entry(chain[-1].layers)) is not None:
        base = read_base(entry, report)
        if base is None:
            return None
        if _identity(base.layers.file) in seen or len(chain) == MAXIMUM_FILES:
            _report_endless(chain, base, entry.value_span, report)
            return None
        seen.add(_identity(base.layers.file))
        chain.append(base)
    return tuple(chain)


def _identity(file: SourceFile) -> str:
    return os.path.realpath(file.name.replace("\0", ""))


def _report_endless(chain: list[SpecFiles], base: SpecFiles, span: Span, report: Report) -> None:
    name = base.layers.file.name
    identities = [_identity(spec.layers.file) for spec in chain]
    if _identity(base.layers.file) not in identities:
        message = f"{chain[0].layers.file.name} extends {MAXIMUM_FILES} files, one another, and {name} is one more"
        report.add("CS113", span, message, help="extend one of the files further down directly")
        return
    cycle = [spec.layers.file.name for spec in chain[identities.index(_identity(base.layers.file)) :]]
    if len(cycle) == 1:
        message = f"{name} extends itself"
        help = (
            "name another file; specs/alexnet.cfg is the one that comes with convspec, unless you have a folder specs"
        )
    else:
        message = f"files extend one another in a cycle: {' extends '.join([*cycle, name])}"
        help = "one of them must stand on its own: take its extends= out"
    report.add("CS113", span, message, help=help)


def lay_over_one_another(levels: Sequence[Level], dialect: Dialect, report: Report) -> dict[str, Merged]:
    """The sections of all specs of a chain as those of one file. Reports CS208."""
    below: dict[str, Merged] = {}
    for position, (layers, params) in reversed(list(enumerate(levels))):
        joined = layers if params is None else join_files(layers, params, dialect, report, below=below)
        below = _laid_over(below, joined)
        if position:
            below = _without_what_is_of_its_file(below)
    if _NET in below:
        below[_NET] = below[_NET].without(EXTENDS)
    return below


def _laid_over(below: Mapping[str, Merged], above: Mapping[str, Merged]) -> dict[str, Merged]:
    result = dict(below)
    for name, section in above.items():
        before = result.get(name)
        if before is None:
            result[name] = section
            continue
        result[name] = before._replace(
            entries={**_entries_that_stay(before, section), **section.entries},
            unreadable=before.unreadable | section.unreadable,
            again=section.again,
        )
    return result


def _entries_that_stay(before: Merged, section: Merged) -> Mapping[str, Entry]:
    """Entries of a section below. Where it becomes a layer of another type, those that such a layer takes."""
    written = section.entries.get("type")
    old = before.entries.get("type")
    cls = layer_type(written.value) if written is not None and (old is None or old.value != written.value) else None
    if cls is None:
        return before.entries
    return {key: entry for key, entry in before.entries.items() if key in cls.keys}


def _without_what_is_of_its_file(sections: Mapping[str, Merged]) -> dict[str, Merged]:
    result = {}
    for name, section in sections.items():
        dropped = [key for key in (*_OF_ITS_FILE.get(name, ()), CLAIM) if key in section.entries]
        entries = {key: entry for key, entry in section.entries.items() if key not in dropped}
        result[name] = section._replace(entries=entries) if dropped else section
    return result

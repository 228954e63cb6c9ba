"""Templates, `repeat=`, `after=` and `remove=1` turned into plain sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from convspec.diagnostics import Report, Span
from convspec.graph.edits import apply_edits
from convspec.graph.expansion import expand
from convspec.graph.extension import Ranks
from convspec.graph.merging import Merged, Sections
from convspec.graph.overrides import report_unused
from convspec.layers.keyed import DEFAULTS


def change(spec: Sections, added: Mapping[str, Span], ranks: Ranks, report: Report) -> Sections:
    """The sections of one file, with the layers that are to be made, without those that are to go.

    added: sections that overrides have for layers which are to be made, and these overrides. Reports CS109, CS120 to
    CS124, CS203, CS207, CS213, CS301, CS307 and CS308.
    """
    made = expand(spec.layers, report)
    unused = {name: span for name, span in added.items() if made.sections.get(name) is spec.layers[name]}
    kept = {name: section for name, section in made.sections.items() if name not in unused}
    report_unused(unused, kept, report)
    edited, removed = apply_edits(kept, ranks, report)
    layers = _without_defaults_of(removed, edited)
    return spec._replace(layers=layers, broken=made.broken, templates=made.templates, aliases=made.aliases)


def _without_defaults_of(removed: Sequence[Merged], sections: dict[str, Merged]) -> dict[str, Merged]:
    """Without the entries of `[@params]` that only the layers took which are gone."""
    if removed and DEFAULTS in sections:
        unread = _takes_default(removed) - _takes_default(sections.values())
        sections[DEFAULTS] = sections[DEFAULTS].without(*unread)
    return sections


def _takes_default(sections: Iterable[Merged]) -> set[str]:
    """The keys that these layers take from `[@params]`."""
    classes = {cls for section in sections if (cls := section.layer_class) is not None}
    return {name for cls in classes for name, key in cls.keys.items() if key.takes_default}

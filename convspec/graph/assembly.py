"""From the files of a spec to its sections: all that is said before anyone asks what it means."""

from __future__ import annotations

from collections.abc import Sequence

from convspec.diagnostics import Report
from convspec.graph.merging import Sections, merge_sections
from convspec.graph.overrides import apply_overrides
from convspec.syntax.document import Document


def assemble(layers: Document, params: Document | None, overrides: Sequence[str], report: Report) -> Sections:
    """The sections of a layer file and its parameter file, or of a one-file spec (params None).

    overrides: `conv2.filters=192`, `@train.epochs=5`, applied last. Reports CS106, CS107 and CS213.
    """
    sections = merge_sections(layers, report)
    parameters = None if params is None else merge_sections(params, report)
    apply_overrides(sections, parameters, overrides, report)
    files = (layers.file,) if params is None else (layers.file, params.file)
    return Sections(sections, parameters, files)

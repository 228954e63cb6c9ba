"""The files of a spec: where they are looked for, and what stands in them, section by section.

A spec is one file, or a layer file with a parameter file; and, with `[@net] extends=FILE`, the files of another spec.
Where a file that is named is not there, one of ours may be meant: `specs/alexnet.cfg`, from any folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from convspec.diagnostics import Diagnostic, DiagnosticError, Report, SourceFile, Span
from convspec.resources import spec_path
from convspec.syntax.document import Document, Entry
from convspec.syntax.parser import parse_document, read_source

_TEXT_NAME = "<string>"
_NET = "@net"
EXTENDS = "extends"


class SpecFiles(NamedTuple):
    """A spec as it was read: its layer file, or its one file, and its parameter file.

    lacks_params: the layers are those of a layer file, and there is no parameter file.
    """

    layers: Document
    params: Document | None = None
    lacks_params: bool = False

    @property
    def sources(self) -> tuple[SourceFile, ...]:
        return (self.layers.file,) if self.params is None else (self.layers.file, self.params.file)


def read_spec(layers: str | os.PathLike[str], params: str | os.PathLike[str] | None, report: Report) -> SpecFiles:
    """The files of a spec, by path or as text with a line end in it; `layer-params-x.cfg` beside `layers-x.cfg` where
    `params` is None. Reports CS112, and what `parse_document` does. Raises DiagnosticError where one cannot be read."""
    files = _parsed(_source(layers), None if params is None else _source(params), report)
    if files.lacks_params:
        _report_missing_params(files.layers.file, report)
    return files


def read_base(extends: Entry, report: Report) -> SpecFiles | None:
    """The spec that `extends=` names: relative to the file that says it, or one of ours by name. Reports CS101, CS102."""
    if not extends.value:
        help = "name a file, or take the key out: this spec then stands on its own"
        report.add("CS101", extends.value_span, "extends= names no file", help=help)
        return None
    path = _base_path(extends)
    try:
        if os.path.lexists(path) and not (Path(path).is_file() or Path(path).is_dir()):
            raise DiagnosticError(Diagnostic("CS101", f"{path} is not a file to read specs from"))
        return _parsed(read_source(path), None, report)
    except DiagnosticError as error:
        report.extend(diagnostic._replace(span=extends.value_span) for diagnostic in error.diagnostics)
        return None


def extends_entry(document: Document) -> Entry | None:
    """The last `extends=` under `[@net]`; where there is none, one before the first section, which has been reported."""
    sections = (section for section in document.sections if section.name == _NET)
    lines = [document.prologue, *(section.lines for section in sections)]
    entries = [line for each in lines for line in each if isinstance(line, Entry) and line.key == EXTENDS]
    return entries[-1] if entries else None


def source_paths(files: Iterable[SourceFile]) -> tuple[str, ...]:
    """Paths of all files that a check depends on: those that it read, and those that it looked for in vain, a parameter
    file beside a layer file and the spec that the last one of a chain extends."""
    paths: list[str] = []
    for file in files:
        paths.append(file.name)
        beside = _params_beside(file)
        base = extends_entry(parse_document(file, Report()))
        paths += [] if beside is None else [str(beside)]
        paths += [] if base is None else [_base_path(base)]
    return tuple(dict.fromkeys(paths))


def _parsed(layers: SourceFile, params: SourceFile | None, report: Report) -> SpecFiles:
    """A spec of these files, with the parameter file that stands beside where none is given."""
    beside = _params_beside(layers) if params is None else None
    if beside is not None and beside.is_file():
        params = read_source(str(beside))
    document = parse_document(layers, report)
    if params is None:
        return SpecFiles(document, None, lacks_params=not _is_one_file(document))
    return SpecFiles(document, parse_document(params, report))


def _source(given: str | os.PathLike[str]) -> SourceFile:
    if isinstance(given, str) and "\n" in given:
        return SourceFile(_TEXT_NAME, given)
    return read_source(_path_of(os.fspath(given)))


def _path_of(given: str) -> str:
    """The path itself; or, where nothing is there, the spec of ours that `specs/alexnet.cfg` or `alexnet.cfg` means."""
    path = Path(given)
    if os.path.lexists(given) or path.parent.name not in ("", "specs") or path.suffix != ".cfg":
        return given
    try:
        return str(spec_path(path.name))
    except FileNotFoundError:
        return given


def _base_path(extends: Entry) -> str:
    """A path beside the file that says it, or of a spec of ours."""
    beside = str(Path(extends.value_span.file.name).parent / extends.value)
    ours = _path_of(extends.value)
    return beside if ours == extends.value or os.path.lexists(beside) else ours


def _params_beside(file: SourceFile) -> Path | None:
    """`layer-params-x.cfg` for `layers-x.cfg`, as the originals' files are named."""
    path = Path(file.name)
    if file.name == _TEXT_NAME or not path.name.startswith("layers"):
        return None
    return path.with_name(f"layer-params{path.name.removeprefix('layers')}")


def _is_one_file(document: Document) -> bool:
    """Whether keys of both kinds stand in this file: it has a section of ours, extends a file, or has a learning rate."""
    return extends_entry(document) is not None or any(
        section.name.startswith("@") or any(entry.key in ("epsw", "coeff") for entry in section.entries)
        for section in document.sections
    )


def _report_missing_params(file: SourceFile, report: Report) -> None:
    if not file.text.strip():
        return
    beside = _params_beside(file)
    looked = f"; {beside} is not there" if beside is not None else ""
    report.add(
        "CS112",
        Span(file, 0, 0),
        f"{file.name} says nothing of learning rates{looked}",
        help="name the parameter file with --params, or put the keys in this file, defaults under [@params]",
    )

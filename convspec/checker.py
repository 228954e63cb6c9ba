"""Text in, checked network out: what `convspec check` does, and the first half of every other command."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from convspec.collector import collector_at_rest
from convspec.diagnostics import Diagnostic, DiagnosticError, Report, Severity, SourceFile, Span, did_you_mean
from convspec.graph.assembly import assemble
from convspec.graph.files import SpecFiles, read_spec
from convspec.graph.graph import Graph
from convspec.graph.merging import Sections, print_sections
from convspec.graph.overrides import changes_network
from convspec.graph.placement import Placement, place_layers
from convspec.graph.replicas import report_placement
from convspec.graph.resolve import resolve
from convspec.graph.restrictions import report_shared_passes
from convspec.graph.shapes import Shapes, infer_shapes
from convspec.graph.sharing import report_unlike_weights
from convspec.graph.summary import LayerSummary, Totals, summarize, total
from convspec.graph.turns import report_turns
from convspec.layers.base import Context
from convspec.layers.dialects import NAMES, Dialect, dialect_named
from convspec.layers.keys import MAXIMUM_INTEGER
from convspec.syntax.document import Document


@dataclass(frozen=True)
class Checked:
    """A network and everything that is known about it.

    document: of the layer file. params: of the parameter file, or None in the one-file form. sections: what both say.
    given: keys of `[@net]` that no file has, for the sizes and classes that the caller gave.
    """

    document: Document
    params: Document | None
    sections: Sections
    graph: Graph
    shapes: Shapes
    placement: Placement
    diagnostics: tuple[Diagnostic, ...]
    given: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether there are no errors; warnings and notes do not count."""
        return not self.errors

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity is Severity.ERROR)

    @property
    def has_warnings(self) -> bool:
        return any(d.severity is Severity.WARNING for d in self.diagnostics)

    def require_ok(self) -> Checked:
        """The network itself. Raises DiagnosticError with its errors, where it has any."""
        if not self.ok:
            raise DiagnosticError(*self.errors)
        return self

    @cached_property
    def layers(self) -> tuple[LayerSummary, ...]:
        """A row a layer in file order; sizes are None where they could not be known."""
        return summarize(self.graph, self.shapes, self.placement)

    @cached_property
    def resolved_text(self) -> str:
        """The network as one file: parameter file, overrides, and sizes that were given joined in, comments left out."""
        values = {layer.name: layer.resolved_values() for layer in self.graph.layers.values()}
        return print_sections(self.sections, values, self.given)

    @cached_property
    def totals(self) -> Totals:
        return total(self.layers, self.graph.train.batch or 1)


@collector_at_rest()
def check(
    layers: str | os.PathLike[str],
    params: str | os.PathLike[str] | None = None,
    *,
    inputs: Mapping[str, Sequence[int]] | None = None,
    classes: int | None = None,
    overrides: Sequence[str] = (),
    dialect: str | None = None,
    gpus: int | None = None,
    portable: bool = False,
) -> Checked:
    """Check a network.

    layers: path of a layer file or one-file spec; or its text, if there is a line end in it.
    params: path or text of the parameter file. Where it is None, `layer-params-x.cfg` beside `layers-x.cfg` is taken.
    inputs: size of each data layer by name, `{"data": (3, 227, 227), "labels": (1,)}`, over what `[@net]` says.
    classes: number of classes of the data, over what `[@net]` says.
    overrides: `conv2.filters=192`, `@train.epochs=5`, applied last.
    dialect: ccn1, ccn1_dnouri, alexnet2012, ccn2 or convspec; over what `[@net]` says. Else it is recognised.
    gpus: how many there are, so that `gpu=` can be checked against it.
    portable: warn of what the program of the dialect could not run (CS510).

    Mistakes are in `.diagnostics` of the result. Raises DiagnosticError only where a file cannot be read, ValueError for
    a dialect that is none of these.
    """
    given_dialect = None if dialect is None else _dialect(dialect)
    report = Report()
    files = read_spec(layers, params, report)
    sections = assemble(files, overrides, report, dialect=given_dialect)
    _report_marks(files, sections.dialect, report)
    graph = resolve(sections, report, lacks_params=files.lacks_params)
    dims = _input_dims(graph, inputs or {}, report)
    context = Context(
        report,
        graph.net.rounding,
        graph.net.classes if classes is None else classes,
        dims,
        dialect=graph.dialect,
        is_as_written=not inputs and not changes_network(overrides),
    )
    shapes = infer_shapes(graph, context)
    report_unlike_weights(graph, shapes, report)
    placement = place_layers(graph)
    report_placement(graph, placement, gpus, report)
    if not graph.dialect.is_ours:
        from convspec.graph.quirks import report_quirks

        report_quirks(graph, report)
    report_turns(graph, placement, report)
    report_shared_passes(graph, placement, report)
    if portable:
        from convspec.graph.portability import report_limits

        report_limits(graph, shapes, report)
    diagnostics = tuple(_in_file_order(report, sections.files))
    given = _given(dims if inputs else {}, classes)
    return Checked(files.layers, files.params, sections, graph, shapes, placement, diagnostics, given)


def _given(dims: Mapping[str, tuple[int, ...]], classes: int | None) -> dict[str, str]:
    """The keys of `[@net]` that say what the caller said."""
    sizes = ",".join(f"{name}:{'x'.join(map(str, size))}" for name, size in dims.items() if size)
    return {**({"input": sizes} if sizes else {}), **({"classes": str(classes)} if classes is not None else {})}


def _dialect(name: str) -> Dialect:
    if name not in NAMES:
        raise ValueError(f"dialect is {name!r}; there are {', '.join(NAMES)}")
    return dialect_named(name)


def _report_marks(files: SpecFiles, dialect: Dialect, report: Report) -> None:
    """Report CS119 for files that the original programs could not read, because of what an editor put before them."""
    for document in (files.layers, files.params):
        if document is not None and document.has_mark and not dialect.takes_mark:
            report.add(
                "CS119",
                Span(document.file, 0, min(1, len(document.file.text))),
                f"a byte order mark stands before {document.file.name}, and {dialect.program} does not take it",
                help=f"save it as UTF-8 without a mark; {dialect.way_out}",
            )


def _input_dims(graph: Graph, given: Mapping[str, Sequence[int]], report: Report) -> dict[str, tuple[int, ...]]:
    """Sizes of the data layers: those of `[@net]`, and over them the caller's. One that was refused is empty."""
    said = graph.net.span("input") if graph.net.input else None
    sizes: dict[str, tuple[int, ...]] = {}
    for name, dims, span in (
        *((binding.name, binding.dims, said) for binding in graph.net.input or ()),
        *((name, tuple(value), None) for name, value in given.items()),
    ):
        _report_not_data(name, graph, span, report)
        sizes[name] = _size(name, dims, span, report)
    return sizes


def _report_not_data(name: str, graph: Graph, span: Span | None, report: Report) -> None:
    """Report CS301 for a size of what is no data layer; one whose type could not be read may have been meant as one."""
    layer = graph.layers.get(name)
    if layer is not None and (layer.input_counts[1] == 0 or layer.is_broken):
        return
    data = [layer.name for layer in graph.layers.values() if layer.input_counts[1] == 0]
    where = "[@net] gives a size to" if span is not None else "a size is given for"
    what = "which does not exist" if layer is None else f"a {layer.type} layer, whose size follows from its inputs"
    listed = f"data layers are {', '.join(data)}" if data else "add a layer with type=data and dataIdx=0"
    help = did_you_mean(name, data) or listed
    report.add("CS301", span, f"{where} {name}, {what}", help=help)


def _size(name: str, dims: tuple[int, ...], span: Span | None, report: Report) -> tuple[int, ...]:
    """The size, or an empty one after a report of CS205."""
    if len(dims) in (1, 3) and all(0 < dim <= MAXIMUM_INTEGER for dim in dims):
        return dims
    text = "x".join(map(str, dims))
    report.add("CS205", span, f"{name} cannot be {text}", help="write channels x height x width, or one number")
    return ()


def _in_file_order(report: Report, files: Sequence[SourceFile]) -> list[Diagnostic]:
    """As a reader meets them, file after file; what stands in none of them comes first."""
    rank = {file.name: position for position, file in enumerate(files, start=1)}
    return sorted(
        report, key=lambda d: (rank.get(d.span.file.name, 0), d.span.start) if d.span is not None else (0, -1)
    )

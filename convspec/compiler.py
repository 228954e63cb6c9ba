"""The one way through: a checked network becomes a program, the program becomes source. Every command goes this way."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convspec.checker import Checked, check
from convspec.diagnostics import DiagnosticError, Report, did_you_mean, listed
from convspec.emit.module import emit
from convspec.emit.parts import emit_parts
from convspec.graph.initial import initial_values
from convspec.graph.lower import lower
from convspec.graph.settings import DataSettings, TrainSettings
from convspec.graph.sharing import report_parted_rates
from convspec.passes.part_by_gpu import part_by_gpu
from convspec.passes.pipeline import PASSES, Target, run_passes
from convspec.program.initial import Called, InitialValue
from convspec.program.program import Program


@dataclass(frozen=True)
class Compiled:
    """A network that can run.

    name: from `[@net] name=` or the file name. source: the emitted module. spec_text: the spec as written.
    resolved_text: the same with parameter file and overrides applied, as one file.
    initial_values: pieces of parameters that start as a function of the spec says, and not as the module draws them.
    parts: of a network for target spmd what each GPU has of `program`; `source` has a class for each.
    """

    name: str
    program: Program
    source: str
    spec_text: str
    resolved_text: str
    train: TrainSettings
    data: DataSettings
    initial_values: tuple[InitialValue, ...] = ()
    parts: Mapping[int, Program] = field(default_factory=dict)


def compile_spec(
    layers: str | os.PathLike[str],
    params: str | os.PathLike[str] | None = None,
    *,
    inputs: Mapping[str, Sequence[int]] | None = None,
    classes: int | None = None,
    overrides: Sequence[str] = (),
    dialect: str | None = None,
    outputs: Sequence[str] = (),
    after: Callable[[str, Program], None] | None = None,
    allow_init_imports: bool = False,
    target: Target = Target.FOLDED,
) -> Compiled:
    """Compile a network; the arguments are those of `check`.

    allow_init_imports: whether training may import and call functions of the spec's author that give first values.
    outputs: layers that `forward` gives beside the costs and what they judge. after: called with the name and result of
    each pass, `lower` first. target: what for. Raises DiagnosticError with all diagnostics where there is an error.
    """
    checked = check(layers, params, inputs=inputs, classes=classes, overrides=overrides, dialect=dialect)
    return compile_checked(checked, outputs=outputs, after=after, allow_init_imports=allow_init_imports, target=target)


def compile_checked(
    checked: Checked,
    *,
    outputs: Sequence[str] = (),
    after: Callable[[str, Program], None] | None = None,
    allow_init_imports: bool = False,
    target: Target = Target.FOLDED,
) -> Compiled:
    """Compile what `check` gave. Raises DiagnosticError where it has errors, or CS601, CS604 to CS607 of its own."""
    report = Report()
    _report_unknown_outputs(checked, outputs, report)
    _report_unsourced(checked, report)
    if checked.ok:
        report_parted_rates(checked.graph, report)
    if not checked.ok or report.has_errors:
        raise DiagnosticError(*checked.diagnostics, *report)
    file_name = Path(checked.document.file.name).name
    name = checked.graph.net.network_name or Path(file_name).stem
    lowered = lower(name, checked.graph, checked.shapes, checked.placement, outputs)
    program = run_passes(lowered, PASSES[target], after=after or (lambda name, program: None))
    parts = part_by_gpu(program) if target is Target.SPMD else {}
    first = initial_values(checked.graph, program)
    if not allow_init_imports:
        _refuse_calls(first)
    return Compiled(
        name=name,
        program=program,
        source=emit_parts(program, parts, file_name) if parts else emit(program, file_name),
        spec_text=checked.document.file.text,
        resolved_text=checked.resolved_text,
        train=checked.graph.train,
        data=checked.graph.data,
        initial_values=first,
        parts=parts,
    )


def _refuse_calls(values: Sequence[InitialValue]) -> None:
    """Raises DiagnosticError CS605 where training would import code of the author's."""
    report = Report()
    for value in values:
        if isinstance(value.source, Called) and not report.has("CS605", value.span):
            report.add(
                "CS605",
                value.span,
                f"{value.spelling} of {value.layer} is {value.source.function}, code that training would import and run",
                help="if you know what it does, add --allow-init-imports",
            )
    if report.has_errors:
        raise DiagnosticError(*report)


def _report_unknown_outputs(checked: Checked, outputs: Sequence[str], report: Report) -> None:
    for name in outputs:
        if name not in checked.graph.layers:
            report.add(
                "CS601",
                None,
                f"there is no layer {name} to give",
                help=did_you_mean(name, checked.graph.layers) or f"the layers are {listed(checked.graph.layers)}",
            )


def _report_unsourced(checked: Checked, report: Report) -> None:
    """Report CS604 for what the originals computed by code that was never published."""
    placement = checked.placement
    for layer in checked.graph.layers.values():
        readers = checked.graph.readers[layer.name]
        crosses = any(placement.get(reader.name) != placement.get(layer.name) for reader in readers)
        layer.refuse_unsourced(crosses, report)

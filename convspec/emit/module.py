"""From a Program to the source of an nn.Module that a person would have written.

One attribute a weight layer, one line a layer with its size beside it; what belongs to one layer stands in one
expression, and what is only added to something in that of the sum. The text depends on the program alone: equal programs
give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from convspec.emit.header import source
from convspec.emit.holders import Holders
from convspec.emit.placed import COPY_FUNCTION, PlacedHolders, PlacedWriter
from convspec.emit.tables import tables
from convspec.emit.writer import Writer
from convspec.program.crossings import is_placed
from convspec.program.program import Program


def emit(program: Program, spec_name: str) -> str:
    """The module's source; its class is `class_name(program.name)`. spec_name: of the spec, for the docstring."""
    writer = _writer(program)
    body = [writer.module()]
    if isinstance(writer, PlacedWriter) and writer.placed.copied_layers:
        body.append(COPY_FUNCTION.strip("\n"))
    return source(program, spec_name, body + tables(writer.holders.parents(), writer.merged))


def variables(program: Program) -> Mapping[str, str]:
    """The variable of `forward` that holds each value; none for one that stands inside the expression of another."""
    return _writer(program).variables


def _writer(program: Program) -> Writer:
    if is_placed(program):
        return PlacedWriter(program, PlacedHolders(program))
    return Writer(program, Holders(program))

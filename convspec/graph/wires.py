"""What a section reads, name by name, so that an edit of the network can change one name and leave the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from convspec.diagnostics import Span
from convspec.syntax.document import Entry, Piece
from convspec.syntax.values import NAMES, ValueSyntaxError


class Wire(NamedTuple):
    """A layer's name among the inputs of another one, and where it is written."""

    source: str
    span: Span


def read_wires(entry: Entry) -> tuple[Wire, ...] | None:
    """The names in `inputs=`; None where it is no list of names, which is reported when the layer reads its keys."""
    try:
        names = NAMES.parse(entry.value)
    except ValueSyntaxError:
        return None
    return tuple(Wire(name.text, entry.part(name.start, name.end)) for name in names)


def write_wires(entry: Entry, wires: Sequence[Wire]) -> Entry:
    """The entry with other names, each of which stands where its wire says."""
    pieces = []
    end = -1
    for source, span in wires:
        start, end = end + 1, end + 1 + len(source)
        pieces.append(Piece(start, end, span))
    return entry._replace(value=",".join(wire.source for wire in wires), pieces=tuple(pieces))


def inputs_entry(wires: Sequence[Wire], place: Span) -> Entry:
    """An `inputs=` that no file has; `place` is what asks for it."""
    return write_wires(Entry("inputs", "inputs", "", "", place, place), wires)

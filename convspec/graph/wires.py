"""What a section reads, name by name, so that an edit of the network can change one name and leave the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from convspec.diagnostics import Span
from convspec.syntax.document import Entry, Piece
from convspec.syntax.forms import NAME, NAMES, SOURCES, Form, ValueSyntaxError
from convspec.syntax.values import Name, WeightSource

# The value languages in which names of layers stand.
FORMS_WITH_NAMES: tuple[Form[Any], ...] = (NAMES, NAME, SOURCES)


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


def names_in(entry: Entry, form: Form[Any]) -> tuple[Name, ...]:
    """The names of layers in a value of one of these forms; none where it is not of the form."""
    try:
        value = form.parse(entry.value)
    except ValueSyntaxError:
        return ()
    if isinstance(value, Name):
        return (value,)
    return tuple(part.name if isinstance(part, WeightSource) else part for part in value if part is not None)


def with_names(entry: Entry, names: Sequence[Name], meant: Sequence[str]) -> Entry:
    """The entry with other names in the place of these, in order; all else in the value stays, and stands where it stood."""
    pieces: list[Piece] = []
    value, end = "", 0
    for name, new in zip(names, meant, strict=True):
        for text, start, stop in ((entry.value[end : name.start], end, name.start), (new, name.start, name.end)):
            if text:
                pieces.append(Piece(len(value), len(value) + len(text), entry.part(start, stop)))
                value += text
        end = name.end
    if rest := entry.value[end:]:
        pieces.append(Piece(len(value), len(value) + len(rest), entry.part(end, len(entry.value))))
    return entry._replace(value=value + rest, pieces=tuple(pieces))


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

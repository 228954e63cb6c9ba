"""`%(name)s` in a value: the value of another key of the section, as Python's ConfigParser put it in.

`%%` is a percent sign. What cannot be put in is a fault of the value, which matters only where the key is read: the
originals took `note=50%` in any layer. Names are those of the section and of `[DEFAULT]`; `__name__` is the section's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from convspec.diagnostics import did_you_mean
from convspec.syntax.document import Entry, Fault, Piece

# How deep a value can become, which is the limit of ConfigParser, and how long.
MAXIMUM_DEPTH = 10
MAXIMUM_LENGTH = 4096
_PIECE = re.compile(r"%%|%\(([^)]+)\)s|%")


def interpolate(section: str, entries: Mapping[str, Entry], scope: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """The entries with the references in their values filled in from `scope`; the very same where there are none."""
    if not any("%" in entry.value for entry in entries.values()):
        return entries
    values = _Values({"__name__": section, **{key: entry.value for key, entry in scope.items()}})
    return {key: _expanded(entry, values) if "%" in entry.value else entry for key, entry in entries.items()}


def _expanded(entry: Entry, values: _Values) -> Entry:
    try:
        value = values.filled(entry.value, (entry.key,))
    except _Unfillable as error:
        return entry._replace(fault=error.fault)
    value = value.strip()
    return entry._replace(value=value, pieces=(Piece(0, len(value), entry.value_span),))


class _Unfillable(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class _Values:
    """What references mean in one section. Each key is filled in once, however often it is referred to."""

    def __init__(self, written: Mapping[str, str]) -> None:
        self._written = written
        self._filled: dict[str, str] = {}

    def filled(self, value: str, way: tuple[str, ...]) -> str:
        """`value` with its references filled in. way: the keys through which it is reached. Raises _Unfillable."""
        parts: list[str] = []
        length = end = 0
        for piece in _PIECE.finditer(value):
            parts += [value[end : piece.start()], self._replacement(piece, way)]
            end = piece.end()
            length += len(parts[-1])
            if length > MAXIMUM_LENGTH:
                message = f"its references make it longer than {MAXIMUM_LENGTH} characters"
                raise _Unfillable(Fault(*piece.span(), message, "write the value itself"))
        return "".join([*parts, value[end:]])

    def _replacement(self, piece: re.Match[str], way: tuple[str, ...]) -> str:
        if piece.group() == "%%":
            return "%"
        name = piece.group(1)
        if name is None:
            help = "write %% for a percent sign"
            raise _Unfillable(Fault(*piece.span(), "a % begins a reference to another key, %(key)s", help))
        key = name.lower()
        if key not in self._filled:
            self._filled[key] = self._looked_up(key, piece, way)
        return self._filled[key]

    def _looked_up(self, key: str, piece: re.Match[str], way: tuple[str, ...]) -> str:
        if key not in self._written:
            help = did_you_mean(key, self._written) or f"add {key}= to the section, or to [DEFAULT]"
            raise _Unfillable(Fault(*piece.span(), f"there is no key {key} in this section", help))
        if key in way or len(way) > MAXIMUM_DEPTH:
            what = f"{key} refers to itself" if key in way else f"references go deeper than {MAXIMUM_DEPTH}"
            raise _Unfillable(Fault(*piece.span(), what, "write the value itself"))
        try:
            return self.filled(self._written[key], (*way, key))
        except _Unfillable as error:
            # The place is where the reader stands; what is wrong is said of the key in which it is wrong.
            message = error.fault.message if len(way) > 1 else f"in {key}: {error.fault.message}"
            raise _Unfillable(Fault(*piece.span(), message, error.fault.help)) from None

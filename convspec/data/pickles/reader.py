"""The bytes of a pickle, read from front to back, and the budget of what is made of them."""

from __future__ import annotations

import mmap
import re

from convspec.data.pickles.values import BrokenPickle

Source = bytes | mmap.mmap

MEMORY = 256 << 20
"""Bytes that any pickle may take up, beside `MEMORY_FACTOR` times its own length."""
MEMORY_FACTOR = 6

_LONGEST_LINE = 1 << 16
_NUMBER = re.compile(rb"[+-]?\d{1,100}")


class Reader:
    """Where the reading of a pickle stands, and how many bytes it may still take up."""

    def __init__(self, data: Source) -> None:
        self._data = data
        self._size = len(data)
        self._position = 0
        self._budget = MEMORY + MEMORY_FACTOR * self._size

    def charge(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise BrokenPickle("it would take up far more memory than its own length")

    def _take(self, count: int) -> bytes:
        start = self._position
        if count > self._size - start:
            raise BrokenPickle(f"it ends before the {count} bytes that follow byte {start}")
        self._position += count
        return self._data[start : start + count]

    def _number(self, count: int) -> int:
        return int.from_bytes(self._take(count), "little")

    def _line(self, longest: int = _LONGEST_LINE) -> bytes:
        start = self._position
        end = self._data.find(b"\n", start, start + longest)
        if end < 0:
            raise BrokenPickle(f"the line at byte {start} has no end")
        self._position = end + 1
        return self._data[start:end]

    def _text_line(self) -> str:
        return self._line().decode("utf-8", "replace")

    def _text_number(self) -> int:
        line = self._line().removesuffix(b"L")
        if not _NUMBER.fullmatch(line):
            raise BrokenPickle("a line that should be a whole number is none")
        return int(line)

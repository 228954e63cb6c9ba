"""Pickles as Python 2's cPickle wrote them in protocol 2, from values of Python 3: strings as BINSTRING, NumPy 1's names."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np


class Instance:
    """An object of a class that need not exist. attributes: its __dict__."""

    def __init__(self, module: str, name: str, attributes: dict[str, Any]) -> None:
        self.module, self.name, self.attributes = module, name, attributes


def dumps(value: Any) -> bytes:
    """Equal objects are told once, as cPickle does, so that what is shared stays shared."""
    pickler = _Pickler()
    pickler.write(value)
    return b"\x80\x02" + b"".join(pickler.parts) + b"."


class _Pickler:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.memo: dict[int, tuple[int, Any]] = {}

    def write(self, value: Any) -> None:
        known = self.memo.get(id(value))
        if known is not None and known[1] is value:
            self.parts.append(b"j" + struct.pack("<I", known[0]))
            return
        match value:
            case None | bool() | int() | float():
                self._number(value)
            case str() | bytes():
                data = value if isinstance(value, bytes) else value.encode("latin-1")
                self.parts.append(b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<I", len(data)))
                self.parts.append(data)
                self._remember(value)
            case tuple():
                self._items(value, b"t")
            case list():
                self.parts.append(b"]")
                self._remember(value)
                self._items(value, b"e")
            case dict():
                self.parts.append(b"}")
                self._remember(value)
                self._entries(value)
            case np.ndarray():
                self._array(value)
            case Instance():
                self.parts.append(f"c{value.module}\n{value.name}\n".encode() + b")\x81")
                self._remember(value)
                self.parts.append(b"}")
                self._entries(value.attributes)
                self.parts.append(b"b")
            case _:
                raise TypeError(type(value))

    def _remember(self, value: Any) -> None:
        index = len(self.memo)
        self.memo[id(value)] = index, value
        self.parts.append(b"r" + struct.pack("<I", index))

    def _items(self, items: Iterable[Any], opcode: bytes) -> None:
        self.parts.append(b"(")
        for item in items:
            self.write(item)
        self.parts.append(opcode)

    def _number(self, value: float | None) -> None:
        match value:
            case None:
                self.parts.append(b"N")
            case bool():
                self.parts.append(b"\x88" if value else b"\x89")
            case int():
                self._integer(value)
            case _:
                self.parts.append(b"G" + struct.pack(">d", value))

    def _integer(self, value: int) -> None:
        if 0 <= value < 256:
            self.parts.append(b"K" + bytes([value]))
        elif 0 <= value < 65536:
            self.parts.append(b"M" + struct.pack("<H", value))
        else:
            self.parts.append(b"J" + struct.pack("<i", value))

    def _entries(self, entries: dict[Any, Any]) -> None:
        self.parts.append(b"(")
        for key, value in entries.items():
            self.write(key)
            self.write(value)
        self.parts.append(b"u")

    def _array(self, value: np.ndarray[Any, Any]) -> None:
        self.parts.append(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR")
        self._remember(value)
        self.parts.append(b"(K\x01(")
        for size in value.shape:
            self._integer(size)
        self.parts.append(b"t")
        code = value.dtype.str[1:].encode()
        self.parts.append(b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"K\x00K\x01tR")
        order = value.dtype.str[:1].encode()
        self.parts.append(b"(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        self.parts.append(b"\x88" if is_fortran else b"\x89")
        raw = value.tobytes(order="F" if is_fortran else "C")
        self.parts.append(b"T" + struct.pack("<I", len(raw)) + raw + b"tb")

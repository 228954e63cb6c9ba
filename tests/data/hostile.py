"""Pickles that would do harm, were they believed: each as bytes, most by hand, opcode by opcode."""

from __future__ import annotations

import os
import pickle
import struct
from typing import Any


class Calls:
    """Pickles to a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.reduced


def executing(sentinel: str) -> dict[str, bytes]:
    """Pickles that write the file `sentinel` when Python's own unpickler reads them; by what they use for it."""
    write = f"open({sentinel!r}, 'w').close()"
    shell = f"touch {sentinel}"
    made = {f"os.system, protocol {p}": pickle.dumps(Calls(os.system, shell), p) for p in range(6)}
    made["nested pickle"] = pickle.dumps(Calls(pickle.loads, pickle.dumps(Calls(os.system, shell))))
    made["through a list that is appended to"] = pickle.dumps([1, Calls(os.system, shell)], 2)
    by_hand = {
        "builtins.eval": _global("builtins", "eval") + _call(_text(f"__import__('os').system({shell!r})")),
        "builtins.exec": _global("builtins", "exec") + _call(_text(write)),
        "__builtin__.eval": _global("__builtin__", "eval") + _call(_text(f"__import__('os').system({shell!r})")),
        "eval by STACK_GLOBAL": _text("builtins") + _text("exec") + b"\x93" + _call(_text(write)),
        "INST": b"(" + _text(shell) + b"ios\nsystem\n",
        "OBJ": b"(" + _global("os", "system") + _text(shell) + b"o",
        "getattr chain": _global("builtins", "getattr")
        + b"("
        + _global("os", "path")
        + _text("os")
        + b"tR0"
        + _global("builtins", "getattr")
        + b"("
        + _global("builtins", "__import__")
        + _call(_text("os"))
        + _text("system")
        + b"tR"
        + _call(_text(shell)),
        "dotted name": _text("builtins") + _text("__import__.__call__") + b"\x93" + _call(_text("os")),
        "NEWOBJ": _global("subprocess", "Popen") + b"(" + _text(shell) + b"t\x81",
        "NEWOBJ_EX": _global("subprocess", "Popen") + b")(" + _text("args") + _text(shell) + b"d\x92",
        "__setstate__ by BUILD": _global("builtins", "object")
        + b")\x81}("
        + _text("__setstate__")
        + _global("os", "system")
        + b"ub"
        + _text(shell)
        + b"b",
        "attributes by BUILD": _global("os", "system") + b"}(" + _text("__code__") + _text(write) + b"ub",
        "copyreg": _global("copyreg", "add_extension") + b"(" + _text("os") + _text("system") + b"K\x01tR0\x82\x01",
        "copy_reg._reconstructor": _global("copy_reg", "_reconstructor")
        + b"("
        + _global("os", "system")
        + _global("os", "system")
        + _text(shell)
        + b"tR",
        "a function of NumPy": _global("numpy.testing._private.utils", "runstring") + b"(" + _text(write) + b"}tR",
        "numpy.core.multiarray, another name": _global("numpy.core.multiarray", "fromfile") + _call(_text(sentinel)),
    }
    return made | {name: b"\x80\x04" + body + b"." for name, body in by_hand.items()}


def refused() -> dict[str, bytes]:
    """Pickles that must be refused: what they hold has no place in the files that we read."""
    array = _global("numpy.core.multiarray", "_reconstruct") + b"(" + _global("numpy", "ndarray") + b"K\x00\x85C\x01btR"
    made = {
        "extension code": b"\x82\x01",
        "extension code of 4 bytes": b"\x84\x01\0\0\0",
        "persistent id": b"Pfile:///etc/passwd\n",
        "persistent id from the stack": b"K\x01Q",
        "buffer outside": b"\x97",
        "array of objects": array + _array_state(b"K\x01\x85", "O8", b"](" + _global("os", "system") + b"e"),
        "array of objects as bytes": array + _array_state(b"K\x01\x85", "O", _bytes(8)),
        "structured type": _global("numpy", "dtype") + b"(" + _text("V8") + b"K\x00K\x01tR",
        "type with a comma": _global("numpy", "dtype") + b"(" + _text("f4,O") + b"K\x00K\x01tR",
        "fields by BUILD": _global("numpy", "dtype")
        + b"("
        + _text("f4")
        + b"K\x00K\x01tR(K\x03"
        + _text("<")
        + b"N("
        + _text("x")
        + b"t}J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
        "array that claims terabytes": array + _array_state(_number(1 << 42) + b"\x85", "f4", _bytes(4)),
        "array of items of no bytes": array + _array_state(_number(1 << 46) + b"\x85", "S0", _bytes(0)),
        "array of negative size": array + _array_state(b"J\xff\xff\xff\xff\x85", "f4", _bytes(4)),
        "array of a subclass": array.replace(b"ndarray", b"memmap"),
        "state for a list": b"]}b",
        "state for a number": b"K\x01}b",
        "string that claims gigabytes": b"T\xff\xff\xff\x7f",
        "bytearray that claims terabytes": b"\x96" + struct.pack("<Q", 1 << 42),
        "number of gigabytes": b"\x8b\xff\xff\xff\x7f",
        "number of a thousand digits": b"L" + b"9" * 1000 + b"\n",
        "memo at a huge index, never told": b"j\xff\xff\xff\xff",
        "memo index of fifty digits": b"Np" + b"9" * 50 + b"\n",
        "a million dicts from a megabyte": b"}" * 8_000_000,
        "sets copied without end": b"]("
        + b"K\x01" * 100_000
        + b"e\x940"
        + b"".join([_global("builtins", "set"), b"\x940", b"h\x01h\x00\x85R0" * 100_000, b"N"]),
        "no such protocol": b"\x80\x06N",
        "empty stack": b"R",
        "no mark": b"t",
        "key without a value": b"}(K\x01u",
        "unknown opcode": b"\xff",
        "text that is no number": b"Ix\n",
        "no end": b"(((",
    }
    return {name: b"\x80\x04" + body + b"." for name, body in made.items()}


def exhausting() -> dict[str, bytes]:
    """Pickles that are read, though they are made to take forever or to fall over: nests, collisions, doublings."""
    deep = 200_000
    modulus = (1 << 61) - 1
    doubling = b"N\x85\x940" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x940" for i in range(200))
    return {
        name: b"\x80\x04" + body + b"."
        for name, body in {
            "deep tuples": b"N" + b"\x85" * deep,
            "deep tuple as a key": b"}N" + b"\x85" * deep + b"Ns",
            "deep tuple in a set": b"\x8f(N" + b"\x85" * deep + b"\x90",
            "deep lists": b"]" * deep + b"a" * (deep - 1),
            "deep dicts": b"}K\x01" * deep + b"N" + b"s" * deep,
            "deep stubs": b"N\x940"
            + b"".join(_of_memo(i) + b"\x85R\x940" for i in range(deep // 4))
            + _of_memo(9)
            + b"N\x85R",
            "deep states": b"N\x940" + b"".join(_of_memo(i, b")R") + b"b\x940" for i in range(deep // 4)) + b"N",
            "stub that holds itself": _global("a", "b") + b")\x81\x94h\x00b",
            "tuple of doublings as a key": doubling + b"}h\xc8Ns",
            "keys of one hash": b"}(" + b"".join(_long(i * modulus) + b"N" for i in range(1, 50_000)) + b"u",
            "marks": b"(" * deep + b"t" * deep,
        }.items()
    }


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _call(argument: bytes) -> bytes:
    return b"(" + argument + b"tR"


def _of_memo(index: int, after: bytes = b"") -> bytes:
    """The name of a class, then a value of the memo."""
    return _global("a", "b") + after + b"j" + struct.pack("<I", index)


def _number(value: int) -> bytes:
    return _long(value)


def _long(value: int) -> bytes:
    return b"\x8a\x0a" + value.to_bytes(10, "little", signed=True)


def _bytes(count: int) -> bytes:
    return b"B" + struct.pack("<I", count) + b"\0" * count


def _array_state(shape: bytes, dtype: str, data: bytes) -> bytes:
    made = _global("numpy", "dtype") + b"(" + _text(dtype) + b"K\x00K\x01tR"
    return b"(K\x01" + shape + made + b"\x89" + data + b"tb"

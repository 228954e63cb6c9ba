"""What a pickle can become: plain values, NumPy arrays of numbers or text, and stubs for everything else.

The functions that a pickle may "call" stand in `BUILDERS`, by the names that Python 2 and 3, NumPy 1 and 2 gave them.
Each is a function of ours that checks its arguments; none is looked up in a module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class BrokenPickle(Exception):
    """A pickle that cannot be read, or must not be; the message says why."""


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that a pickle names: its name, and nothing behind it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False, repr=False)
class Stub:
    """An object of a class that is not built: what the pickle says of it, kept and never acted upon.

    made_by: the class, or the function that would have been called; None where that is an object itself.
    state: what would have become its attributes. items, entries: what would have been appended and set.
    """

    made_by: Global | None
    arguments: Any = ()
    state: Any = None
    items: list[Any] | None = None
    entries: dict[Any, Any] | None = None

    def attribute(self, name: str) -> Any:
        """The attribute that the state would have set, or None."""
        return self.state.get(name) if isinstance(self.state, dict) else None


@dataclass(frozen=True, slots=True)
class Slice:
    """A byte string left where it is: half-open range of the pickle's bytes."""

    start: int
    stop: int


@dataclass(slots=True, eq=False, repr=False)
class DType:
    """A NumPy type; a class of ours, because a pickle sets its byte order after it has made it."""

    dtype: np.dtype[Any]


class Opaque:
    """A key that is not plain, by identity: hashing what it wraps could take forever."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


Charge = Callable[[int], None]
"""Is told the bytes that are about to be allocated. Raises BrokenPickle when they are too many."""

_DTYPE = re.compile(r"[<>=|]?(?:[bB?hHiIlLqQefd]|b1|[iu][1248]|f[248]|S[1-9]\d{0,5})")
_MOST_AXES = 8
_LARGEST_KEY = 1 << 60


def as_key(value: Any) -> Any:
    """`value` as the key of a dict or the member of a set; one whose hash could collide by design is made opaque."""
    match value:
        case None | bool() | float() | str() | bytes():
            return value
        case int() if -_LARGEST_KEY < value < _LARGEST_KEY:
            return value
        case _:
            return Opaque(value)


def describe(value: Any) -> str:
    """What kind of thing a value from a pickle is, in a few words: never its contents, which may be of any size."""
    match value:
        case None:
            return "None"
        case np.ndarray():
            return f"an array of shape {'x'.join(map(str, value.shape)) or '()'} and type {value.dtype}"
        case Stub(made_by=Global() as made_by):
            return f"an object of {_shown(made_by)}"
        case Stub() | DType() | Opaque():
            return "an object"
        case Global():
            return f"the name {_shown(value)}"
        case str() | bytes() | list() | tuple() | dict() | set():
            return f"a {type(value).__name__} of length {len(value)}"
        case Slice():
            return f"a string of length {value.stop - value.start}"
        case _:
            return f"a value of type {type(value).__name__}"


def _shown(name: Global) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(name)[:80])


def octets(value: Any, charge: Charge) -> bytes:
    """Raw bytes: Python 3's, or a string of Python 2, which was read as Latin-1."""
    match value:
        case bytes():
            return value
        case str():
            charge(len(value))
            try:
                return value.encode("latin-1")
            except UnicodeEncodeError:
                raise BrokenPickle("text stands where raw bytes belong") from None
        case _:
            raise BrokenPickle(f"{describe(value)} stands where raw bytes belong")


def set_state(target: Any, state: Any, charge: Charge) -> None:
    """The opcode BUILD: fill an array, order the bytes of a type; keep the state of a stub. Raises BrokenPickle."""
    match target, state:
        case np.ndarray(), (int(), shape, DType() as of, int() as fortran, raw) | (
            shape,
            DType() as of,
            int() as fortran,
            raw,
        ):
            _fill(target, shape, of.dtype, raw, charge, fortran=bool(fortran))
        case np.ndarray(), _:
            raise BrokenPickle("an array of a form that is not read")
        case DType(), (int(), str() as order, None, None, None, *_) if order in ("<", ">", "=", "|"):
            target.dtype = target.dtype if order == "|" else np.dtype(order + target.dtype.str[1:])
        case DType(), _:
            raise BrokenPickle("a NumPy type with fields, or of a form that is not read")
        case Stub(), _:
            target.state = state
        case dict(), _:
            return  # attributes of an OrderedDict
        case _:
            raise BrokenPickle(f"a state for {describe(target)}, which has none")


def _fill(target: NDArray[Any], shape: Any, dtype: np.dtype[Any], raw: Any, charge: Charge, *, fortran: bool) -> None:
    dims = _checked_shape(shape)
    data = octets(raw, charge)
    _check_size(dims, dtype, len(data))
    charge(len(data))
    target.__setstate__((1, dims, dtype, fortran, data))  # type: ignore[arg-type]  # a plain bool is what it takes


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise BrokenPickle(f"{describe(shape)} stands where the shape of an array belongs")
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise BrokenPickle("an array whose shape is not of whole numbers in range")
    return shape


def _check_size(shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
    wanted = dtype.itemsize
    for n in shape:
        wanted *= n
    if wanted != size:
        raise BrokenPickle(f"an array that needs {wanted} bytes holds {size}")


def _empty_array(arguments: tuple[Any, ...], charge: Charge) -> Any:
    """`numpy.core.multiarray._reconstruct(ndarray, (0,), 'b')`: BUILD fills it, whatever the shape says here."""
    match arguments:
        case (Global("numpy", "ndarray"), tuple(), _):
            charge(128)
            return np.empty(0, np.int8)
        case _:
            raise BrokenPickle("an array of a class that is not NumPy's own")


def _dtype(arguments: tuple[Any, ...], charge: Charge) -> DType:
    match arguments:
        case (str() as code, *_) if _DTYPE.fullmatch(code):
            charge(128)
            return DType(np.dtype(code))
        case ("O8" | "O4" | "O" | "|O", *_):
            raise BrokenPickle("an array of Python objects")
        case _:
            raise BrokenPickle("a NumPy type that is neither of numbers nor of text")


def _scalar(arguments: tuple[Any, ...], charge: Charge) -> Any:
    match arguments:
        case (DType() as of, raw):
            data = octets(raw, charge)
            _check_size((), of.dtype, len(data))
            return np.frombuffer(data, of.dtype)[0].item()
        case _:
            raise BrokenPickle("a NumPy number of a form that is not read")


def _from_buffer(arguments: tuple[Any, ...], charge: Charge) -> NDArray[Any]:
    """Arrays of protocol 5: `numpy.core.numeric._frombuffer(bytes, dtype, shape, order)`."""
    match arguments:
        case (bytes() as data, DType() as of, shape, "C" | "F" as order):
            dims = _checked_shape(shape)
            _check_size(dims, of.dtype, len(data))
            return np.frombuffer(data, of.dtype).reshape(dims, order=order)
        case _:
            raise BrokenPickle("an array of a form that is not read")


def _encoded(arguments: tuple[Any, ...], charge: Charge) -> bytes:
    """`_codecs.encode(text, 'latin1')`: how Python 3 writes bytes for Python 2."""
    match arguments:
        case (str() as text, "latin1" | "latin-1"):
            return octets(text, charge)
        case _:
            raise BrokenPickle("a string in an encoding that is not read")


def _no_bytes(arguments: tuple[Any, ...], charge: Charge) -> bytes:
    if arguments:
        raise BrokenPickle("bytes of a form that is not read")
    return b""


def _set(arguments: tuple[Any, ...], charge: Charge) -> set[Any]:
    match arguments:
        case () | (list() | tuple(),):
            members = arguments[0] if arguments else ()
            charge(216 + 64 * len(members))
            return {as_key(member) for member in members}
        case _:
            raise BrokenPickle("a set of a form that is not read")


def _dict(arguments: tuple[Any, ...], charge: Charge) -> dict[Any, Any]:
    """An OrderedDict: Python's dicts keep their order."""
    match arguments:
        case () | (list() | tuple(),):
            pairs = arguments[0] if arguments else ()
            charge(64 + 100 * len(pairs))
            if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
                return {as_key(key): value for key, value in pairs}
        case _:
            pass
    raise BrokenPickle("an OrderedDict of a form that is not read")


Builder = Callable[[tuple[Any, ...], Charge], Any]

BUILDERS: Mapping[tuple[str, str], Builder] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encoded,
    **{(module, "bytes"): _no_bytes for module in ("__builtin__", "builtins")},
    **{(module, name): _set for module in ("__builtin__", "builtins") for name in ("set", "frozenset")},
    **{(module, "OrderedDict"): _dict for module in ("collections", "ordereddict")},
}

"""The pickle machine, protocols 0 to 5: a stack, a memo, and a method an opcode (Python's `pickletools` names them all).

Time is bounded by the length of the pickle, memory by a budget that is a multiple of it: whatever allocates says so
first. No value is hashed, compared or printed on the way, unless it is plain. Not read, because no file of ours needs
them: extension codes, persistent ids, and buffers outside the pickle.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

from convspec.data.pickles.reader import Reader, Source
from convspec.data.pickles.values import BUILDERS, BrokenPickle, Global, Slice, Stub, as_key, describe, set_state

STEPS = 20_000_000
"""Opcodes of one pickle. A batch of 10,000 pictures has 100,000."""

_LONGEST_NUMBER = 64
_SLICED_FROM = 64
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.?))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}

# what a value takes up, roughly
_DICT, _LIST, _SET, _STUB, _MARK, _STRING, _REFERENCE = 64, 56, 216, 120, 64, 56, 16


def loads(data: Source, *, slices: bool = False) -> Any:
    """The value that a pickle holds. Strings of Python 2 are text, read as Latin-1.

    slices: byte strings of more than a few letters stay where they are, as `Slice`; so a file of many pictures costs
    its pictures nothing until they are used.

    Raises BrokenPickle for what is cut short, malformed, too large or not read.
    """
    return Machine(data, slices=slices).run()


class Machine(Reader):
    """One reading of one pickle."""

    def __init__(self, data: Source, *, slices: bool = False) -> None:
        super().__init__(data)
        self._slices = slices
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """See `loads`."""
        data, size = self._data, self._size
        for _ in range(STEPS):
            if self._position >= size:
                raise BrokenPickle("it ends before the pickle does")
            opcode = data[self._position]
            self._position += 1
            if opcode == _STOP:
                return self._pop()
            step = _STEPS.get(opcode)
            if step is None:
                raise BrokenPickle(_not_read(opcode, self._position - 1))
            step(self)
        raise BrokenPickle(f"it has more than {STEPS} opcodes")

    # the stack

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack:
            raise BrokenPickle("an opcode finds nothing on the stack")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise BrokenPickle("an opcode finds nothing on the stack")
        return self._stack[-1]

    def _mark(self) -> None:
        self.charge(_MARK)
        self._marks.append(self._stack)
        self._stack = []

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise BrokenPickle("an opcode finds no mark on the stack")
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _pop_or_unmark(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_to_mark()

    def _duplicate(self) -> None:
        self._push(self._top())

    # strings and numbers

    def _push_octets(self, count: int) -> None:
        """Bytes, or in a pickle of Python 2 text that may be bytes."""
        start = self._position
        if self._slices and count >= _SLICED_FROM:
            if count > self._size - start:
                raise BrokenPickle(f"it ends before the {count} bytes that follow byte {start}")
            self._position += count
            self._push(Slice(start, start + count))
            return
        self.charge(min(count, self._size) + _STRING)
        self._push(self._take(count))

    def _push_latin(self, count: int) -> None:
        self._push_octets(count)
        if isinstance(self._stack[-1], bytes):
            self._push(self._pop().decode("latin-1"))

    def _push_utf8(self, count: int) -> None:
        self.charge(4 * min(count, self._size) + _STRING)
        self._push(_decoded(self._take(count), "utf-8", "surrogatepass"))

    def _text_string(self) -> None:
        """A string of protocol 0: a literal of Python 2 on a line of its own."""
        line = self._line(self._size)
        self.charge(2 * len(line) + _STRING)
        if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
            raise BrokenPickle("a string without quotes")
        self._push(_ESCAPE.sub(_unescaped, line[1:-1]).decode("latin-1"))

    def _text_unicode(self) -> None:
        line = self._line(self._size)
        self.charge(4 * len(line) + _STRING)
        self._push(_decoded(line, "raw-unicode-escape", "strict"))

    def _text_int(self) -> None:
        line = self._data[self._position : self._position + 3]
        if line in (b"00\n", b"01\n"):
            self._position += 3
            self._push(line == b"01\n")
        else:
            self._push(self._text_number())

    def _text_float(self) -> None:
        try:
            self._push(float(self._line(_LONGEST_NUMBER)))
        except ValueError:
            raise BrokenPickle("a line that should be a number is none") from None

    def _long(self, count: int) -> None:
        if count > _LONGEST_NUMBER:
            raise BrokenPickle(f"a whole number of {count} bytes")
        self._push(int.from_bytes(self._take(count), "little", signed=True))

    # containers

    def _tuple(self, count: int) -> None:
        self.charge(_LIST + 8 * count)
        if len(self._stack) < count:
            raise BrokenPickle("an opcode finds nothing on the stack")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._push(items)

    def _tuple_to_mark(self) -> None:
        items = self._pop_to_mark()
        self.charge(_LIST + 8 * len(items))
        self._push(tuple(items))

    def _new(self, make: Callable[[], Any], size: int) -> None:
        self.charge(size)
        self._push(make())

    def _list_to_mark(self) -> None:
        self._push(self._pop_to_mark())

    def _dict_to_mark(self) -> None:
        items = self._pop_to_mark()
        self._new(dict, _DICT)
        self._set_items(items)

    def _set_to_mark(self) -> None:
        items = self._pop_to_mark()
        self._new(set, _SET)
        self._add(items)

    def _append(self, items: list[Any]) -> None:
        self.charge(_REFERENCE * len(items))
        match self._top():
            case list() as target:
                target.extend(items)
            case Stub() as stub:
                stub.items = [] if stub.items is None else stub.items
                stub.items.extend(items)
            case other:
                raise BrokenPickle(f"items for {describe(other)}, which takes none")

    def _append_one(self) -> None:
        item = self._pop()
        self._append([item])

    def _append_to_mark(self) -> None:
        items = self._pop_to_mark()
        self._append(items)

    def _set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise BrokenPickle("a key without a value")
        self.charge(4 * _REFERENCE * len(items))
        match self._top():
            case dict() as target:
                pass
            case Stub() as stub:
                target = stub.entries = {} if stub.entries is None else stub.entries
            case other:
                raise BrokenPickle(f"keys for {describe(other)}, which takes none")
        target.update((as_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True))

    def _set_one(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _set_items_to_mark(self) -> None:
        items = self._pop_to_mark()
        self._set_items(items)

    def _add(self, items: list[Any]) -> None:
        self.charge(4 * _REFERENCE * len(items))
        target = self._top()
        if not isinstance(target, set):
            raise BrokenPickle(f"members for {describe(target)}, which takes none")
        target.update(map(as_key, items))

    def _add_to_mark(self) -> None:
        items = self._pop_to_mark()
        self._add(items)

    # the memo

    def _put(self, index: int) -> None:
        if not 0 <= index < 1 << 32:
            raise BrokenPickle(f"it numbers a value {index}"[:60])
        self.charge(4 * _REFERENCE)
        self._memo[index] = self._top()

    def _memoize(self) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise BrokenPickle(f"it refers to value {index}, which it has not told")
        self._push(self._memo[index])

    # objects

    def _global(self) -> None:
        self.charge(_STUB)
        module, name = self._text_line(), self._text_line()
        self._push(Global(module, name))

    def _stack_global(self) -> None:
        self.charge(_STUB)
        name, module = self._pop(), self._pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise BrokenPickle("the name of a class is not text")
        self._push(Global(module, name))

    def _make(self, made_by: Any, arguments: Any) -> None:
        self.charge(_STUB)
        self._push(Stub(made_by if isinstance(made_by, Global) else None, arguments))

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        builder = BUILDERS.get((function.module, function.name)) if isinstance(function, Global) else None
        if builder is None:
            self._make(function, arguments)
        elif isinstance(arguments, tuple):
            self._push(builder(self._without_slices(arguments), self.charge))
        else:
            raise BrokenPickle(f"{function} with arguments that are no tuple")

    def _build(self) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(state, tuple) and not isinstance(target, Stub):
            state = self._without_slices(state)
        set_state(target, state, self.charge)

    def _without_slices(self, parts: tuple[Any, ...]) -> tuple[Any, ...]:
        """What arrays are made of; their bytes are read at once, wherever they stand."""
        if not self._slices or len(parts) > 8:
            return parts
        return tuple(self._data[part.start : part.stop] if isinstance(part, Slice) else part for part in parts)

    def _instance(self) -> None:
        """INST of protocol 0: arguments to the mark, the class in two lines."""
        arguments = self._pop_to_mark()
        self._global()
        self._make(self._pop(), tuple(arguments))

    def _object(self) -> None:
        """OBJ: the class and its arguments to the mark."""
        items = self._pop_to_mark()
        if not items:
            raise BrokenPickle("an object without a class")
        self._make(items[0], tuple(items[1:]))

    def _new_object(self) -> None:
        arguments, cls = self._pop(), self._pop()
        self._make(cls, arguments)

    def _new_object_with_keywords(self) -> None:
        keywords, arguments, cls = self._pop(), self._pop(), self._pop()
        self._make(cls, (arguments, keywords))

    # the form

    def _protocol(self) -> None:
        version = self._number(1)
        if version > 5:
            raise BrokenPickle(f"it is written in protocol {version}; 0 to 5 are known")

    def _frame(self) -> None:
        """Frames serve readers of streams; here all is at hand."""
        self._number(8)


def _decoded(data: bytes, encoding: str, errors: str) -> str:
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError:
        raise BrokenPickle(f"a string that is not {encoding}") from None


def _unescaped(match: re.Match[bytes]) -> bytes:
    hexadecimal, letter = match.groups()
    if hexadecimal is not None:
        return bytes([int(hexadecimal, 16)])
    if letter not in _ESCAPED:
        raise BrokenPickle("a string with an escape that Python 2 did not write")
    return _ESCAPED[letter]


def _not_read(opcode: int, position: int) -> str:
    kinds = {
        **dict.fromkeys(b"\x82\x83\x84", "an extension code, which a program had to register first"),
        **dict.fromkeys(b"PQ", "an object that lies outside of it"),
        **dict.fromkeys(b"\x97\x98", "a buffer that lies outside of it"),
    }
    return f"it refers to {kinds[opcode]}" if opcode in kinds else f"byte {position} is no opcode of a pickle"


_STOP = ord(".")
_Step = Callable[[Machine], None]

_BY_LETTER: Mapping[bytes, _Step] = {
    b"(": Machine._mark,
    b"0": Machine._pop_or_unmark,
    b"1": lambda m: (m._pop_to_mark(), None)[1],
    b"2": Machine._duplicate,
    b"N": lambda m: m._push(None),
    b"\x88": lambda m: m._push(True),
    b"\x89": lambda m: m._push(False),
    # numbers
    b"I": Machine._text_int,
    b"L": lambda m: m._push(m._text_number()),
    b"F": Machine._text_float,
    b"K": lambda m: m._push(m._number(1)),
    b"M": lambda m: m._push(m._number(2)),
    b"J": lambda m: m._long(4),
    b"\x8a": lambda m: m._long(m._number(1)),
    b"\x8b": lambda m: m._long(m._number(4)),
    b"G": lambda m: m._push(struct.unpack(">d", m._take(8))[0]),
    # strings
    b"S": Machine._text_string,
    b"U": lambda m: m._push_latin(m._number(1)),
    b"T": lambda m: m._push_latin(m._number(4)),
    b"V": Machine._text_unicode,
    b"\x8c": lambda m: m._push_utf8(m._number(1)),
    b"X": lambda m: m._push_utf8(m._number(4)),
    b"\x8d": lambda m: m._push_utf8(m._number(8)),
    b"C": lambda m: m._push_octets(m._number(1)),
    b"B": lambda m: m._push_octets(m._number(4)),
    b"\x8e": lambda m: m._push_octets(m._number(8)),
    b"\x96": lambda m: m._push_octets(m._number(8)),
    # containers
    b")": lambda m: m._push(()),
    b"\x85": lambda m: m._tuple(1),
    b"\x86": lambda m: m._tuple(2),
    b"\x87": lambda m: m._tuple(3),
    b"t": Machine._tuple_to_mark,
    b"]": lambda m: m._new(list, _LIST),
    b"l": Machine._list_to_mark,
    b"a": Machine._append_one,
    b"e": Machine._append_to_mark,
    b"}": lambda m: m._new(dict, _DICT),
    b"d": Machine._dict_to_mark,
    b"s": Machine._set_one,
    b"u": Machine._set_items_to_mark,
    b"\x8f": lambda m: m._new(set, _SET),
    b"\x91": Machine._set_to_mark,
    b"\x90": Machine._add_to_mark,
    # the memo
    b"p": lambda m: m._put(m._text_number()),
    b"q": lambda m: m._put(m._number(1)),
    b"r": lambda m: m._put(m._number(4)),
    b"\x94": Machine._memoize,
    b"g": lambda m: m._get(m._text_number()),
    b"h": lambda m: m._get(m._number(1)),
    b"j": lambda m: m._get(m._number(4)),
    # objects
    b"c": Machine._global,
    b"\x93": Machine._stack_global,
    b"R": Machine._reduce,
    b"b": Machine._build,
    b"i": Machine._instance,
    b"o": Machine._object,
    b"\x81": Machine._new_object,
    b"\x92": Machine._new_object_with_keywords,
    # the form
    b"\x80": Machine._protocol,
    b"\x95": Machine._frame,
}
_STEPS: Mapping[int, _Step] = {ord(letter): step for letter, step in _BY_LETTER.items()}

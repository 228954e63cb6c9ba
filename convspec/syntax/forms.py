"""The value languages: integers, numbers, names, neurons, schedules, sizes, over `grammars/values.lark`.

A form turns the text behind a `=` into a Python value or raises `ValueSyntaxError` with the range that is wrong. Forms
know syntax only; which neuron or schedule exists is for the layers to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from math import isinf
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

from lark import Lark, Token, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from convspec.syntax.tables import load_parser
from convspec.syntax.values import (
    Binding,
    DeclineCall,
    Extent,
    FunctionCall,
    Name,
    NeuronCall,
    ScheduleCall,
    WeightSource,
)

T = TypeVar("T")
_MAXIMUM_DIGITS = 18
# Words in the place of a deviation: it follows from how many numbers an output is a sum over.
SPREADS_BY_RULE = ("he", "lecun")
_SOURCE = re.compile(r"(?P<layer>[^\[\]\n]*[^\[\]\s])\s*(?:\[\s*(?P<index>[0-9]+)\s*\])?|(?P<odd>[^\]\n]+)")
_WHOLE = re.compile(r"[+-]?\d+")
_CCN2_NUMBER = re.compile(r"(?:\d*\.)?\d+")


class ValueSyntaxError(Exception):
    """The characters `start` to `end` of a value are not of its form."""

    def __init__(self, start: int, end: int, *, is_too_large: bool = False) -> None:
        super().__init__(f"characters {start} to {end}")
        self.start = start
        self.end = end
        self.is_too_large = is_too_large


class _TooLarge(Exception):
    """A number that no computer of ours holds."""


class _NotOne(Exception):
    """A list where one value is wanted, or another value that the grammar cannot tell from a right one."""


class Form(NamedTuple, Generic[T]):
    """A value language.

    start: its rule in the grammar. description: in an error, after "takes". build: from the children of the rule.
    """

    start: str
    description: str
    build: Callable[[Sequence[Any]], T]

    def parse(self, text: str) -> T:
        """The value. Raises ValueSyntaxError."""
        try:
            return self.build(_parse(self.start, text))
        except UnexpectedInput as error:
            raise ValueSyntaxError(*_element_at(text, _offset(error, text))) from None
        except _TooLarge:
            raise ValueSyntaxError(0, len(text), is_too_large=True) from None
        except _NotOne:
            raise ValueSyntaxError(0, len(text)) from None


@lru_cache(maxsize=4096)
def _parse(start: str, text: str) -> Sequence[Any]:
    return _lark().parse(text, start=start).children


@cache
def _lark() -> Lark:
    return load_parser("values")


def _offset(error: UnexpectedInput, text: str) -> int:
    offset: int | None = None
    match error:
        case UnexpectedCharacters():
            offset = error.pos_in_stream
        case UnexpectedToken() if error.token.type != "$END":
            offset = error.token.start_pos
    return len(text) if offset is None else offset


def _element_at(text: str, offset: int) -> tuple[int, int]:
    """The element of a list that holds `offset`, without its blanks; the whole value where the element is empty."""
    start = text.rfind(",", 0, offset) + 1
    end = text.find(",", offset)
    element = text[start : end if end >= 0 else len(text)]
    if not element.strip():
        return 0, len(text)
    return start + len(element) - len(element.lstrip()), start + len(element.rstrip())


def _integer(token: str) -> int:
    if len(token) > _MAXIMUM_DIGITS:
        raise _TooLarge
    return int(token)


def _number(token: str) -> float:
    number = float(token)
    if isinf(number):
        raise _TooLarge
    return number


def _count_or_number(token: str) -> float:
    """An int where there are a sign and digits only, so that a count of `4.0` can be told from one of `4`."""
    return _integer(token) if _WHOLE.fullmatch(token) else _number(token)


def _schedule(children: Sequence[Any]) -> ScheduleCall:
    head, *rest = children
    if head.type == "NUMBER":
        return ScheduleCall("const", (("base", _number(head)),))
    return ScheduleCall(str(head), tuple(map(_assignment, rest)))


def _decline(children: Sequence[Any]) -> DeclineCall:
    head, *rest = children
    return DeclineCall(str(head), tuple(map(_assignment, rest)))


def _call(children: Sequence[Any]) -> FunctionCall:
    function, *arguments = map(str, children)
    module, _, name = function.rpartition(".")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise _NotOne
    return FunctionCall(function, tuple(arguments))


def _assignment(given: Tree[Token] | Token) -> tuple[str, float]:
    """Name and value; the name is empty where there is only a value."""
    if isinstance(given, Token):
        return "", _count_or_number(given)
    name, value = given.children
    return str(name).lower(), _count_or_number(str(value))


def _ccn2_schedule(children: Sequence[Any]) -> ScheduleCall:
    head, *rest = children
    if head.type == "NUMBER" and not _CCN2_NUMBER.fullmatch(head):
        _refuse(head)
    for key, value in _children(rest):
        if key.lower() == "numsteps" and not _WHOLE.fullmatch(value):
            _refuse(value)
    return _schedule(children)


def _refuse(token: Token) -> NoReturn:
    assert token.start_pos is not None
    raise ValueSyntaxError(token.start_pos, token.start_pos + len(token))


def _spread(token: Token) -> float | str:
    """A number, or the word of a rule for one."""
    if token.type == "NUMBER":
        return _number(token)
    if token.lower() not in SPREADS_BY_RULE:
        _refuse(token)
    return token.lower()


def _neuron(children: Sequence[Any]) -> NeuronCall:
    head, *rest = children
    return NeuronCall(str(head), tuple(_number(number) for tree in rest for number in tree.children))


def _plain_neuron(children: Sequence[Any], unknown: str) -> NeuronCall:
    """A neuron whose numbers have none of the characters `unknown`."""
    for number in (token for tree in children[1:] for token in tree.children):
        if any(character in number for character in unknown):
            _refuse(number)
    return _neuron(children)


def _children(trees: Sequence[Tree[Token]]) -> list[list[Any]]:
    return [tree.children for tree in trees]


def _bindings(children: Sequence[Any]) -> tuple[Binding, ...]:
    return tuple(Binding(str(name), _dims(size.children)) for name, size in _children(children))


def _dims(children: Sequence[Any]) -> tuple[int, ...]:
    return tuple(_integer(token) for token in children)


def _extents(children: Sequence[Any]) -> tuple[Extent, ...]:
    return tuple(Extent(dims[0], dims[-1]) for dims in (_dims(extent.children) for extent in children))


def _sources(children: Sequence[Any]) -> tuple[WeightSource | None, ...]:
    """An entry for each comma; an empty one is None."""
    text = str(children[0])
    sources: list[WeightSource | None] = []
    start = 0
    for entry in text.split(","):
        first = start + len(entry) - len(entry.lstrip())
        end = first + len(entry.strip())
        match = _SOURCE.fullmatch(entry.strip())
        if match is None and entry.strip():
            raise ValueSyntaxError(first, end)
        if match is not None:
            layer = match["layer"] or match["odd"]
            name = Name(layer, first, first + len(layer))
            sources.append(WeightSource(name, _integer(match["index"] or "0")))
        else:
            sources.append(None)
        start += len(entry) + 1
    return tuple(sources)


def _name(token: Token) -> Name:
    assert token.start_pos is not None
    return Name(str(token), token.start_pos, token.start_pos + len(token))


def _only(values: tuple[T, ...]) -> T:
    if len(values) != 1:
        raise _NotOne
    return values[0]


INTEGER = Form("integers", "an integer", lambda children: _only(_dims(children)))
INTEGERS = Form("integers", "a list of integers", _dims)
NUMBER = Form("numbers", "a number", lambda children: _only(tuple(map(_number, children))))
NUMBERS = Form("numbers", "a list of numbers", lambda children: tuple(map(_number, children)))
SPREADS = Form(
    "spreads",
    f"numbers, {' or '.join(SPREADS_BY_RULE)}",
    lambda children: tuple(map(_spread, children)),
)
NAMES = Form("names", "a list of layer names", lambda children: tuple(map(_name, children)))
NAME = Form("names", "the name of a layer", lambda children: _only(tuple(map(_name, children))))
WORD = Form("word", "a word", lambda children: str(children[0]))
TEXT = Form("text", "a text", lambda children: str(children[0]))
FLAG = Form("flag", "0 or 1", lambda children: bool(children[0].type == "TRUE"))
FLAGS = Form("flags", "a list of 0 and 1", lambda children: tuple(token.type == "TRUE" for token in children))
EXTENT = Form("extents", "an integer, or two as in 3x5 for rows x columns", lambda children: _only(_extents(children)))
EXTENTS = Form("extents", "a list of integers, or of pairs as in 3x5 for rows x columns", _extents)
CLAIM = Form("size", "a size such as 55x55x96, or a number", _dims)
INPUTS = Form("inputs", "sizes such as data:3x227x227", _bindings)
NEURON = Form("neuron", "a neuron such as relu or tanh[1.7,0.66]", _neuron)
SCHEDULE = Form("schedule", "a rate such as 0.01 or dexp[base=0.02;tgtFactor=250;numSteps=4]", _schedule)
SCHEDULES = Form(
    "schedules",
    "rates such as 0.01 or dexp[base=0.02;tgtFactor=250;numSteps=4]",
    lambda children: tuple(_schedule(tree.children) for tree in children),
)
DECLINE = Form("decline", "a schedule such as dexp[tgtFactor=250,noiseStdev=0,numSteps=4], or default", _decline)
SOURCES = Form("text", "layers with weights, as in conv1 or conv1[0]", _sources)
CALL = Form("call", "a function such as initw.makew(conv1)", _call)
QUANTIZER = Form("quantizer", "default or half", lambda children: str(children[0]).lower())

# Forms of the original programs alone. Windows and maps are square, and some lists have one entry.
SQUARE = Form("integers", "an integer", lambda children: Extent(*[_only(_dims(children))] * 2))
SQUARES = Form("integers", "a list of integers", lambda children: tuple(Extent(side, side) for side in _dims(children)))
ONE_SQUARE = Form("integers", "an integer", lambda children: (Extent(*[_only(_dims(children))] * 2),))
ONE_INTEGER = Form("integers", "an integer", lambda children: (_only(_dims(children)),))
# Up to 2012 a rate is a number; cuda-convnet2 takes bare numbers without sign and exponent only, and whole steps (its
# layer.py:81-105, 851).
NUMBER_RATE = Form("numbers", "a number", lambda children: _only(tuple(_schedule([number]) for number in children)))
NUMBER_RATES = Form("numbers", "a list of numbers", lambda children: tuple(_schedule([number]) for number in children))
CCN2_RATE = Form(
    "schedule",
    "a rate such as 0.01, without sign and exponent, or dexp[base=0.02;tgtFactor=250;numSteps=4]",
    _ccn2_schedule,
)
CCN2_RATES = Form(
    "schedules",
    "rates such as 0.01, without sign and exponent, or dexp[base=0.02;tgtFactor=250;numSteps=4]",
    lambda children: tuple(_ccn2_schedule(tree.children) for tree in children),
)
# Numbers in the brackets of a neuron: in cuda-convnet they may have exponents, in 2012 and 2014 not (layer.py:67, 43, 57).
CCN1_NEURON = Form(
    "neuron",
    f"{NEURON.description}, with numbers such as 1e-3 but not +1 or 1E-3",
    lambda children: _plain_neuron(children, "+E"),
)
CCN2_NEURON = Form(
    "neuron",
    f"{NEURON.description}, with numbers without plus and exponent",
    lambda children: _plain_neuron(children, "+eE"),
)

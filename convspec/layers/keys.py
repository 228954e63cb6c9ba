"""Keys of a section: in what form and range a value is, and what is said of one that is not.

`keyed.Keyed` is the section that declares them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from convspec.diagnostics import Report, did_you_mean
from convspec.syntax import forms
from convspec.syntax.document import Entry
from convspec.syntax.forms import Form, ValueSyntaxError
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

if TYPE_CHECKING:
    from convspec.layers.keyed import Keyed

T = TypeVar("T")

MAXIMUM_INTEGER = 2**31 - 1


class Required(Enum):
    """The default of a key that has none."""

    REQUIRED = "required"


REQUIRED = Required.REQUIRED


class Home(Enum):
    """The file of a two-file spec that a key belongs to. In the one-file form there is no difference."""

    LAYERS = "layer file"
    PARAMS = "parameter file"


class Key(Generic[T]):
    """One key of a section.

    spelling: as documents write it (`filterSize`); files may use any case.
    form: how its value reads. default: its value where it is absent, or REQUIRED.
    minimum, maximum, above: bounds of each number in it, inclusive but for `above`. is_bound: False where the program of
    the dialect took any number, so that one out of range is no error.
    choices: the words it may be, or the numbers as they are written. per_input: a list with an entry for each input; a single entry serves all.
    takes_default: whether `[@params]` may supply it; keys of the parameter file may, unless told otherwise.
    is_individual: whether it says something of this one section, so that not even `[@params TYPE]` may supply it.
    has_effect: False for a key that meant something to the original programs only.
    can_be_blank: whether `key=` without a value says the same as no such line.
    """

    def __init__(
        self,
        spelling: str,
        form: Form[Any],
        *,
        doc: str,
        default: Any = REQUIRED,
        home: Home = Home.LAYERS,
        minimum: float | None = None,
        maximum: float | None = None,
        above: float | None = None,
        is_bound: bool = True,
        choices: Sequence[str] = (),
        per_input: bool = False,
        has_effect: bool = True,
        can_be_blank: bool = False,
        takes_default: bool | None = None,
        is_individual: bool = False,
    ) -> None:
        self.spelling = spelling
        self.name = spelling.lower()
        self.form = form
        self.doc = doc
        self.default = default
        self.home = home
        self.minimum = minimum
        self.maximum = maximum
        self.above = above
        self.is_bound = is_bound
        self.choices = tuple(choices)
        self.per_input = per_input
        self.has_effect = has_effect
        self.can_be_blank = can_be_blank
        self.takes_default = home is Home.PARAMS if takes_default is None else takes_default
        self.is_individual = is_individual
        self.attribute = ""

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute

    def changed(self, change: Mapping[str, Any]) -> Key[T]:
        """The key as another dialect has it, with other values in some of its fields."""
        key = copy(self)
        for field, value in change.items():
            setattr(key, field, value)
        return key

    @overload
    def __get__(self, section: None, owner: type) -> Key[T]: ...
    @overload
    def __get__(self, section: Keyed, owner: type) -> T: ...
    def __get__(self, section: Keyed | None, owner: type) -> Key[T] | T:
        if section is None:
            return self
        value: T = section._values[self.attribute]
        return value

    def read(self, section: str, entry: Entry, report: Report) -> T | None:
        """The value of an entry, or None after a report of CS204, CS205, CS212 or CS229. Reports CS221 of one that stands."""
        if entry.fault is not None:
            report_fault(section, entry, report)
            return None
        try:
            value = self.form.parse(entry.value)
        except ValueSyntaxError as error:
            self._report_syntax(section, entry, error, report)
            return None
        problem = next(iter(self._range_problems(value)), None)
        if problem is not None:
            report.add(
                "CS205" if self.is_bound else "CS221",
                entry.value_span,
                f"{self.spelling} of {section} is {entry.value}; it {'must' if self.is_bound else 'should'} be {problem}",
                help=f"{self.spelling}: {self.doc}",
            )
            if self.is_bound:
                return None
        if self.choices and str(value) not in self.choices:
            listed = ", ".join(self.choices)
            report.add(
                "CS212",
                entry.value_span,
                f"{self.spelling} of {section} is '{entry.value}'; it can be {listed}",
                help=did_you_mean(str(value), self.choices) or f"write {self.spelling}={self.choices[0]}, say",
            )
            return None
        result: T = value
        return result

    def _report_syntax(self, section: str, entry: Entry, error: ValueSyntaxError, report: Report) -> None:
        wrong = entry.value[error.start : error.end]
        help = f"{self.spelling}: {self.doc}"
        if "\n" in entry.value:
            help = "an indented line continues the value above it: start each key in column 1"
        elif wrong.startswith("$"):
            help = "$ stands for a parameter in the layers of a template, [@block.conv]; write the value itself here"
        elif "#" in entry.value:
            help = "a comment behind a value starts with a blank and ;"
        elif wrong.endswith(".0") and wrong[:-2].isdigit():
            help = f"write {wrong[:-2]}"
        # Of a value that goes on in an indented line, the line is what nobody meant.
        start = error.start + (wrong.find("\n") + 1)
        span = entry.part(start, error.end) if entry.value else entry.key_span
        if error.is_too_large:
            report.add("CS205", span, f"{self.spelling} of {section} is {wrong}: too large a number", help=help)
            return
        taken = f"{self.spelling} of {section} takes {self.form.description}"
        got = f", not '{' '.join(wrong.split())}'" if wrong.strip() else ", and is empty"
        report.add("CS204", span, taken + got, help=help)

    def _range_problems(self, value: object) -> list[str]:
        """The bound that each number out of range should keep."""
        problems = []
        for number in _numbers_in(value):
            if self.minimum is not None and number < self.minimum:
                problems.append(f"at least {self.minimum:.10g}")
            elif self.above is not None and number <= self.above:
                problems.append(f"above {self.above:.10g}")
            elif (maximum := self._maximum_of(number)) is not None and number > maximum:
                problems.append(f"at most {maximum:.10g}")
        return problems

    def _maximum_of(self, number: float) -> float | None:
        return MAXIMUM_INTEGER if self.maximum is None and isinstance(number, int) else self.maximum


def _numbers_in(value: object) -> Iterator[int | float]:
    """The numbers of a value, those of a list and of its pairs too."""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, Extent):
            yield from part
        elif isinstance(part, int | float) and not isinstance(part, bool):
            yield part


def report_fault(section: str, entry: Entry, report: Report) -> None:
    """Report CS229 for a key that is read, and whose value refers to what is not there."""
    assert entry.fault is not None
    start, end, message, help = entry.fault
    report.add("CS229", entry.part(start, end), f"{entry.written_key} of {section}: {message}", help=help)


# One constructor a form, so that a class reads as a table of keys and mypy knows each value's type.


def integer(spelling: str, *, doc: str, **options: Any) -> Key[int]:
    return Key(spelling, forms.INTEGER, doc=doc, **options)


def integers(spelling: str, *, doc: str, **options: Any) -> Key[tuple[int, ...]]:
    """One integer for each input."""
    return Key(spelling, forms.INTEGERS, doc=doc, per_input=True, **options)


def extent(spelling: str, *, doc: str, **options: Any) -> Key[Extent]:
    """A number for both axes, or one for rows and one for columns."""
    return Key(spelling, forms.EXTENT, doc=doc, **options)


def extents(spelling: str, *, doc: str, **options: Any) -> Key[tuple[Extent, ...]]:
    """One extent for each input."""
    return Key(spelling, forms.EXTENTS, doc=doc, per_input=True, **options)


def number(spelling: str, *, doc: str, **options: Any) -> Key[float]:
    return Key(spelling, forms.NUMBER, doc=doc, **options)


def numbers(spelling: str, *, doc: str, **options: Any) -> Key[tuple[float, ...]]:
    """One number for each input."""
    return Key(spelling, forms.NUMBERS, doc=doc, per_input=True, **options)


def spreads(spelling: str, *, doc: str, **options: Any) -> Key[tuple[float | str, ...]]:
    """One deviation for each input, or the word of a rule for it."""
    return Key(spelling, forms.SPREADS, doc=doc, per_input=True, **options)


def flag(spelling: str, *, doc: str, **options: Any) -> Key[bool]:
    return Key(spelling, forms.FLAG, doc=doc, **options)


def flags(spelling: str, *, doc: str, **options: Any) -> Key[tuple[bool, ...]]:
    """One flag for each input."""
    return Key(spelling, forms.FLAGS, doc=doc, per_input=True, **options)


def choice(spelling: str, choices: Sequence[str], *, doc: str, **options: Any) -> Key[str]:
    return Key(spelling, forms.WORD, doc=doc, choices=choices, **options)


def word(spelling: str, *, doc: str, **options: Any) -> Key[str]:
    return Key(spelling, forms.WORD, doc=doc, **options)


def text(spelling: str, *, doc: str, **options: Any) -> Key[str]:
    return Key(spelling, forms.TEXT, doc=doc, **options)


def names(spelling: str, *, doc: str, **options: Any) -> Key[tuple[Name, ...]]:
    return Key(spelling, forms.NAMES, doc=doc, **options)


def neuron_call(spelling: str, *, doc: str, **options: Any) -> Key[NeuronCall | None]:
    return Key(spelling, forms.NEURON, doc=doc, **options)


def schedule_call(spelling: str, *, doc: str, **options: Any) -> Key[ScheduleCall]:
    return Key(spelling, forms.SCHEDULE, doc=doc, **options)


def schedule_calls(spelling: str, *, doc: str, **options: Any) -> Key[tuple[ScheduleCall, ...]]:
    """One schedule for each input."""
    return Key(spelling, forms.SCHEDULES, doc=doc, per_input=True, **options)


def decline_call(spelling: str, *, doc: str, **options: Any) -> Key[DeclineCall]:
    return Key(spelling, forms.DECLINE, doc=doc, **options)


def weight_sources(spelling: str, *, doc: str, **options: Any) -> Key[tuple[WeightSource | None, ...]]:
    return Key(spelling, forms.SOURCES, doc=doc, **options)


def function_call(spelling: str, *, doc: str, **options: Any) -> Key[FunctionCall | None]:
    """A function that gives first values; none where it is absent."""
    return Key(spelling, forms.CALL, doc=doc, default=None, takes_default=True, **options)


def quantizer(spelling: str, *, doc: str, **options: Any) -> Key[str]:
    """`default` or `half`, in any case."""
    return Key(spelling, forms.QUANTIZER, doc=doc, choices=("default", "half"), default="default", **options)


def sizes(spelling: str, *, doc: str, **options: Any) -> Key[tuple[Binding, ...]]:
    return Key(spelling, forms.INPUTS, doc=doc, **options)

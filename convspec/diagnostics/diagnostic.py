"""One mistake of the user, as data, and the report that collects them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from convspec.diagnostics.codes import CODES, Severity
from convspec.diagnostics.span import Span

__all__ = [
    "Diagnostic",
    "DiagnosticError",
    "Label",
    "Report",
    "Severity",
    "closest",
    "did_you_mean",
    "joined",
    "listed",
]

# Longest word and longest text of a message: what a file holds may be of any length, and a message quotes it.
_LONGEST_WORD = 80
_LONGEST_TEXT = 600
# So many choices are compared with a word one by one; of more, only those that are one edit away are looked up.
_FEW_CHOICES = 200
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."


class Label(NamedTuple):
    """A second place that a diagnostic speaks of, and what is to be seen there."""

    span: Span
    text: str


class Diagnostic(NamedTuple):
    """The message states the fact with its numbers, the help states what to type.

    code: a key of `codes.CODES`, `CS402`; stable between releases.
    span: the smallest text that is wrong; None where no text is (a missing file).
    labels: other places that explain it. notes: facts. help: what to do, or None.
    """

    code: str
    message: str
    span: Span | None = None
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: Severity = Severity.ERROR


class DiagnosticError(Exception):
    """Carries diagnostics out of a function that has no value to return. The command line prints them, no traceback."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("\n".join(f"{d.code}: {d.message}" for d in diagnostics))
        self.diagnostics = diagnostics


class Report:
    """Collects diagnostics in the order in which they are found."""

    def __init__(self) -> None:
        self._diagnostics: list[Diagnostic] = []
        self._places: set[tuple[str, Span | None]] = set()
        self._attributed: dict[tuple[str, Span | None], tuple[int, Diagnostic, int]] = {}

    def add(
        self,
        code: str,
        span: Span | None,
        message: str,
        *,
        labels: Sequence[Label] = (),
        notes: Sequence[str] = (),
        help: str | None = None,
    ) -> None:
        """Add a diagnostic; its severity is that of its code. A text longer than a screen is shortened."""
        severity = CODES[code].severity
        help = None if help is None else _shortened(help)
        self.extend([Diagnostic(code, _shortened(message), span, tuple(labels), tuple(notes), help, severity)])

    def has(self, code: str, span: Span | None) -> bool:
        """Whether a diagnostic of this code stands at this very place."""
        return (code, span) in self._places

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            self._diagnostics.append(diagnostic)
            self._places.add((diagnostic.code, diagnostic.span))

    def attribute(self, since: int, maker: Span) -> None:
        """Say of the diagnostics from number `since` on which section asked for the layer that they speak of.

        Many layers may be made from the same text: of those that say the same of the same place, the first one stays.
        """
        found = self._diagnostics[since:]
        del self._diagnostics[since:]
        for diagnostic in found:
            place = (diagnostic.code, diagnostic.span)
            first = self._attributed.get(place)
            if first is None:
                if diagnostic.span is None or diagnostic.span.line_start != maker.line_start:
                    diagnostic = diagnostic._replace(labels=(*diagnostic.labels, Label(maker, "made for this")))
                self._attributed[place] = (len(self._diagnostics), diagnostic, 0)
                self._diagnostics.append(diagnostic)
                continue
            index, diagnostic, others = first
            self._attributed[place] = (index, diagnostic, others + 1)
            note = f"the same in {'one more layer' if not others else f'{others + 1} more layers'} made from this text"
            self._diagnostics[index] = diagnostic._replace(notes=(*diagnostic.notes, note))

    @property
    def has_errors(self) -> bool:
        return any(d.severity is Severity.ERROR for d in self._diagnostics)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self._diagnostics)

    def __len__(self) -> int:
        return len(self._diagnostics)


def did_you_mean(word: str, choices: Collection[str]) -> str | None:
    """`did you mean 'stride'?`, or None where nothing is close."""
    close = closest(word, choices)
    return None if close is None else f"did you mean '{close}'?"


def closest(word: str, choices: Collection[str]) -> str | None:
    """The choice that `word` was probably meant to be, or None. Its time does not grow with the number of choices."""
    if len(word) > _LONGEST_WORD:
        return None
    if len(choices) <= _FEW_CHOICES:
        from difflib import get_close_matches

        in_case = {choice.lower(): choice for choice in sorted(choices)}
        near = get_close_matches(word, sorted(choices), n=1, cutoff=0.6)
        return next(iter(near), in_case.get(word.lower()))
    known = choices if isinstance(choices, Mapping | Set) else set(choices)
    return next((edited for edited in _one_edit_away(word) if edited in known), None)


def _one_edit_away(word: str) -> Iterator[str]:
    """Words with a letter left out, exchanged with its neighbour, replaced or put in."""
    halves = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    yield from (left + right[1:] for left, right in halves if right)
    yield from (left + right[1] + right[0] + right[2:] for left, right in halves if len(right) > 1)
    yield from (left + letter + right[1:] for left, right in halves if right for letter in _LETTERS)
    yield from (left + letter + right for left, right in halves for letter in _LETTERS)


def _shortened(text: str) -> str:
    """`text` with the middle of what is too long to read left out."""
    if len(text) <= _LONGEST_WORD:
        return text
    words = (_without_middle(word, _LONGEST_WORD) for word in text.split(" "))
    return _without_middle(" ".join(words), _LONGEST_TEXT)


def _without_middle(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 20]}...{text[-17:]}"


def joined(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def listed(names: Iterable[str], most: int = 8) -> str:
    """`conv1a, conv1b`; of more than `most` different ones, the first and how many more."""
    names = list(dict.fromkeys(names))
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"

"""What commands say beside their results: diagnostics on standard error, and how many there are of something."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from convspec.diagnostics import Diagnostic, Severity

if TYPE_CHECKING:
    from convspec.checker import Checked

_USAGE_CODES = frozenset(
    {"CS101", "CS102", "CS114", "CS213", "CS418", "CS601", "CS701", "CS719", "CS801", "CS802", "CS803"}
)
_MOST_WARNINGS = 10


def print_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    from convspec.diagnostics.render import Format, render
    from convspec.diagnostics.style import wants_color

    color = wants_color(sys.stderr)
    click.echo(render(diagnostics, Format.FULL, color=color), err=True, nl=False, color=color)


GOES_ON = "the same command goes on where this one was"
STARTS_ANEW = "nothing was written; the same command begins anew"


@contextmanager
def interrupted_saying(what: str) -> Iterator[None]:
    """Has Ctrl-C, or another signal that ends a command, tell what is left and what to type."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(what) from None


def exit_code(diagnostics: Iterable[Diagnostic]) -> int:
    """2 for wrong usage or a file that is not there, 1 for what is wrong with a spec or a run."""
    return 2 if any(map(_is_of_usage, diagnostics)) else 1


def _is_of_usage(diagnostic: Diagnostic) -> bool:
    # a file that a line of a spec names and that is not there is a mistake of that line
    is_in_spec = diagnostic.code in ("CS101", "CS102") and diagnostic.span is not None
    return diagnostic.code in _USAGE_CODES and not is_in_spec


def print_warnings(checked: Checked) -> Checked:
    """What is done with a network that has no errors is done all the same, and a key that nobody reads must not pass
    unseen: its warnings, the first of many. Returns `checked`."""
    warnings = [diagnostic for diagnostic in checked.diagnostics if diagnostic.severity is Severity.WARNING]
    print_diagnostics(warnings[:_MOST_WARNINGS])
    if len(warnings) > _MOST_WARNINGS:
        click.echo(f"and {len(warnings) - _MOST_WARNINGS} more warnings, which convspec check has", err=True)
    return checked


def counted(count: int, what: str) -> str:
    """`1 picture`, `2,048 pictures`; what: one of them."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")

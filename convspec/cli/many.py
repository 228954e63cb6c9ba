"""What commands that train several networks show while they do."""

from __future__ import annotations

from convspec.cli.messages import print_diagnostics
from convspec.diagnostics import Diagnostic
from convspec.train.display import Display, Named, open_display


class Once:
    """Prints each warning once, however many trainings have it."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def __call__(self, diagnostic: Diagnostic) -> None:
        if (diagnostic.code, diagnostic.message) not in self._told:
            self._told.add((diagnostic.code, diagnostic.message))
            print_diagnostics([diagnostic])


def display_of(name: str) -> Display:
    """The progress of a training, under its name."""
    return Named(open_display(), name)

"""What the commands that look at pictures share: what they warn of, and the panels that they write."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import click
from PIL import Image

from convspec.cli.messages import print_diagnostics
from convspec.cli.write import replace_file
from convspec.data.dataset import Pictures
from convspec.data.gallery import Gallery
from convspec.data.pictures import BrokenPicture
from convspec.diagnostics import Diagnostic, did_you_mean
from convspec.report.panels import MOST_DRAWN, SIDE, nothing
from convspec.train.trained import Trained

T = TypeVar("T")

_NAMED = 8


class Warned:
    """Prints diagnostics as they come, and remembers their codes."""

    def __init__(self) -> None:
        self.codes: set[str] = set()

    def __call__(self, diagnostic: Diagnostic) -> None:
        self.codes.add(diagnostic.code)
        print_diagnostics([diagnostic])


class Progress:
    """Tells on a terminal how many pictures are done, on a line that is written anew."""

    def __init__(self) -> None:
        self._is_shown = False

    def __call__(self, done: int, count: int) -> None:
        if sys.stderr.isatty():
            self._is_shown = True
            click.echo(f"\r\x1b[K{done:,} of {count:,} pictures", nl=False, err=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def class_number(trained: Trained, name: str) -> int:
    """The class of a name. Raises UsageError where the run has none such."""
    if name in trained.classes:
        return trained.classes.index(name)
    some = ", ".join(trained.classes[:_NAMED]) + (", ..." if len(trained.classes) > _NAMED else "")
    hint = did_you_mean(name, trained.classes) or (f"its classes are {some}" if some else "it tells of no classes")
    raise click.UsageError(f"{trained.run_dir} has no class '{name}': {hint}")


def refuse_pictures(output: str | None, *galleries: Gallery) -> None:
    """Raises UsageError where the file to write is a picture that is looked at."""
    if output is None or not os.path.exists(output):  # noqa: PTH110 - raises nothing
        return
    target = Path(output).resolve()
    for gallery in galleries:
        for place in range(len(gallery)):
            path = gallery.path(place)
            if path is not None and path.name == target.name and path.resolve() == target:
                raise click.UsageError(f"{output} is a picture that is looked at: name another file with -o")


def drawn(items: Sequence[T], what: str) -> Sequence[T]:
    """Of what could be drawn so much as a panel holds; says so where that is not all."""
    if len(items) > MOST_DRAWN:
        click.echo(f"the panel shows the first {MOST_DRAWN} of {len(items)} {what}", err=True)
    return items[:MOST_DRAWN]


def picture_for_panel(gallery: Gallery, index: int) -> Pictures:
    """A picture as people see it; an empty one where its file went away since the network saw it."""
    try:
        return gallery.shown(index, SIDE)
    except BrokenPicture:
        return nothing()


def write_panel(path: str, panel: Image.Image) -> None:
    """Write a PNG. Raises DiagnosticError CS101 where that cannot be."""
    content = BytesIO()
    panel.save(content, format="PNG", optimize=True)
    replace_file(path, content.getvalue(), help="name a file in a folder of yours with -o")

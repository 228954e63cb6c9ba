"""What no picture, page or table is written over: the files of runs and of data. Any other file gives way, as everywhere, if it
was named; in a folder that was named, none does but those that the command wrote itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

_OF_A_RUN = frozenset(
    {
        ".lock",
        "checkpoints",
        "diverged.json",
        "features",
        "metrics.jsonl",
        "model.py",
        "resolved.cfg",
        "settings.json",
        "spec.cfg",
        "tensorboard",
    }
)
_NOT_READ = (".png", ".html", ".csv")
"""Ends of names that nothing is read from at the top of a folder of data, where some like to put what was drawn of it."""


def refuse_what_is_read(output: str | None, *data: str | Path | None) -> None:
    """Raises UsageError where the file to write is there, and a run or the data are read from it.

    output: None for none. data: folders, files or names of built-in sets; None for none.
    """
    if output is None or not os.path.exists(output):  # noqa: PTH110 - raises nothing
        return
    target = Path(os.path.realpath(output))
    for folder in target.parents:
        if target.relative_to(folder).parts[0] in _OF_A_RUN and (folder / "settings.json").is_file():
            raise click.UsageError(f"{output} is a file of the run {folder}: name another one with -o")
    for place in data:
        if place is not None and _is_of(target, Path(os.path.realpath(Path(place).expanduser()))):
            raise click.UsageError(f"{output} is a file of the data in {place}: name another one with -o")


def refuse_folder(folder: Path, results: Sequence[str], data: str | None) -> None:
    """Raises UsageError where a command cannot write its results into a folder without harm: it is one of a run or of the
    data, or has a file of such a name that did not come from there.

    results: names, in the order in which they are written, so that where the others are the first is, too. data: as in
    `refuse_what_is_read`, one of them.
    """
    target, elsewhere = Path(os.path.realpath(folder)), "name another folder with -o"
    for around in (target, *target.parents):
        if (around / "settings.json").is_file() and (around / "resolved.cfg").is_file():
            raise click.UsageError(f"{folder} is in the run {around}: {elsewhere}")
    place = None if data is None else Path(os.path.realpath(Path(data).expanduser()))
    if place is not None and target.is_relative_to(place):
        raise click.UsageError(f"{folder} is in the data {data}: {elsewhere}")
    first, *others = results
    strange = others if not os.path.lexists(target / first) else ()
    for name in strange:
        if os.path.lexists(target / name):
            raise click.UsageError(f"{folder / name} is not from this command, and would be written over: {elsewhere}")


def _is_of(target: Path, data: Path) -> bool:
    if target == data:
        return True
    return target.is_relative_to(data) and (target.parent != data or target.suffix.lower() not in _NOT_READ)

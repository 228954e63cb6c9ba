"""What no picture, page or table is written over: the files of runs and of data. Any other file gives way, as everywhere."""

from __future__ import annotations

import os
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


def _is_of(target: Path, data: Path) -> bool:
    if target == data:
        return True
    return target.is_relative_to(data) and (target.parent != data or target.suffix.lower() not in _NOT_READ)

"""`check --watch`: again after every change of a file that the spec is made of, until Ctrl-C.

Files are looked at four times a second: there is nothing to install, it works on network drives, and a spec is a few
files. An editor that writes a new file in place of the old one, or empties it first, is given a second to finish.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping

import click

from convspec.checker import Checked
from convspec.cli.messages import print_diagnostics
from convspec.diagnostics import DiagnosticError
from convspec.graph.files import source_paths

_INTERVAL = 0.25
# After a change: how long until the next look, and how many looks until the files are taken as they are.
_PAUSE = 0.1
_LOOKS = 10

State = tuple[int, int, int, int] | None
Snapshot = Mapping[str, State]


def watch(spec: str, run: Callable[[], Checked], show: Callable[[Checked], int]) -> int:
    """Run and show, again and again. A file that cannot be read ends it the first time only.

    run: checks the spec. show: prints what came of it. Never returns: Ctrl-C raises KeyboardInterrupt.
    """
    paths: tuple[str, ...] = (spec,)
    is_first = True
    while True:
        before = snapshot(paths)
        click.clear()
        try:
            checked = run()
            paths = source_paths(checked.sections.files)
            show(checked)
            if not checked.diagnostics:
                click.echo(f"{spec}: no errors", err=True)
        except DiagnosticError as error:
            if is_first:
                raise
            print_diagnostics(error.diagnostics)
        is_first = False
        # What was not watched yet is taken as it is now.
        seen = {path: before.get(path, state) for path, state in snapshot(paths).items()}
        click.echo(f"watching {_listed(seen)}; Ctrl-C ends", err=True)
        wait_for_change(seen)


def snapshot(paths: Iterable[str]) -> dict[str, State]:
    """What tells a changed file: times, size, number. None for one that is not there."""
    return {path: _state(path) for path in paths}


def _state(path: str) -> State:
    try:
        found = os.stat(path)  # noqa: PTH116 - a path that is no path raises ValueError here, too
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def wait_for_change(seen: Snapshot, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Until a file is not as it was seen, and then until no file changes any more or is missing."""
    while (now := snapshot(seen)) == seen:
        sleep(_INTERVAL)
    for _ in range(_LOOKS):
        sleep(_PAUSE)
        last, now = now, snapshot(seen)
        if now == last and all(_is_whole(now[path]) for path, state in seen.items() if _is_whole(state)):
            return


def _is_whole(state: State) -> bool:
    return state is not None and state[2] > 0


def _listed(seen: Snapshot) -> str:
    """The files that are there; those that were looked for in vain are watched too."""
    there = [path for path, state in seen.items() if state is not None] or list(seen)
    return there[0] if len(there) == 1 else f"{there[0]} and {', '.join(there[1:])}"

"""The folder of a run as it lies there: its spec, its settings, its checkpoints.

Reading takes no lock and writes nothing, so that it works on a read-only folder and beside a process that trains there.
What that process removes while it is read is looked for again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from convspec.checker import Checked, check
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError, did_you_mean, listed
from convspec.train.checkpoint import BrokenCheckpoint, Checkpoint, list_checkpoints, load_checkpoint, load_newest, seen
from convspec.train.run import check_is_run
from convspec.train.run_settings import read_settings

SPEC = "resolved.cfg"


@dataclass(frozen=True, slots=True)
class SavedRun:
    """What the folder of a run holds: its spec, its settings, and one of its checkpoints."""

    path: Path
    settings: Mapping[str, Any]
    checked: Checked
    checkpoint: Checkpoint


def read_run(run: str | Path, *, checkpoint: str | None = None, notify: Notify) -> SavedRun:
    """Read the folder of a run.

    checkpoint: name of one of its checkpoints, such as 0003-00000750; None takes the newest that is whole. notify: is
    told of newer ones that are not.

    Raises DiagnosticError: CS719 where there is no such run or checkpoint, CS708 for a run without a checkpoint, or
    whose files are broken, and what `check` finds in a spec that was edited.
    """
    path = Path(run)
    check_is_run(path)
    settings = read_settings(path)
    checked = check(path / SPEC, overrides=_stored_size(settings)).require_ok()
    found = newest_checkpoint(path, notify) if checkpoint is None else _named(path, checkpoint)
    return SavedRun(path, settings, checked, found)


def read_weights(run: Path, notify: Notify) -> tuple[str, Mapping[str, Tensor]]:
    """Weights by canonical name, with the name of their checkpoint: the newest of the folder of a run that is whole, or the
    one whose own folder `run` is. Raises DiagnosticError CS708 and CS719."""
    if (run / "state.json").is_file():
        try:
            return run.name, load_checkpoint(run).weights
        except BrokenCheckpoint as error:
            raise DiagnosticError(Diagnostic("CS708", f"{run} cannot be used: {error}")) from error
    check_is_run(run)
    found = newest_checkpoint(run, notify)
    return found.name, found.weights


def newest_checkpoint(run: Path, notify: Notify) -> Checkpoint:
    """The newest of a run that is whole. Raises DiagnosticError CS708 where there is none that can be used."""
    folder = run / "checkpoints"
    while True:
        before = seen(folder)
        told: list[Diagnostic] = []
        try:
            found = load_newest(folder, told.append)
        except DiagnosticError:
            if seen(folder) == before:
                raise
            continue
        if (found is not None and not told) or seen(folder) == before:
            break
    for diagnostic in told:
        notify(diagnostic)
    if found is None:
        message = f"{run} has no checkpoint yet"
        raise DiagnosticError(Diagnostic("CS708", message, help=f"go on with convspec train --resume {run}"))
    return found


def _named(run: Path, name: str) -> Checkpoint:
    """Raises DiagnosticError CS719 where there is none of this name, CS708 where it is broken."""
    paths = {path.name: path for path in list_checkpoints(run / "checkpoints")}
    if name not in paths:
        known = f"it has {listed(paths)}" if paths else "it has none yet"
        help = did_you_mean(name, paths) or known
        raise DiagnosticError(Diagnostic("CS719", f"{run} has no checkpoint {name}", help=help))
    try:
        return load_checkpoint(paths[name])
    except BrokenCheckpoint as error:
        if not paths[name].exists():
            message = f"{run} has no checkpoint {name} any more: the training there has put a newer one in its place"
            raise DiagnosticError(Diagnostic("CS719", message)) from error
        others = [other for other in paths if other != name]
        another = f"name another: {listed(others)}" if others else None
        raise DiagnosticError(Diagnostic("CS708", f"{paths[name]} cannot be used: {error}", help=another)) from error


def _stored_size(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The override by which any other data are stored at the size that the run was trained at."""
    match settings.get("stored_shape"):
        case [int(height), int(width), int()] if height == width:
            return (f"@data.size={height}",)
        case _:
            return ()

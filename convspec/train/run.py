"""A run is a folder: the spec as written and as resolved, the emitted module, settings, metrics, checkpoints.

    runs/alexnet/  spec.cfg  resolved.cfg  model.py  settings.json  metrics.jsonl  checkpoints/

Nothing in it depends on the clock or on where it lies, but for the objects under "wall" in metrics.jsonl.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from itertools import count, zip_longest
from pathlib import Path
from typing import IO, Any

from convspec.data.dataset import Dataset, Notify
from convspec.data.durable import locked, replace_file
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity, closest
from convspec.train.contract import CompiledSpec
from convspec.train.durable import reporting_write_errors
from convspec.train.run_settings import read_settings

RUNS = "runs"

_LOCK = ".lock"
_MOST_NAMED = 8
_FILES = ("spec.cfg", "resolved.cfg", "model.py")
UNFINISHED = ".importing"
"""Where the weights of a run that is imported are until they are whole."""

_BEFORE_SETTINGS = frozenset({_LOCK, UNFINISHED, ".settings.json.tmp", *_FILES, *(f".{name}.tmp" for name in _FILES)})


class RunFolder:
    """One run, locked against a second process for as long as it is open."""

    def __init__(self, path: Path, *, is_locked: bool = True) -> None:
        """is_locked: False where another process of the same run holds the lock."""
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._lock = _lock(path) if is_locked else None

    @classmethod
    def create(cls, name: str, *, run_dir: str | Path | None = None, runs: str | Path = RUNS) -> RunFolder:
        """A new folder: `run_dir`, or else runs/NAME, runs/NAME-2, ... Raises DiagnosticError CS706."""
        path = _make_numbered(Path(runs), name) if run_dir is None else _make_named(Path(run_dir))
        run = cls(path)
        shutil.rmtree(path / UNFINISHED, ignore_errors=True)
        return run

    @classmethod
    def reopen(cls, path: str | Path) -> RunFolder:
        """A folder that `create` and `describe` made. Raises DiagnosticError CS719 where it is none."""
        check_is_run(Path(path))
        return cls(Path(path))

    def describe(self, compiled: CompiledSpec, settings: Mapping[str, Any]) -> None:
        """Write what the run is made from; settings.json comes last, and marks the folder as that of a run."""
        files = {"spec.cfg": compiled.spec_text, "resolved.cfg": compiled.resolved_text, "model.py": compiled.source}
        with reporting_write_errors(self.path, lambda: "the run has not begun: there is nothing to resume"):
            for name, text in files.items():
                replace_file(self.path / name, text.encode())
        self.adopt(settings)

    def adopt(self, settings: Mapping[str, Any]) -> None:
        """Write settings anew: those of an imported run tell nothing of data until it meets some."""
        with reporting_write_errors(self.path, run=_begun(self.path)):
            replace_file(self.path / "settings.json", (json.dumps(settings, indent=1) + "\n").encode())

    def settings(self) -> dict[str, Any]:
        return read_settings(self.path)

    def check_spec(self, resolved_text: str) -> None:
        """Raises DiagnosticError CS709 where the run was made from another spec."""
        try:
            before = (self.path / "resolved.cfg").read_text()
        except (OSError, ValueError) as error:
            raise DiagnosticError(
                Diagnostic("CS708", f"{self.path / 'resolved.cfg'} cannot be read: {error}")
            ) from error
        if before != resolved_text:
            raise DiagnosticError(
                Diagnostic(
                    "CS709",
                    f"{self.path} was made from another spec",
                    notes=(first_difference(before, resolved_text),),
                    help=f"train without --resume, or go back to the spec in {self.path / 'resolved.cfg'}",
                )
            )

    def check_data(self, dataset: Dataset) -> None:
        """Raises DiagnosticError CS709 where the run was made on other data. A run whose fingerprint is of an earlier version,
        which told less, takes that of this one."""
        settings = self.settings()
        if not dataset.is_that_of(settings.get("fingerprint")):
            message = f"{self.path} was made on other pictures than {dataset.name} has now"
            help = f"name the data of that run with --data, or begin a new run from its weights with --init {self.path}"
            raise DiagnosticError(Diagnostic("CS709", message, help=help))
        if settings["fingerprint"] != dataset.fingerprint:
            self.adopt({**settings, "fingerprint": dataset.fingerprint})

    def begin_again(self, checkpoint_every: int, notify: Notify) -> None:
        """Note that the run has no checkpoint and begins at step 0: it was stopped before the first.

        Raises DiagnosticError CS708 where metrics.jsonl tells that there were some, which somebody has removed.
        """
        steps, epochs = _how_far(self.path / "metrics.jsonl")
        if epochs > 1 or (checkpoint_every and steps > checkpoint_every):
            message = f"the checkpoints of {self.path} are gone: metrics.jsonl tells of step {steps}, and none is there"
            help = f"put {self.checkpoints} back, or train anew, in another folder"
            raise DiagnosticError(Diagnostic("CS708", message, help=help))
        message = f"{self.path} has no checkpoint yet, so that the run begins at step 0"
        notify(Diagnostic("CS708", message, severity=Severity.NOTE))

    def check_is_held(self) -> None:
        """Raises DiagnosticError CS706 where the folder was removed, moved, or taken by another process since it was locked:
        what is written there now would be of no run. Takes the lock again where somebody removed that alone."""
        if self._lock is None:
            return
        try:
            is_ours = os.path.samestat(os.fstat(self._lock.fileno()), (self.path / _LOCK).stat())
        except OSError:
            is_ours = False
            if (self.path / "settings.json").is_file():
                self._lock.close()
                self._lock, is_ours = _lock(self.path), True
        if not is_ours:
            message = f"{self.path} was removed, moved or replaced while it was trained"
            help = "where it was moved, go on with --resume and its new name; what was trained since its last checkpoint is lost"
            raise DiagnosticError(Diagnostic("CS706", message, help=help))

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()


def check_is_run(path: Path) -> None:
    """Raises DiagnosticError CS719 where a folder is not there, or not that of a run, CS708 where its spec or records are no
    file."""
    if (path / "settings.json").is_file():
        for name, what in (("resolved.cfg", "the spec"), ("metrics.jsonl", "the records")):
            file = path / name
            if os.path.lexists(file) and not file.is_file():  # to open a pipe would wait for whoever writes into it
                raise DiagnosticError(Diagnostic("CS708", f"{file} is not a file: put {what} of the run back"))
        return
    if not os.path.lexists(path):
        message = f"there is no run {path}"
    elif not path.is_dir():
        message = f"{path} is a file, not the folder of a run"
    else:
        message = f"{path} is not the folder of a run: it has no settings.json"
    around = next((parent for parent in path.absolute().parents if (parent / "settings.json").is_file()), None)
    help = _runs_near(path) if around is None else f"it lies in the run {around}"
    raise DiagnosticError(Diagnostic("CS719", message, help=help))


def _runs_near(path: Path) -> str:
    """Which run may be meant: one in the folder that was named, beside what was named, or where runs are made."""
    near = dict.fromkeys((path if path.is_dir() else path.parent, Path(RUNS)))
    found = [str(made.parent) for folder in near for made in sorted(folder.glob("*/settings.json"))]
    by_name = {Path(run).name: run for run in reversed(found)}
    meant = closest(path.name, by_name)
    if meant is not None:
        return f"did you mean '{by_name[meant]}'?"
    if found:
        return f"there is {', '.join(found[:_MOST_NAMED])}" + (", ..." if len(found) > _MOST_NAMED else "")
    return f"name a folder that train made, such as {RUNS}/alexnet"


def _make_named(path: Path) -> Path:
    with reporting_write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        is_used = not _is_free({entry.name for entry in path.iterdir()})
    if is_used:
        is_run = (path / "settings.json").is_file()
        help = f"go on with --resume {path}, or name a new folder" if is_run else "name a new folder"
        raise DiagnosticError(Diagnostic("CS706", f"the folder {path} is not empty", help=help))
    return path


def _is_free(names: set[str]) -> bool:
    """Whether a folder is empty, or holds what a run left that ended before it had begun; its lock tells that it was one."""
    return not names or (_LOCK in names and names <= _BEFORE_SETTINGS)


def _make_numbered(runs: Path, name: str) -> Path:
    with reporting_write_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = runs / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    raise AssertionError("count() does not end")


def _begun(folder: Path) -> Path | None:
    """The folder, if there is a run in it that can go on."""
    return folder if (folder / "settings.json").is_file() else None


def _lock(folder: Path) -> IO[bytes]:
    """Raises DiagnosticError CS706 where another process trains in the folder."""
    with reporting_write_errors(folder, run=_begun(folder)):
        try:
            return locked(folder / _LOCK)
        except BlockingIOError:
            message = f"another process is training in {folder}"
            raise DiagnosticError(
                Diagnostic("CS706", message, help="wait for it, or name another folder with --run")
            ) from None


def first_difference(before: str, after: str, was: str = "was", is_: str = "is") -> str:
    """The first line in which two resolved specs differ, as a note."""
    pairs = zip_longest(before.splitlines(), after.splitlines(), fillvalue="(nothing)")
    for number, (old, new) in enumerate(pairs, 1):
        if old != new:
            return f"line {number} of the resolved spec {was} '{old}' and {is_} '{new}'"
    return "the resolved specs differ in their line ends"


def _how_far(metrics: Path) -> tuple[int, int]:
    """Steps and epochs (counted from 1) of the last record; zeros where there is none that can be read."""
    try:
        lines = metrics.read_bytes().splitlines()
    except OSError:
        return 0, 0
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
            record = json.loads(line)
            return int(record["step"]), int(record["epoch"])
    return 0, 0

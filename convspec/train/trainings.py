"""Trainings one after another, each an ordinary run in a folder of its own.

A command that trains several networks is run again after a kill: trainings that have ended are read, not repeated, the
one that was in progress goes on from its checkpoint, and what comes of it is the same to the bit. Whether a training has
ended is read from its folder alone: from its newest checkpoint, the records of metrics.jsonl up to there, and, where the
loss ceased to be finite, from diverged.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from convspec.data.batches import steps_of
from convspec.data.dataset import Notify
from convspec.data.durable import replace_file
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.checkpoint import newest_state
from convspec.train.contract import CompiledSpec
from convspec.train.display import Display
from convspec.train.durable import reporting_write_errors
from convspec.train.integrity import check_complete
from convspec.train.metrics import Record, read_metrics
from convspec.train.run import RunFolder
from convspec.train.run_settings import read_settings
from convspec.train.trainer import train

_DIVERGED = "diverged.json"


class Progress(NamedTuple):
    """Where a training stands. steps: that are done. steps_per_epoch: minibatches of one. records: of metrics.jsonl."""

    steps: int
    steps_per_epoch: int
    records: Sequence[Record]


_HELP = {
    "CS709": "name another folder with -o, or delete this one",
    "CS711": "free some space; then the same command goes on, and what has ended is not trained again",
}

IsEnough = Callable[[Progress], bool]
"""Whether a training may end; asked at the end of each epoch."""


class Ending(Enum):
    FINISHED = "finished"
    """Its epochs are over, or its schedule, or it has done the steps that it may do."""
    ENOUGH = "enough"
    """Before that, as it was told to."""
    DIVERGED = "diverged"
    """Its loss was not finite."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that has ended. trouble: why it diverged."""

    folder: Path
    ending: Ending
    progress: Progress
    trouble: str = ""


@dataclass(frozen=True)
class Trainings:
    """How all trainings of a command are carried out.

    folder: holds a folder each. data, device: as `train` takes them. max_steps: after which each of them ends.
    notify: is told warnings. display: makes the display of a training, by its name.
    """

    folder: Path
    data: str | None
    device: str
    notify: Notify
    display: Callable[[str], Display]
    max_steps: int | None = None

    def carry_out(self, name: str, compiled: CompiledSpec, is_enough: IsEnough = lambda progress: False) -> Trained:
        """Train, go on with, or read the training `name`.

        Raises DiagnosticError as `train` does, but for a loss that is not finite, which is how a training may end; CS709
        where the folder is that of a run of another spec or of other data. Raises Interrupted after a signal.
        """
        try:
            return self._carry_out(name, compiled, is_enough)
        except DiagnosticError as error:
            raise with_help(error) from error.__cause__

    def _carry_out(self, name: str, compiled: CompiledSpec, is_enough: IsEnough) -> Trained:
        run = self.folder / name
        ended = self._ended(run, compiled, is_enough)
        if ended is not None:
            return ended
        is_begun = (run / "settings.json").is_file()
        try:
            train(
                compiled,
                data=self.data,
                run_dir=None if is_begun else run,
                resume=run if is_begun else None,
                device=self.device,
                max_steps=self.max_steps,
                display=self.display(name),
                notify=self.notify,
                is_enough=lambda: is_enough(_progress(run, compiled)),
            )
        except DiagnosticError as error:
            self._take_divergence(run, error)
        ended = self._ended(run, compiled, is_enough)
        assert ended is not None, f"{run} has not ended"
        return ended

    def _ended(self, run: Path, compiled: CompiledSpec, is_enough: IsEnough) -> Trained | None:
        """The training, if it has ended. Raises DiagnosticError CS709 where it is another one."""
        if not (run / "settings.json").is_file():
            return None
        with closing(RunFolder.reopen(run)) as opened:
            opened.check_spec(compiled.resolved_text)
        state = _newest_state(run)
        progress = _progress(run, compiled)
        trouble = _read_divergence(run)
        if trouble is not None:
            records = read_metrics(run)
            steps = records[-1]["step"] if records else 0
            return Trained(run, Ending.DIVERGED, progress._replace(steps=steps, records=records), trouble)
        if state is None:
            return None
        if state["finished"] or (self.max_steps is not None and progress.steps >= self.max_steps):
            return Trained(run, Ending.FINISHED, progress)
        if progress.steps and state["step_in_epoch"] == 0 and is_enough(progress):
            return Trained(run, Ending.ENOUGH, progress)
        return None

    def _take_divergence(self, run: Path, error: DiagnosticError) -> None:
        """Keep that a training diverged; any other trouble is raised."""
        found = next((d for d in error.diagnostics if d.code == "CS707"), None)
        if found is None:
            raise error
        text = json.dumps({"message": found.message}, indent=1) + "\n"
        with reporting_write_errors(run):
            replace_file(run / _DIVERGED, text.encode())


def _progress(run: Path, compiled: CompiledSpec) -> Progress:
    """Up to the newest checkpoint of a run; nothing is done where there is none. Raises DiagnosticError CS709 where it has
    met no data, as an imported run."""
    pictures = read_settings(run).get("train_pictures")
    if pictures is None:
        raise DiagnosticError(Diagnostic("CS709", f"{run} was not trained by this command: it tells of no data"))
    steps_per_epoch = steps_of(pictures, compiled.train.batch)
    state = _newest_state(run)
    if state is None:
        return Progress(0, steps_per_epoch, [])
    return Progress(state["step"], steps_per_epoch, read_metrics(run, lines=state["metrics_lines"]))


def _newest_state(run: Path) -> Mapping[str, Any] | None:
    """None before the first checkpoint. Raises DiagnosticError CS708 where another version wrote it."""
    state = newest_state(run / "checkpoints")
    if state is not None:
        check_complete(state, run)
    return state


def _read_divergence(run: Path) -> str | None:
    try:
        return str(json.loads((run / _DIVERGED).read_bytes())["message"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DiagnosticError(Diagnostic("CS708", f"{run / _DIVERGED} cannot be read: {error}")) from error


@contextmanager
def writing_results(folder: Path) -> Iterator[None]:
    """Around the writing of what is not of one run. Raises DiagnosticError CS711 on a full disk, CS706 on others."""
    try:
        with reporting_write_errors(folder):
            yield
    except DiagnosticError as error:
        raise with_help(error) from error.__cause__


def with_help(error: DiagnosticError) -> DiagnosticError:
    """The same with what helps here, where nothing is trained with --run or --resume."""

    def help_of(diagnostic: Diagnostic) -> str | None:
        help = _HELP.get(diagnostic.code, diagnostic.help)
        if help is not None and "--resume" in help and diagnostic.code == "CS706":
            return "let it be written; then the same command goes on"
        return None if help is None else help.replace("with --run", "with -o")

    return DiagnosticError(*(d._replace(help=help_of(d)) for d in error.diagnostics))

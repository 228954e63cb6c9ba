"""The folder that pictures are prepared into, and how its preparation goes on after it was interrupted.

    flowers/  train-00000.npy ...  .prepare/  plan.json  journal.jsonl  train-00000.sums.npy  train-00001.npy.part

A shard is written under `.prepare`, synced, renamed to its place, and then gets its line in the journal: one without a line
is made again. `manifest.json` comes last, and `.prepare` goes away.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from convspec.data.dataset import Split
from convspec.data.durable import locked, replace_file, sync_folder
from convspec.data.manifest import MANIFEST, WORK, FileEntry
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.machine import is_full

OTHER_SOURCE = "from another SRC, or from pictures that have changed since"

_PLAN, _JOURNAL, _LOCK = "plan.json", "journal.jsonl", "lock"


@dataclass(frozen=True, slots=True)
class Done:
    """A shard that is whole. entry: None where all its pictures are broken. labels: of the good ones. broken: names of the
    others, and why."""

    split: Split
    number: int
    entry: FileEntry | None
    labels: tuple[int, ...]
    broken: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        entry = self.entry
        return {
            "split": self.split.value,
            "number": self.number,
            "file": None if entry is None else [entry.name, entry.bytes, entry.sha256],
            "labels": list(self.labels),
            "broken": [list(each) for each in self.broken],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Done:
        file = body["file"]
        return cls(
            Split(body["split"]),
            int(body["number"]),
            None if file is None else FileEntry(str(file[0]), int(file[1]), str(file[2])),
            tuple(map(int, body["labels"])),
            tuple((str(name), str(why)) for name, why in body["broken"]),
        )


class Target:
    """A folder in preparation, locked against a second process as long as it is open."""

    def __init__(self, root: Path, plan: Mapping[str, Any]) -> None:
        """plan: all that decides what will be in the folder.

        Raises DiagnosticError CS726: the folder holds something else, was begun with another plan, another process works in
        it, or it cannot be written; CS711 where the disk is full.
        """
        self.root, self.work = root, root / WORK
        self._journal = self.work / _JOURNAL
        with reporting(root):
            root.mkdir(parents=True, exist_ok=True)
            _refuse_strangers(root)
            self.work.mkdir(exist_ok=True)
            self._lock = _locked(self.work, root)
            try:
                self._begin(plan)
                self.done = self._read_journal()
            except BaseException:
                self.close()
                raise

    def record(self, done: Done) -> None:
        """Count on a shard from now on."""
        line = json.dumps(done.to_json()).encode() + b"\n"
        with self._journal.open("ab", buffering=0) as file:
            while line:
                line = line[file.write(line) :]
            os.fsync(file.fileno())
        self.done[done.split, done.number] = done

    def finish(self, manifest: bytes) -> None:
        """Write the manifest, which makes the folder a prepared one, and leave nothing else."""
        replace_file(self.root / MANIFEST, manifest)
        self.abandon()

    def abandon(self) -> None:
        """Leave nothing but what has its place."""
        shutil.rmtree(self.work)
        sync_folder(self.root)

    def close(self) -> None:
        """Give the folder back. What was begun and not finished is removed."""
        for path in self.work.glob("*.part"):
            path.unlink(missing_ok=True)
        self._lock.close()

    def _begin(self, plan: Mapping[str, Any]) -> None:
        path = self.work / _PLAN
        if not path.exists():
            replace_file(path, json.dumps(plan, indent=1).encode())
            return
        before = begun_with(self.root)
        if before != plan:
            raise refused(f"{self.root} was begun {_difference(before, plan)}", self.root)
        for part in self.work.glob("*.part"):
            part.unlink()

    def _read_journal(self) -> dict[tuple[Split, int], Done]:
        """Shards that are whole. A last line that was cut short is taken off; a shard that went away since is made again."""
        found: dict[tuple[Split, int], Done] = {}
        end = 0
        if not self._journal.exists():
            return found
        with self._journal.open("r+b") as file:
            for line in file:
                try:
                    done = Done.from_json(json.loads(line))
                except (ValueError, KeyError, TypeError, IndexError, RecursionError):
                    break
                end += len(line)
                if done.entry is None or _has_size(self.root / done.entry.name, done.entry.bytes):
                    found[done.split, done.number] = done
            file.truncate(end)
        return found


def begun_with(root: Path) -> dict[str, Any]:
    """The plan of a folder in preparation; empty where there is none that can be read."""
    try:
        plan = json.loads((root / WORK / _PLAN).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return plan if isinstance(plan, dict) else {}


def refused(message: str, root: Path) -> DiagnosticError:
    help = f"name another folder, or delete {root} if nothing in it is needed"
    return DiagnosticError(Diagnostic("CS726", message, help=help))


@contextmanager
def reporting(root: Path) -> Iterator[None]:
    """Turn what the system refuses into CS711 (a full disk) or CS726."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            help = "free some space and type the same command again: it goes on where it stopped"
            raise DiagnosticError(
                Diagnostic("CS711", f"the disk is full, while writing to {root}", help=help)
            ) from error
        reason = error.strerror or str(error)
        help = "name a folder that can be written; what is done is kept, and the same command goes on"
        raise DiagnosticError(Diagnostic("CS726", f"cannot write to {root}: {reason}", help=help)) from error


def _refuse_strangers(root: Path) -> None:
    if (root / WORK).is_dir():
        return
    if any(root.iterdir()):
        raise refused(f"{root} is not empty, and nothing in it is from convspec data prepare", root)


def _locked(work: Path, root: Path) -> IO[bytes]:
    """Raises DiagnosticError CS726 where another process prepares the folder."""
    try:
        return locked(work / _LOCK)
    except BlockingIOError:
        message = f"another process is preparing {root}"
        raise DiagnosticError(Diagnostic("CS726", message, help="wait for it, or name another folder")) from None


def _difference(before: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    for key, value in plan.items():
        if before.get(key) != value:
            return OTHER_SOURCE if key == "digest" else f"with {key} {before.get(key)}, not {value}"
    return "with another plan"


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False

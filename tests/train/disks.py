"""Runs on a small disk that fills up or becomes read-only: `python -m tests.train.disks FOLDER` prints JSON.

It has a mount namespace to itself, so that its file systems are nobody else's and go away with it. A tmpfs gives out whole
pages, which decides where in a file it is full.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from convspec.cli import main
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.checkpoint import list_checkpoints
from tests.data.preparing import Quiet, digests, prepared
from tests.train.runs import SPEC, go
from tests.train.small_runs import make_run, write_folder

PAGE = 4096
MEBIBYTE = 1 << 20

SHORT = replace(SPEC, train=replace(SPEC.train, epochs=1))
"""One epoch of 23 steps, with a checkpoint after each fourth."""
PLAIN = replace(SHORT, train=replace(SHORT.train, epochs=2, checkpoint_every=0))
"""A checkpoint an epoch, so that the records between them are what fills the disk."""

Report = dict[str, Any]


def told(diagnostics: tuple[Diagnostic, ...]) -> list[Report]:
    return [{"code": d.code, "message": d.message, "notes": list(d.notes), "help": d.help} for d in diagnostics]


def refused(work: Callable[[], object]) -> list[Report]:
    """What work says as it is refused; nothing where it is not."""
    try:
        work()
    except DiagnosticError as error:
        return told(error.diagnostics)
    return []


@contextmanager
def filled(disk: Path, pages: int = 0) -> Iterator[None]:
    """Leave so many pages of a disk free, and give the others back at the end."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        free = os.statvfs(disk).f_bavail * PAGE
        file.write(b"\1" * max(0, free - pages * PAGE))
    try:
        yield
    finally:
        ballast.unlink()


def hidden(folder: Path) -> list[str]:
    """What is half written; the lock of a run is not."""
    return [path.name for path in folder.rglob(".*") if path.name != ".lock" and path.name != ".checked.json"]


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


# a full disk


def in_a_checkpoint(disk: Path, kept: Path) -> Report:
    """Full at each page of the second checkpoint in turn; each time the run goes on from the first."""
    go(SHORT, kept / "whole")
    found = []
    for pages in (0, 1, 2, 5, 7, 8):
        run = disk / f"at-{pages}"
        go(SHORT, run, max_steps=4)
        with filled(disk, pages):
            said = refused(lambda run=run: go(SHORT, resume=run))  # type: ignore[misc]
            left = hidden(run)
            names = [path.name for path in list_checkpoints(run / "checkpoints")]
        go(SHORT, resume=run)
        move(run, kept)
        found.append({"folder": str(run), "said": said, "hidden": left, "kept": names, "run": str(kept / run.name)})
    return {"whole": str(kept / "whole"), "cases": found}


def move(run: Path, kept: Path) -> None:
    """To where it outlives this process."""
    shutil.move(run, kept / run.name)


def in_a_record(disk: Path, kept: Path) -> Report:
    """No page is left: the record that needs a new one does not fit."""
    go(PLAIN, kept / "plain")
    run = disk / "records"
    go(PLAIN, run, max_steps=23)
    go(PLAIN, resume=run, max_steps=24)
    with filled(disk):
        said = refused(lambda: go(PLAIN, resume=run))
        lines = (run / "metrics.jsonl").read_bytes().count(b"\n")
        left = hidden(run)
    go(PLAIN, resume=run)
    move(run, kept)
    return {"said": said, "lines": lines, "hidden": left, "whole": str(kept / "plain"), "run": str(kept / run.name)}


def in_a_report(disk: Path, kept: Path) -> Report:
    """The page of before is still there, and is written anew once there is room."""
    data = write_folder(kept / "data")
    run = make_run(disk / "small", data)
    arguments = ["report", str(run), "--samples", "0"]
    page = run / "report.html"
    main(arguments)
    before = page.read_bytes()
    with filled(disk), redirect_stderr(StringIO()) as errors:
        code = main(arguments)
        same, left = page.read_bytes() == before, hidden(run)
    again = main(arguments)
    return {
        "code": code,
        "message": errors.getvalue(),
        "same": same,
        "hidden": left,
        "again": [again, page.read_bytes() == before],
    }


class Counting(Quiet):
    """made: pictures, of this time."""

    made = 0

    def advance(self, text: str) -> None:
        super().advance(text)
        self.made += 1


class Filling(Counting):
    """The disk is full once the seventeenth picture is there."""

    def __init__(self, disk: Path) -> None:
        self.full = filled(disk, pages=2)

    def advance(self, text: str) -> None:
        super().advance(text)
        if self.made == 17:
            self.full.__enter__()


def in_a_preparation(disk: Path, kept: Path) -> Report:
    source = kept / "data"
    prepared(source, kept / "prepared", shard_pictures=5, jobs=1, size=64)
    filling = Filling(disk)
    target = disk / "prepared"
    said = refused(lambda: prepared(source, target, shard_pictures=5, jobs=1, size=64, progress=filling))
    parts = [path.name for path in (target / ".prepare").glob("*.part")]
    filling.full.__exit__(None, None, None)
    again = Counting()
    prepared(source, target, shard_pictures=5, jobs=1, size=64, progress=again)
    same = digests(target) == digests(kept / "prepared")
    return {"said": said, "parts": parts, "same": same, "made": again.made, "total": again.total}


# a read-only disk


def read_only(disk: Path, kept: Path) -> Report:
    """What reads works, what writes says so, and the run goes on once it may write again."""
    run = disk / "stopped"
    go(SHORT, run, max_steps=4)
    data = kept / "data"
    small = make_run(disk / "looked-at", data)
    remount(disk, "ro")
    try:
        resumed = refused(lambda: go(SHORT, resume=run))
        begun = refused(lambda: go(SHORT, disk / "new"))
        made = refused(lambda: prepared(data, disk / "new"))
        codes = {
            "test": main(["test", str(small), "--device", "cpu"]),
            "predict": main(["predict", str(small), "--samples", "1", "--device", "cpu"]),
            "similar": main(["similar", str(small), "--samples", "1", "--in", str(data), "--device", "cpu"]),
            "report": main(["report", str(small), "--samples", "0"]),
            "report elsewhere": main(["report", str(small), "--samples", "0", "-o", str(kept / "page.html")]),
            "filters": main(["filters", str(small), "-o", str(disk / "filters.png")]),
        }
    finally:
        remount(disk, "rw")
    go(SHORT, resume=run)
    move(run, kept)
    return {
        "resumed": resumed,
        "begun": begun,
        "made": made,
        "codes": codes,
        "whole": str(kept / "whole"),
        "run": str(kept / run.name),
    }


TASKS = (in_a_checkpoint, in_a_record, in_a_report, in_a_preparation, read_only)

if __name__ == "__main__":
    torch.set_num_threads(1)
    small_disk, beside = Path(sys.argv[1]) / "disk", Path(sys.argv[1])
    small_disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small_disk)], check=True)
    reports = {}
    for task in TASKS:
        reports[task.__name__] = task(small_disk, beside)
    print(json.dumps(reports))

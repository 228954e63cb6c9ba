"""Kill -9 of a process in mid-step, ten times over: the others say whom they lost and end, and the run that goes on each
time ends as one that nobody disturbed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from convspec.train import checkpoint, loop, shards
from convspec.train.checkpoint import list_checkpoints
from convspec.train.optimizer import PaperSGD
from convspec.train.reduction import GradientReduction
from convspec_kernels import Peers
from tests.distributed.output import output_to
from tests.distributed.processes import outcomes
from tests.distributed.test_training import TOWERS, assert_equal_runs, run, train_in_process


class Kill(NamedTuple):
    """Of the process of a rank among so many, the time-th time that it comes to a moment."""

    processes: int
    rank: int
    moment: str
    time: int


KILLS = (
    Kill(2, 1, "forward", 13),
    Kill(2, 0, "backward", 14),
    Kill(2, 1, "half of a file", 4),
    Kill(4, 3, "sums", 7),
    Kill(2, 0, "update", 5),
    Kill(2, 0, "before the rename", 2),
    Kill(4, 1, "backward", 15),
    Kill(4, 2, "updated", 5),
    Kill(2, 0, "after the rename", 2),
    Kill(2, 1, "validation", 1),
)
"""A checkpoint is written every third step, so that each run gets further than the one before."""


def half_written(path: Path, content: bytes) -> bool:
    path.write_bytes(content[: len(content) // 2])
    return path.suffix == ".safetensors"


MOMENTS: dict[str, tuple[Any, str, Callable[..., bool], bool]] = {
    "forward": (Peers, "_swap", lambda *arguments: arguments[-1] == "forward", False),
    "backward": (Peers, "_swap", lambda *arguments: arguments[-1] == "backward", False),
    "sums": (GradientReduction, "_start", lambda *arguments: True, True),
    "update": (PaperSGD, "step", lambda *arguments: True, False),
    "updated": (PaperSGD, "step", lambda *arguments: True, True),
    "half of a file": (checkpoint, "write_file", half_written, False),
    "before the rename": (shards, "put_in_place", lambda *arguments: True, False),
    "after the rename": (shards, "put_in_place", lambda *arguments: True, True),
    "validation": (loop, "evaluate", lambda *arguments: True, False),
}
"""A function and whose it is; which calls of it count; whether the moment is after the call."""


def arm(moment: str, time: int) -> None:
    """Have this process killed."""
    owner, name, counts, is_after = MOMENTS[moment]
    work, calls = getattr(owner, name), 0

    def replacement(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += counts(*arguments)
        if calls == time and not is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = work(*arguments, **options)
        if calls == time:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, replacement)


def train_until_killed(spec: Path, options: dict[str, Any], kill: Kill, said: Path) -> Any:
    """What the others of the process that is killed say stands in files."""
    rank = int(os.environ["RANK"])
    if rank == kill.rank:
        arm(kill.moment, kill.time)
    with output_to(said / str(rank)):
        return train_in_process(spec, options)


def test_ten_kills(tmp_path: Path) -> None:
    """Of each rank, in all parts of a step, while a checkpoint is written, and on two and four processes in turn."""
    spec, folder = tmp_path / "towers.cfg", tmp_path / "run"
    spec.write_text(TOWERS.replace("batch=50\n", "batch=50\ncheckpointEvery=3\n"))
    newest = ""
    for number, kill in enumerate(KILLS):
        said = tmp_path / f"said {number}"
        said.mkdir()
        options = {"resume" if number else "run_dir": folder}
        found = outcomes(kill.processes, train_until_killed, spec, options, kill, said)
        killed = found.pop(kill.rank)
        assert killed.problem == "ended"
        assert not (said / str(kill.rank)).read_text()
        for rank, outcome in zip([r for r in range(kill.processes) if r != kill.rank], found, strict=True):
            assert outcome.problem == "ended" or "ElsewhereError" in outcome.problem
            lost = rf"error\[CS755\]: process {kill.rank} .*has ended.*, so that process {rank} stops as well"
            assert re.search(lost, (said / str(rank)).read_text()), kill
            assert outcome.seconds - killed.seconds < 15
        before, newest = newest, list_checkpoints(folder / "checkpoints")[-1].name
        assert newest > before, kill
    run(2, spec, resume=folder)
    run(1, spec, run_dir=tmp_path / "whole")
    assert_equal_runs(tmp_path / "whole", folder)

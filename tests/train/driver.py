"""Run in a process of its own: trains the tiny network in forked children, kills them as it is told, prints JSON.

Forking after torch is imported makes a start cost milliseconds; torch has run nothing yet, so no thread is lost.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from tinynet import Compiled, Data, TinyNet, Train  # type: ignore[import-not-found]
from torch import Tensor

from convspec.train import checkpoint as checkpoints
from convspec.train.display import SilentDisplay
from convspec.train.signals import GRACE_SECONDS, Interrupted
from convspec.train.trainer import train

COMPILED = Compiled(
    train=Train(epochs=8, checkpoint_every=3, schedule="plateau", plateau_patience=1),
    data=Data(size=10, mirror=True),
)
"""With dropout, a plateau that is reached, random crops and mirrors, and pictures from as many threads as there are cores."""
BRIEF = Compiled(train=Train(epochs=1, checkpoint_every=8, keep_checkpoints=1))


class SlowNet(TinyNet):  # type: ignore[misc]
    """Sleeps in one step, so that a signal surely finds it inside a step."""

    steps = 0

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        self.steps += self.training
        if self.steps == 8:
            time.sleep(30)
        outputs: dict[str, Tensor] = super().forward(inputs)
        return outputs


class UnhurriedNet(TinyNet):  # type: ignore[misc]
    """Slow enough that a busy machine does not miss it."""

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        time.sleep(0.005)
        outputs: dict[str, Tensor] = super().forward(inputs)
        return outputs


def train_once(folder: Path, network: type[TinyNet] = TinyNet, compiled: Compiled = COMPILED) -> int:
    """Start the run in `folder`, or go on with it; the exit code of the command line."""
    is_run = (folder / "settings.json").exists()
    if not is_run and folder.exists():
        for leftover in [*folder.iterdir()]:
            leftover.unlink()
    try:
        train(
            compiled,
            network=network(),
            run_dir=None if is_run else folder,
            resume=folder if is_run else None,
            display=SilentDisplay(),
        )
    except Interrupted:
        return Interrupted.EXIT_CODE
    return 0


def in_child(task: Callable[[], int]) -> int:
    """Process id of a child that runs `task` and exits with what it returns."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        code = task()
    finally:
        os._exit(code)


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_for_line(metrics: Path, number: int) -> None:
    limit = time.monotonic() + 30
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < number:
        assert time.monotonic() < limit, f"{metrics} never had {number} lines"
        time.sleep(0.002)


def run_whole(base: Path) -> dict[str, object]:
    """A run that nothing stops, which the others must be equal to."""
    return {"last": wait(in_child(lambda: train_once(base / "whole")))}


def kill_ten_times(base: Path) -> dict[str, object]:
    """A run that is killed ten times at random moments and goes on each time, to its end."""
    randomness, metrics = random.Random(1), base / "killed" / "metrics.jsonl"
    killed, lines = [], []
    for i in range(10):
        child = in_child(lambda: train_once(base / "killed", UnhurriedNet))
        wait_for_line(metrics, 16 * i + randomness.randrange(16))
        time.sleep(randomness.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        killed.append(wait(child))
        lines.append(metrics.read_bytes().count(b"\n") if metrics.exists() else 0)
    return {"killed": killed, "lines": lines, "last": wait(in_child(lambda: train_once(base / "killed")))}


KILLED_AT = ("weights", "training", "state", "rename", "renamed", "removal")


def dying_at(point: str) -> None:
    """Have this process killed at a point of its second checkpoint: with half of a file written, before or after the rename,
    while the oldest is removed."""
    write, rename, remove, saved = checkpoints.write_file, Path.rename, shutil.rmtree, 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying_write(path: Path, content: bytes) -> None:
        if saved == 1 and path.stem == point:
            path.write_bytes(content[: len(content) // 2])
            die()
        write(path, content)

    def dying_rename(self: Path, target: Path) -> Path:
        nonlocal saved
        if saved == 1 and point == "rename":
            die()
        saved += 1
        moved = rename(self, target)
        if saved == 2 and point == "renamed":
            die()
        return moved

    def dying_removal(path: Path, **options: bool) -> None:
        if saved == 2 and point == "removal":
            next(path.iterdir()).unlink()
            die()
        remove(path, **options)

    checkpoints.write_file, checkpoints.shutil.rmtree = dying_write, dying_removal
    Path.rename = dying_rename  # type: ignore[method-assign, assignment]


def kill_in_checkpoint(base: Path) -> dict[str, object]:
    """A run that is killed at each of these points in turn, and goes on to its end each time."""
    assert wait(in_child(lambda: train_once(base / "whole", compiled=BRIEF))) == 0
    killed, last = [], []
    for point in KILLED_AT:

        def die(point: str = point) -> int:
            dying_at(point)
            return train_once(base / point, compiled=BRIEF)

        killed.append(wait(in_child(die)))
        last.append(wait(in_child(lambda point=point: train_once(base / point, compiled=BRIEF))))  # type: ignore[misc]
    return {"points": KILLED_AT, "killed": killed, "last": last}


def terminate(base: Path) -> dict[str, object]:
    """SIGTERM in the middle of a run, then its end."""
    child = in_child(lambda: train_once(base / "stopped", UnhurriedNet))
    wait_for_line(base / "stopped" / "metrics.jsonl", 10)
    os.kill(child, signal.SIGTERM)
    stopped = wait(child)
    lines = (base / "stopped" / "metrics.jsonl").read_bytes().count(b"\n")
    return {"stopped": stopped, "lines": lines, "last": wait(in_child(lambda: train_once(base / "stopped")))}


def hang_up(base: Path) -> dict[str, object]:
    """SIGHUP in the middle of a run, as a terminal that is closed sends it; then its end, which ignores it as under nohup."""
    child = in_child(lambda: train_once(base / "stopped", UnhurriedNet))
    wait_for_line(base / "stopped" / "metrics.jsonl", 10)
    os.kill(child, signal.SIGHUP)
    stopped = wait(child)
    lines = (base / "stopped" / "metrics.jsonl").read_bytes().count(b"\n")

    def deaf() -> int:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return train_once(base / "stopped", UnhurriedNet)

    child = in_child(deaf)
    wait_for_line(base / "stopped" / "metrics.jsonl", lines + 3)
    os.kill(child, signal.SIGHUP)
    return {"stopped": stopped, "lines": lines, "last": wait(child)}


def interrupt_in_a_burst(base: Path) -> dict[str, object]:
    """SIGINT and SIGTERM several times within a moment, as launchers send them: one wish to stop."""
    child = in_child(lambda: train_once(base / "stopped", UnhurriedNet))
    wait_for_line(base / "stopped" / "metrics.jsonl", 10)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        with suppress(ProcessLookupError):
            os.kill(child, number)
    return {"stopped": wait(child), "last": wait(in_child(lambda: train_once(base / "stopped")))}


def interrupt_twice(base: Path) -> dict[str, object]:
    """Two SIGTERM while one step sleeps, then the run to its end."""
    child = in_child(lambda: train_once(base / "stopped", SlowNet))
    wait_for_line(base / "stopped" / "metrics.jsonl", 7)
    time.sleep(0.1)
    began = time.monotonic()
    os.kill(child, signal.SIGTERM)
    time.sleep(1.5 * GRACE_SECONDS)
    os.kill(child, signal.SIGTERM)
    stopped = wait(child)
    seconds = time.monotonic() - began
    return {"stopped": stopped, "seconds": seconds, "last": wait(in_child(lambda: train_once(base / "stopped")))}


if __name__ == "__main__":
    # loads what torch loads at its first optimizer, once for all children
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    tasks = {
        task.__name__: task
        for task in (
            run_whole,
            kill_ten_times,
            kill_in_checkpoint,
            terminate,
            hang_up,
            interrupt_in_a_burst,
            interrupt_twice,
        )
    }
    print(json.dumps(tasks[sys.argv[1]](Path(sys.argv[2]))))

"""Runs under torch's own launcher: one on each of two machines, which both are this one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convspec.train.checkpoint import list_checkpoints, load_checkpoint
from tests.distributed.processes import free_port, together
from tests.distributed.test_failures import command
from tests.distributed.test_training import TOWERS, records

TRAIN = ["train", "towers.cfg", "--device", "cpu", "--log-every", "1"]


def launched(folder: Path, port: int, said: Path) -> subprocess.Popen[bytes]:
    """`torchrun` on one of two machines, with one process of one thread."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    places = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "1"]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--local-addr", "localhost"]
    launcher = [sys.executable, "-m", "torch.distributed.run", *places, *meeting, "-m", "convspec"]
    with said.open("wb") as file:
        return subprocess.Popen(
            [*launcher, *TRAIN, "--run-dir", "run"], cwd=folder, env=environment, stdout=file, stderr=file
        )


def process_of(launcher: int) -> int:
    """The id of the process that a launcher started."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == launcher:
            return int(entry.name)
    raise AssertionError(f"{launcher} has no process")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")
def test_a_process_of_another_machine_that_is_killed(tmp_path: Path) -> None:
    """Kill -9: the other one names it and ends; the launchers start both anew; the run ends, to the bit, as if nothing had
    happened."""
    (tmp_path / "towers.cfg").write_text(TOWERS.replace("batch=50\n", "batch=50\ncheckpointEvery=5\n"))
    port, said = free_port(), [tmp_path / f"launcher {i}" for i in range(2)]
    launchers = [launched(tmp_path, port, file) for file in said]
    checkpoints, deadline = tmp_path / "run" / "checkpoints", time.monotonic() + 100
    try:
        while len(list_checkpoints(checkpoints)) < 2:
            assert time.monotonic() < deadline
            assert all(launcher.poll() is None for launcher in launchers), [file.read_text() for file in said]
            time.sleep(0.02)
        os.kill(process_of(launchers[1].pid), signal.SIGKILL)
        while (codes := [launcher.poll() for launcher in launchers]) != [0, 0]:
            assert time.monotonic() < deadline + 100
            assert not any(codes), [file.read_text() for file in said]
            time.sleep(0.02)
    finally:
        for launcher in launchers:
            launcher.kill()
            launcher.wait()
    text = "".join(file.read_text() for file in said)
    assert re.search(r"CS755\]: process ([01]) \(GPU \1\) has ended, so that process [01] stops as well", text)
    assert "epoch 2/2" in text
    together(2, command, [[*TRAIN, "--run-dir", "whole"]] * 2, tmp_path, {}, 1)
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    first, second = (
        load_checkpoint(list_checkpoints(tmp_path / name / "checkpoints")[-1]) for name in ("run", "whole")
    )
    assert first.state == second.state
    for kind in ("weights", "training"):
        one, other = getattr(first, kind), getattr(second, kind)
        assert one.keys() == other.keys()
        assert all(one[name].equal(other[name]) for name in one)


ENDING = """
import atexit, sys, torch
from convspec.__main__ import main
atexit.register(print, "taken down")
sys.argv = ["convspec", "explain", "CS404"]
sys.exit(main())
"""


@pytest.mark.parametrize("is_launched", [True, False])
def test_a_launched_process_ends_before_the_interpreter_is_taken_down(is_launched: bool) -> None:
    """Under threads of torch that may want it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("RANK", None)
    ending = subprocess.run(
        [sys.executable, "-c", ENDING],
        env=environment | ({"RANK": "0"} if is_launched else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "CS404" in ending.stdout
    assert ("taken down" in ending.stdout) != is_launched

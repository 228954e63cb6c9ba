"""Runs in processes of their own: killed, terminated, interrupted twice; and each time gone on with to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.train.runs import assert_same_run, metrics

if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)

DRIVER = Path(__file__).with_name("driver.py")


def drive(task: str, folder: Path) -> dict[str, Any]:
    path = os.pathsep.join([str(DRIVER.parent), *filter(None, sys.path)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, str(DRIVER), task, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing stops."""
    folder = tmp_path_factory.mktemp("processes")
    assert drive("run_whole", folder) == {"last": 0}
    return folder / "whole"


def test_killed_ten_times(whole: Path, tmp_path: Path) -> None:
    report = drive("kill_ten_times", tmp_path)
    print(f"lines of metrics at each kill: {report['lines']}")
    assert report["killed"] == [-9] * 10
    assert len(set(report["lines"])) >= 8, "the kills fell on different places"
    assert report["last"] == 0
    records = metrics(whole)
    assert max(record.get("rates_divided", 0) for record in records) > 0, "the plateau was met on the way"
    assert_same_run(whole, tmp_path / "killed")


def test_killed_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    report = drive("kill_in_checkpoint", tmp_path)
    assert report["killed"] == [-9] * 6
    assert report["last"] == [0] * 6
    for point in report["points"]:
        assert_same_run(tmp_path / "whole", tmp_path / point)
        assert not [path for path in (tmp_path / point / "checkpoints").iterdir() if path.name.startswith(".")]


def test_terminated(whole: Path, tmp_path: Path) -> None:
    report = drive("terminate", tmp_path)
    assert report["stopped"] == 130
    assert 10 <= report["lines"] < len(metrics(whole))
    assert report["last"] == 0
    assert_same_run(whole, tmp_path / "stopped")


def test_hung_up(whole: Path, tmp_path: Path) -> None:
    report = drive("hang_up", tmp_path)
    assert report["stopped"] == 130
    assert 10 <= report["lines"] < len(metrics(whole))
    assert report["last"] == 0
    assert_same_run(whole, tmp_path / "stopped")


def test_a_burst_of_signals_is_one(whole: Path, tmp_path: Path) -> None:
    report = drive("interrupt_in_a_burst", tmp_path)
    assert report == {"stopped": 130, "last": 0}
    assert_same_run(whole, tmp_path / "stopped")


def test_a_second_signal_ends_it_at_once(whole: Path, tmp_path: Path) -> None:
    report = drive("interrupt_twice", tmp_path)
    assert report["stopped"] == 130
    assert report["seconds"] < 10, "the step itself sleeps for 30"
    assert report["last"] == 0
    assert_same_run(whole, tmp_path / "stopped")

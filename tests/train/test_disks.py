"""Disks that are full, in the middle of whatever is written, and disks that became read-only: real ones, of a few pages.

Each is met in a process with mounts of its own; what it reports is looked at here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.train.runs import assert_same_run, metrics

ROOT = Path(__file__).parents[2]
NAMESPACES = (["--mount"], ["--mount", "--map-root-user"])
"""For root; and for users where the system lets them have name spaces."""


def isolated() -> list[str]:
    """The command under which file systems can be mounted, or skips the test."""
    for options in NAMESPACES:
        command = ["unshare", *options]
        try:
            probe = subprocess.run(
                [*command, "mount", "-t", "tmpfs", "tmpfs", "/tmp"],
                capture_output=True,
                check=False,
            )
        except OSError:
            break
        if probe.returncode == 0:
            return command
    pytest.skip("no file system can be mounted here: neither root's mounts nor name spaces of users are to be had")


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `disks` reports, by its tasks."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [*isolated(), sys.executable, "-m", "tests.train.disks", str(tmp_path_factory.mktemp("disks"))],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def said(report: dict[str, Any], key: str = "said") -> dict[str, Any]:
    """The one diagnostic of a task."""
    (diagnostic,) = report[key]
    assert isinstance(diagnostic, dict)
    return diagnostic


def test_full_in_a_checkpoint(met: dict[str, Any]) -> None:
    """At every place: before it, in the weights, in what training keeps, in its state, and in the records behind it."""
    report = met["in_a_checkpoint"]
    for case in report["cases"]:
        diagnostic = said(case)
        assert diagnostic["code"] == "CS711"
        assert diagnostic["notes"] == [f"the last good checkpoint is {case['folder']}/checkpoints/{case['kept'][-1]}"]
        assert diagnostic["help"] == f"free some space and go on with --resume {case['folder']}"
        assert case["kept"][0] == "0000-00000004"
        assert case["hidden"] == [], "nothing half written stays"
        assert_same_run(Path(report["whole"]), Path(case["run"]))
    assert [len(case["kept"]) for case in report["cases"]] == [1, 1, 1, 1, 1, 2]


def test_full_in_a_record(met: dict[str, Any]) -> None:
    report = met["in_a_record"]
    diagnostic = said(report)
    assert diagnostic["code"] == "CS711"
    assert diagnostic["notes"][0].endswith("checkpoints/0001-00000024")
    assert "--resume" in diagnostic["help"]
    assert report["hidden"] == []
    assert 24 < report["lines"] < len(metrics(Path(report["whole"])))
    assert_same_run(Path(report["whole"]), Path(report["run"]))


def test_full_in_a_report(met: dict[str, Any]) -> None:
    report = met["in_a_report"]
    assert report["code"] == 1
    assert report["message"].startswith("error[CS711]: the disk is full, while writing ")
    assert report["same"], "the page of before is still there"
    assert report["hidden"] == []
    assert report["again"] == [0, True]


def test_full_in_a_preparation(met: dict[str, Any]) -> None:
    report = met["in_a_preparation"]
    diagnostic = said(report)
    assert diagnostic["code"] == "CS711"
    assert "the same command again: it goes on" in diagnostic["help"]
    assert report["parts"] == []
    assert 0 < report["made"] < report["total"], "what was whole is not made again"
    assert report["same"]


def test_read_only(met: dict[str, Any]) -> None:
    report = met["read_only"]
    resumed, begun, made = (said(report, key) for key in ("resumed", "begun", "made"))
    for diagnostic, code in ((resumed, "CS706"), (begun, "CS706"), (made, "CS726")):
        assert diagnostic["code"] == code
        assert diagnostic["message"].endswith("Read-only file system")
    assert "let it be written and go on with --resume" in resumed["help"]
    assert "--run" in begun["help"]
    reading, writing = ["test", "predict", "similar", "report elsewhere"], ["report", "filters"]
    assert report["codes"] == {**dict.fromkeys(reading, 0), **dict.fromkeys(writing, 2)}
    assert_same_run(Path(report["whole"]), Path(report["run"]))


def test_there_is_something_to_mount_with() -> None:
    """Where this machine's root runs the tests, none of them is skipped."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("not root, or no unshare")
    assert isolated()

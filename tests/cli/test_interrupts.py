"""Ctrl-C while Python still imports the package, and signals in the middle of a command: exit code 130, a word, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

READERS = ("test", "features", "similar", "predict", "report")

PROGRAM = """
import signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["convspec", *{arguments!r}]
"""
BY_MODULE = "import runpy\nrunpy.run_module('convspec', run_name='__main__', alter_sys=True)\n"
BY_SCRIPT = "from convspec.__main__ import main\nsys.exit(main())\n"


@pytest.mark.parametrize("start", [BY_MODULE, BY_SCRIPT], ids=["python -m", "script"])
@pytest.mark.parametrize("module", ["convspec.cli", "click", "convspec.diagnostics", "convspec.cli.check", "lark"])
def test_ctrl_c_while_modules_are_imported(module: str, start: str) -> None:
    program = PROGRAM.format(module=module, arguments=["check", str(ROOT / "specs" / "alexnet.cfg")]) + start
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.strip() == "interrupted"
    assert done.returncode == 130


def test_the_script_begins_where_nothing_is_imported_yet() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"convspec": "convspec.__main__:main"}
    program = "import sys; before = set(sys.modules); import convspec.__main__; print(*set(sys.modules) - before)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert set(done.stdout.split()) <= {"convspec", "convspec.__main__", "__future__"}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `interrupted` reports, by command. Its kernels need no loading."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.interrupted", str(tmp_path_factory.mktemp("interrupted"))],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CONVSPEC_KERNELS": "reference", "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("command", "says"),
    [
        *((name, "interrupted: nothing was written; the same command begins anew") for name in READERS),
        ("data prepare", "type the same command again to go on"),
        ("compare", "interrupted: the same command goes on where this one was"),
        ("ablate", "interrupted: the same command goes on where this one was"),
    ],
)
def test_a_signal_in_the_middle_leaves_nothing_half_written(
    command: str, says: str, interrupted: dict[str, dict[str, Any]]
) -> None:
    report = interrupted[command]
    assert report["code"] == 130
    assert report["said"].rstrip().endswith(says)
    assert "Traceback" not in report["said"]
    assert report["left"] == []
    assert report["written"] == []
    assert report["again"] == 0, report["complaint"]


def test_a_burst_of_signals_does_not_break_into_the_clearing_away() -> None:
    program = (
        "import signal, sys, time\n"
        "from convspec import cli\n"
        "def run():\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    finally:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        print('cleared away', flush=True)\n"
        "cli.main = run\n"
        "from convspec.__main__ import main\n"
        "sys.exit(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "cleared away\n", "interrupted\n")

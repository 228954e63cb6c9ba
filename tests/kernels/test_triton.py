"""The Triton kernels without a GPU: their cases in Triton's interpreter, in a process that asks for it at its start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.mark.parametrize("half", ["not agrees", "agrees"])
def test_in_the_interpreter(half: str, pytestconfig: pytest.Config) -> None:
    """In two parts, for two workers."""
    scripts = [str(Path(__file__).with_name(name)) for name in ("triton_interpreted.py", "tuning_interpreted.py")]
    command = [
        sys.executable,
        "-m",
        "pytest",
        *scripts,
        "-k",
        half,
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=pytestconfig.rootpath, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

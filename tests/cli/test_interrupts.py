"""Ctrl-C while Python still imports the package: exit code 130 and a word, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

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

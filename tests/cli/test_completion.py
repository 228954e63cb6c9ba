"""Shell completion: what each shell is offered, and a real bash that asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convspec.cli import COMMANDS, main
from convspec.resources import spec_names


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("my.cfg", "notes.txt", "nets/deep.cfg", "nets/deep.txt", ".hidden/x.cfg"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    return tmp_path


def offered(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash is offered for the last word of a line, `kind,word` as click says it."""
    words = line.split(" ")
    monkeypatch.setenv("_CONVSPEC_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit):
        main([])
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("convspec ", [f"plain,{name}" for name in COMMANDS]),
        ("convspec ch", ["plain,check"]),
        ("convspec check m", ["plain,my.cfg"]),
        ("convspec check ne", ["plain,nets/deep.cfg"]),
        ("convspec check nets/", ["plain,nets/deep.cfg"]),
        ("convspec check ", ["plain,my.cfg", "plain,nets/deep.cfg", *(f"plain,{name}" for name in spec_names())]),
        ("convspec show al", [f"plain,{name}" for name in spec_names() if name.startswith("al")]),
        ("convspec diff my.cfg al", [f"plain,{name}" for name in spec_names() if name.startswith("al")]),
        ("convspec check nothing", ["file,nothing"]),
        ("convspec fmt ", ["plain,my.cfg", "plain,nets/deep.cfg"]),
        ("convspec check --form", ["plain,--format"]),
        ("convspec check my.cfg --format s", ["plain,sarif"]),
        ("convspec explain cs40", [f"plain,CS40{number}" for number in range(1, 10)]),
        ("convspec explain glo", ["plain,globalpool"]),
        ("convspec new my --from lenet", ["plain,lenet-digits"]),
        ("convspec completion z", ["plain,zsh"]),
        ("convspec chekc m", []),
    ],
)
def test_what_is_offered(
    line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = offered(line, monkeypatch, capsys)
    assert found == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert f"_CONVSPEC_COMPLETE={shell}_complete" in out
    assert "convspec" in out


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 2
    assert "bash" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_bash_completes(folder: Path) -> None:
    program = folder / "bin" / "convspec"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m convspec "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(convspec completion bash)"; COMP_WORDS=(convspec check my); COMP_CWORD=2;'
        '_convspec_completion convspec my check; echo "${COMPREPLY[@]}"; complete -p convspec'
    )
    environment = {
        **os.environ,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path))),
    }
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[0] == "my.cfg"
    assert "_convspec_completion" in done.stdout.splitlines()[1]

"""What is done with a network that checks clean but for warnings: the warnings are seen, on standard error."""

from __future__ import annotations

from pathlib import Path

import pytest

from convspec.cli import main

TYPO = "[@net]\nextends=lenet-digits.cfg\n\n[@train]\nepoch=3\n"
COMMANDS = {
    "check": ["check", "my.cfg", "--format", "concise"],
    "compile": ["compile", "my.cfg"],
    "show": ["show", "my.cfg"],
    "plan": ["plan", "my.cfg", "--format", "json"],
    "diff": ["diff", "lenet-digits.cfg", "my.cfg"],
    "train": ["train", "my.cfg", "--steps", "1"],
}
# These end where they would begin to compute.
NOWHERE = {
    "bench": ["bench", "my.cfg"],
    "ablate": ["ablate", "my.cfg"],
    "compare": ["compare", "lenet-digits.cfg", "my.cfg"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.cfg").write_text(TYPO)
    return tmp_path


@pytest.mark.parametrize("command", [*COMMANDS, *NOWHERE])
def test_a_misspelt_key_is_told(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if command in COMMANDS:
        assert main(COMMANDS[command]) == 0
    else:
        assert main([*NOWHERE[command], "--device", "nowhere"]) == 1
    captured = capsys.readouterr()
    told, kept = (captured.out, captured.err) if command == "check" else (captured.err, captured.out)
    assert told.count("warning[CS207]: nothing reads epoch of @train") == 1
    assert "CS207" not in kept


def test_who_goes_on_was_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "my.cfg", "--steps", "1", "--run", "run"]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", "run", "--steps", "2"]) == 0
    assert "CS207" not in capsys.readouterr().err


def test_of_many_the_first_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my.cfg").write_text(TYPO + "".join(f"epoch{number}=3\n" for number in range(11)))
    assert main(["compile", "my.cfg"]) == 0
    err = capsys.readouterr().err
    assert err.count("warning[CS207]") == 10
    assert err.endswith("and 2 more warnings, which convspec check has\n")


def test_notes_are_for_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "alexnet.cfg", "--input", "data:3x224x224"]) == 0
    assert capsys.readouterr().err == ""

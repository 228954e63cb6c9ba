"""`convspec import` as a user calls it, and a run going on without a spec being named."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convspec.cli import main
from tests.data import hostile
from tests.train.test_imported import ccn1, ccn2


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return ccn1().save(tmp_path / "3.2", train_batch_range=[1, 2, 3, 4, 5], num_epochs=4)


def test_a_checkpoint_becomes_a_run_that_goes_on(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["import", str(checkpoint), "-o", str(run)]) == 0
    out = capsys.readouterr().out
    assert "cuda-convnet: 11 layers, 791 numbers, after 2.4 epochs" in out
    assert f"go on with convspec train --resume {run}" in out
    assert main(["check", str(run / "spec.cfg")]) == 0
    assert main(["train", "--resume", str(run), "--data", "digits", "--steps", "35"]) == 0
    out = capsys.readouterr().out
    assert "35 steps, 2 epochs" in out
    assert main(["train", str(run / "spec.cfg"), "--resume", str(run)]) == 0
    assert "4 epochs" in capsys.readouterr().out


def test_fine_tuning_is_an_override(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    overrides = ["--set", "@train.epochs=3", "--set", "conv1.epsW=0", "--set", "fc10.epsW=0.1"]
    assert main(["import", str(checkpoint), "-o", str(run), *overrides]) == 0
    assert main(["train", "--resume", str(run), "--data", "digits"]) == 0
    assert "3 epochs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (None, 2, "CS101"),
        (b"", 1, "CS720"),
        (b"garbage", 1, "CS720"),
        (b"}.", 1, "CS721"),
        (hostile.refused()["extension code"], 1, "CS720"),
    ],
)
def test_mistakes(
    content: bytes | None, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    assert main(["import", str(tmp_path / "x"), "-o", str(tmp_path / "run")]) == code
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_not_free(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(checkpoint), "-o", str(tmp_path)]) == 1
    assert "CS706" in capsys.readouterr().err


def test_weights_that_cannot_be_kept_leave_no_run_that_would_begin_without_them(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("convspec.train.checkpoint.write_file", refuse)
        assert main(["import", str(checkpoint), "-o", str(run)]) == 1
    assert "CS711" in capsys.readouterr().err
    assert not (run / "settings.json").exists()
    assert main(["train", "--resume", str(run)]) != 0


def test_an_override_that_names_nothing(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(checkpoint), "-o", str(tmp_path / "run"), "--set", "fc11.epsW=1"]) == 2
    assert "CS213" in capsys.readouterr().err


def test_a_spec_or_a_run_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 2
    assert "--resume DIR" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "CS719" in capsys.readouterr().err


def test_nothing_that_a_file_names_is_run(tmp_path: Path) -> None:
    sentinel = tmp_path / "executed"
    for name, data in hostile.executing(str(sentinel)).items():
        (tmp_path / "x").write_bytes(data)
        code = main(["import", str(tmp_path / "x"), "-o", str(tmp_path / "run")])
        assert (name, code, sentinel.exists()) == (name, 1, False)


def test_the_command_starts_as_a_program(tmp_path: Path) -> None:
    path = ccn2().save(tmp_path / "1.1", 1, 1)
    command = [sys.executable, "-m", "convspec", "import", str(path), "-o", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("cuda-convnet2: ")

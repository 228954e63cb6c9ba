"""Output that goes nowhere: streams that are closed, a full disk under `>`, a reader that has left."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convspec.cli import main
from convspec.resources import spec_path

LENET = str(spec_path("lenet-digits.cfg"))
FULL = Path("/dev/full")


def run(arguments: list[str], redirection: str) -> tuple[int, str, str]:
    """Exit code and streams of a command under a redirection of a shell."""
    command = shlex.join([sys.executable, "-m", "convspec", *arguments])
    done = subprocess.run(
        ["sh", "-c", f"{command} {redirection}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [(["check", LENET], 0), (["check", "no.cfg"], 2), (["bogus"], 2)])
def test_closed_streams_change_no_exit_code(closed: str, arguments: list[str], code: int) -> None:
    assert run(arguments, closed)[0] == code


def test_a_file_does_not_become_the_output_that_was_closed(tmp_path: Path) -> None:
    target = tmp_path / "m.py"
    assert run(["compile", LENET, "-o", str(target), "--print-after", "lower"], "<&- >&- 2>&-")[0] == 0
    assert target.read_text().startswith('"""LeNet')


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["check", LENET], ["compile", LENET], ["--help"], ["--version"], ["explain"]])
def test_a_full_disk_under_the_output_is_said_once(arguments: list[str]) -> None:
    code, _, err = run(arguments, f">{FULL}")
    assert code == 2
    assert err == "error[CS101]: the output cannot be written: No space left on device\n"
    assert run(arguments, f">{FULL} 2>{FULL}")[0] == 2


def test_a_reader_that_has_left_is_no_news() -> None:
    code, _, err = run(["explain"], "| true")
    assert (code, err) == (0, "")


def test_letters_that_the_output_lacks_are_escaped(tmp_path: Path) -> None:
    spec = tmp_path / "spéc☃.cfg"
    shutil.copy(LENET, spec)
    done = subprocess.run(
        [sys.executable, "-m", "convspec", "check", str(spec), "--set", "ä☃=1"],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "NO_COLOR": "1"},
    )
    assert done.returncode == 2
    assert "spéc\\u2603.cfg: 1 error" in done.stderr.decode("latin-1")
    assert "'ä\\u2603=1' is not section.key=value" in done.stdout.decode("latin-1")


def test_a_name_that_the_system_cannot_spell_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **keywords: object) -> None:
        "dáta/☃".encode("ascii", "surrogateescape")

    monkeypatch.setattr("convspec.cli.check._print", fail)
    with pytest.raises(UnicodeEncodeError):  # a mistake of ours, where all names can be spelt
        main(["check", LENET])
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert main(["check", LENET]) == 2
    streams = capsys.readouterr()
    assert "error[CS101]: dáta/☃ cannot be a name here: ascii, in which names of files are, lacks á" in streams.err
    assert "PYTHONUTF8=1" in streams.err


def test_a_folder_that_went_away_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["compile", LENET, "-o", "m.py"]) == 2
    assert "error[CS101]: the folder that this was called in is gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (MemoryError(), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("a mistake of ours"), False),
    ],
)
def test_too_little_memory_is_no_mistake_of_ours(
    error: Exception, is_told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **keywords: object) -> None:
        raise error

    monkeypatch.setattr("convspec.cli.check._print", fail)
    if is_told:
        assert main(["check", LENET]) == 1
        assert "error[CS718]" in capsys.readouterr().err
    else:
        with pytest.raises(RuntimeError, match="a mistake of ours"):
            main(["check", LENET])

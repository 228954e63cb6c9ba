"""`convspec fmt`: one layout, comments kept, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import convspec
from convspec.cli import main
from convspec.resources import spec_path

UNTIDY = "# head\n\n\n\n[data] ; images\ntype = data\r\n dataIdx2\ndataIdx : 0 ; which\n\n\n# about labels\n[labels]\ntype=data\n"
TIDY = "# head\n\n[data] ; images\ntype=data\n    dataIdx2\ndataIdx=0 ; which\n\n# about labels\n[labels]\ntype=data\n"


def test_layout(tmp_path: Path) -> None:
    file = tmp_path / "net.cfg"
    file.write_bytes(UNTIDY.encode())
    assert main(["fmt", "--check", str(file)]) == 1
    assert file.read_bytes() == UNTIDY.encode()
    assert main(["fmt", str(file)]) == 0
    assert file.read_bytes() == TIDY.encode()
    assert main(["fmt", "--check", str(file)]) == 0


def test_our_specs_have_it() -> None:
    folder = spec_path("alexnet.cfg").parent
    assert main(["fmt", "--check", *map(str, sorted(folder.glob("*.cfg")))]) == 0


def test_a_formatted_spec_is_the_same_network(tmp_path: Path) -> None:
    text = spec_path("alexnet.cfg").read_text()
    file = tmp_path / "alexnet.cfg"
    file.write_text(text.replace("=", " = ").replace("\n[", "\n\n\n["))
    assert main(["fmt", str(file)]) == 0
    assert convspec.compile(file) == convspec.compile(spec_path("alexnet.cfg"))


def test_a_file_that_does_not_parse_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.cfg"
    file.write_text("[data]\nwhat is this\n")
    assert main(["fmt", str(file)]) == 1
    assert file.read_text() == "[data]\nwhat is this\n"
    assert "CS103" in capsys.readouterr().err


def test_the_mode_of_a_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "net.cfg"
    file.write_bytes(UNTIDY.encode())
    file.chmod(0o640)
    assert main(["fmt", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o640


def test_diff_prints_what_would_change_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.cfg"
    file.write_text("[data]\ntype = data\ndataIdx=0")
    assert main(["fmt", "--diff", str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out == (
        f"--- {file}\n+++ {file}\n@@ -1,3 +1,3 @@\n [data]\n-type = data\n-dataIdx=0\n\\ No newline at end of file\n"
        "+type=data\n+dataIdx=0\n"
    )
    assert file.read_text() == "[data]\ntype = data\ndataIdx=0"
    patch = tmp_path / "fmt.patch"
    patch.write_text(captured.out)
    assert main(["fmt", str(file)]) == 0
    formatted = file.read_text()
    capsys.readouterr()
    assert main(["fmt", "--diff", str(file)]) == 0
    assert capsys.readouterr().out == ""
    if shutil.which("patch") is not None:
        file.write_text("[data]\ntype = data\ndataIdx=0")
        subprocess.run(["patch", "--silent", str(file), str(patch)], check=True)
        assert file.read_text() == formatted


def test_one_file_that_does_not_parse_does_not_hold_up_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = tmp_path / "bad.cfg", tmp_path / "good.cfg"
    bad.write_text("[data]\nwhat is this\n")
    good.write_text("[data]\ntype = data\n")
    assert main(["fmt", str(bad), str(good)]) == 1
    assert "CS103" in capsys.readouterr().err
    assert bad.read_text() == "[data]\nwhat is this\n"
    assert good.read_text() == "[data]\ntype=data\n"

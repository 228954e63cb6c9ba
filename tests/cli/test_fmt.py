"""`convspec fmt`: one layout, comments kept, nothing lost."""

from __future__ import annotations

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

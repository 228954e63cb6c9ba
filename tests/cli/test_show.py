"""`convspec show`: where the picture goes, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from convspec.cli import main


def test_the_picture_goes_to_a_file_or_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.svg"
    assert main(["show", "alexnet.cfg", "-o", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["show", "alexnet.cfg"]) == 0
    picture = capsys.readouterr().out
    assert picture == file.read_text()
    assert picture.startswith("<svg ")
    assert picture.endswith("</svg>\n")


def test_an_override_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "lenet-digits.cfg", "--set", "conv2.filters=20"]) == 0
    assert "20\N{MULTIPLICATION SIGN}10\N{MULTIPLICATION SIGN}10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.cfg"], 2, "CS101"),
        (["alexnet.cfg", "--set", "conv1a.stride=0"], 1, "CS205"),
        (["alexnet.cfg", "-o", "/nowhere/net.svg"], 2, "cannot be written"),
        (["alexnet.cfg", "-o", "net.png"], 2, "SVG"),
    ],
)
def test_mistakes(arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys\n"
        "from convspec.cli import main\n"
        "assert main(['show', 'alexnet.cfg']) == 0\n"
        "heavy = {'torch', 'triton', 'numpy', 'rich', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_the_picture_in_the_documents_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    written = (Path(__file__).parents[2] / "docs" / "alexnet.svg").read_text(encoding="utf-8")
    main(["show", "alexnet.cfg"])
    assert written == capsys.readouterr().out, "run: convspec show specs/alexnet.cfg -o docs/alexnet.svg"

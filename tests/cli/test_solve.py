"""`convspec check --solve`: what it prints, in words and as JSON."""

from __future__ import annotations

import json

import pytest

from convspec.cli import main


def test_alexnet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "alexnet.cfg", "--input", "data:3x224x224", "--solve", "data"]) == 0
    out = capsys.readouterr().out
    assert "  conv1a, conv1b: (224 - 11) / 4 + 1 = 54.25, rounded up 55, down 54\n" in out
    assert (
        "sizes at which every window fits, and up and down are the same: 163, 195, 227, 259, every 32 pixels\n" in out
    )
    assert "  227       pool5a, pool5b 128x6x6\n" in out
    assert "rounding=ceil: 224 to 227\n" in out
    assert "rounding=floor: 227 to 230\n" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "alexnet.cfg", "--solve", "data", "--within", "40", "--format", "json"]) == 0
    solved = json.loads(capsys.readouterr().out)["solve"]
    assert list(solved) == ["layer", "size", "tried", "exact", "loose", "same"]
    assert solved["tried"] == [[3, 187, 187], [3, 267, 267]]
    assert [fit["size"] for fit in solved["exact"]] == [[3, 195, 195], [3, 227, 227], [3, 259, 259]]
    assert solved["exact"][1]["maps"] == {"pool5a": [128, 6, 6], "pool5b": [128, 6, 6]}
    assert solved["same"]["floor"] == [[3, side, side] for side in (227, 228, 229, 230)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--solve", "conv1a"], "CS418"),
        (["--solve", "dta"], "did you mean 'data'?"),
        (["--solve", "data", "--within", "0"], "--within"),
        (["--solve", "data", "--format", "sarif"], "--solve"),
    ],
)
def test_mistakes(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "alexnet.cfg", *arguments]) == 2
    assert says in capsys.readouterr().err

"""`convspec check --format sarif|github`: what a service gets, and the exit codes beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convspec import __version__
from convspec.cli import main

CLASHING = (
    "[@net]\ninput=data:3x8x8\noutputs=n\n[data]\ntype=data\ndataIdx=0\n[n]\ntype=neuron\ninputs=data\nneuron=rely\n"
)


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    (tmp_path / "bad.cfg").write_text(CLASHING)
    return "bad.cfg"


def test_sarif_of_a_mistake(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", bad, "--format", "sarif"]) == 1
    log = json.loads(capsys.readouterr().out)
    [run] = log["runs"]
    assert run["tool"]["driver"]["version"] == __version__
    [result] = run["results"]
    assert (result["ruleId"], result["level"]) == ("CS210", "error")
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "bad.cfg", "uriBaseId": "%SRCROOT%"},
                "region": {"startLine": 10, "startColumn": 8, "endLine": 10, "endColumn": 12},
            }
        }
    ]


def test_github_of_a_mistake(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", bad, "--format", "github"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("::error file=bad.cfg,line=10,endLine=10,col=8,endColumn=12,title=convspec CS210::")
    assert captured.out.count("\n") == 1
    assert "1 error" in captured.err


def test_a_clean_spec_is_an_empty_log_and_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "alexnet.cfg", "--format", "sarif"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["results"] == []
    assert main(["check", "alexnet.cfg", "--format", "github"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("form", ["sarif", "github"])
def test_a_file_that_is_not_there_is_in_the_log_too(form: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nowhere.cfg", "--format", form]) == 2
    captured = capsys.readouterr()
    assert "there is no file nowhere.cfg" in captured.out
    assert "CS101" in captured.err


@pytest.mark.parametrize("form", ["sarif", "github"])
def test_the_same_spec_gives_the_same_bytes(form: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for _ in range(2):
        main(["check", bad, "--format", form])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert str(Path.cwd()) not in outputs[0]

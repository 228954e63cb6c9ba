"""`convspec compare` as a user calls it: what it prints and leaves, and that a kill costs nothing but time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convspec.cli import main
from convspec.cli.compare import _names
from convspec.train.signals import StopSignals
from tests.train.racing import running_error, write_specs

STEPS = 23
ORANGE, BLUE = (213, 94, 0), (0, 114, 178)


def test_the_table_the_pictures_and_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    relu, tanh = write_specs(tmp_path)
    out = tmp_path / "out"
    assert main(["compare", relu, tanh, "--rates", "0.0002,0.0001", "-o", str(out)]) == 0
    printed = capsys.readouterr()
    steps = {}
    for name in ("relu", "tanh"):
        rate, count = re.search(
            rf"^{name}, rate ([0-9.]+): 25% training error after ([0-9]+) steps", printed.out, re.M
        ).groups()  # type: ignore[union-attr]
        error = running_error(out / f"{name}-rate{rate}-seed0", STEPS)
        assert np.flatnonzero(error <= 0.25)[0] + 1 == int(count)
        steps[name] = int(count)
    fast, slow = sorted(steps, key=steps.__getitem__)
    assert f"{fast} reaches 25% training error {steps[slow] / steps[fast]:.1f} times sooner than {slow}" in printed.out
    for name, rate in re.findall(r"^(relu|tanh), rate ([0-9.]+):", printed.out, re.M):
        which = "largest" if rate == "0.0002" else "smallest"
        assert f"{name} took the {which} of the rates, {rate}: with a" in printed.out
    assert "on 1,438 training pictures of digits, in minibatches of 64" in printed.out
    assert len(re.findall(r"^relu, rate .*seed 0: ", printed.err, re.M)) == 2

    record = json.loads((out / "compare.json").read_text())
    assert record["target"] == {"quantity": "train_error", "value": 0.25}
    assert {each["name"]: each["trainings"][0]["steps_to_target"] for each in record["specs"]} == steps
    assert record["fastest"] == fast
    assert {each["run"] for each in record["specs"][0]["rejected"]} <= {path.name for path in out.iterdir()}

    texts = [each.text for each in ET.parse(out / "curves.svg").getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert {"Training error on digits", "epochs", "training error"} <= set(texts)
    assert [text for text in texts if text and text.startswith(("relu, rate", "tanh, rate"))]
    picture = np.asarray(Image.open(out / "curves.png").convert("RGB")).astype(int)
    for color in (BLUE, ORANGE):
        assert (np.abs(picture - color).sum(2) < 30).sum() > 500
    assert main(["train", "--resume", str(out / "relu-rate0.0002-seed0"), "--steps", "3"]) == 0
    capsys.readouterr()
    (out / "relu-rate0.0002-seed0" / "settings.json").write_text("{}")
    assert main(["compare", relu, tanh, "--rates", "0.0002,0.0001", "-o", str(out)]) == 1
    assert "relu-rate0.0002-seed0 was not trained by this command: it tells of no data" in capsys.readouterr().err


def test_what_never_gets_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    relu, tanh = write_specs(tmp_path)
    assert (
        main(["compare", relu, tanh, "--until", "test_error=0.1%", "--epochs", "1", "-o", str(tmp_path / "out")]) == 0
    )
    out = capsys.readouterr().out
    assert re.search(
        r"relu, rate 0.0002: never at 0.1% test error, in 23 steps; the lowest was [0-9.]+% test error", out
    )
    assert "none reached 0.1% test error" in out
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["ratios"] == []


def test_several_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    relu, tanh = write_specs(tmp_path)
    arguments = ["--until", "train_loss=2.2", "--seeds", "3", "--set", "@train.batch=32", "-o", str(tmp_path / "out")]
    assert main(["compare", relu, tanh, *arguments]) == 0
    out = capsys.readouterr().out
    for spec in json.loads((tmp_path / "out" / "compare.json").read_text())["specs"]:
        reached = [each["steps_to_target"] for each in spec["trainings"]]
        assert [each["seed"] for each in spec["trainings"]] == [0, 1, 2]
        assert spec["deviation"] == pytest.approx(np.std(reached, ddof=1))
        mean, deviation = np.mean(reached), np.std(reached, ddof=1)
        assert (
            f"a training loss of 2.2 after {mean:,.0f} ± {deviation:,.0f} steps (mean and deviation of 3 seeds;" in out
        )
        assert spec["batch"] == 32


def long_comparison(folder: Path) -> Callable[[str], list[str]]:
    """Arguments by the name of the folder to make, of a target that nothing reaches."""
    relu, tanh = write_specs(folder)
    settings = ["--set", "@train.checkpointEvery=8", "--until", "train_error=0.1%", "--epochs", "4"]
    return lambda name: ["compare", relu, tanh, *settings, "-o", str(folder / name)]


def test_the_same_command_goes_on_after_a_kill(tmp_path: Path) -> None:
    arguments = long_comparison(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "convspec", *arguments("killed")], env=environment)
    second = tmp_path / "killed" / "tanh-rate0.0002-seed0" / "metrics.jsonl"
    while not (second.exists() and second.read_bytes().count(b"\n") > 30):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    first = tmp_path / "killed" / "relu-rate0.0002-seed0" / "metrics.jsonl"
    assert not (tmp_path / "killed" / "compare.json").exists()
    before = first.stat().st_mtime_ns
    assert main(arguments("killed")) == 0
    assert first.stat().st_mtime_ns == before
    assert main(arguments("whole")) == 0
    for file in ("compare.json", "curves.svg", "curves.png"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_signal_stops_it_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = long_comparison(tmp_path)
    asked = []

    def received(signals: StopSignals) -> bool:
        asked.append(1)
        return len(asked) > 100

    monkeypatch.setattr(StopSignals, "received", property(received))
    assert main(arguments("out")) == 130
    assert "the same command goes on there" in capsys.readouterr().err
    assert not (tmp_path / "out" / "compare.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["relu.cfg"], "name a spec to compare relu.cfg with"),
        (["relu.cfg", "./relu.cfg"], "named twice"),
        (["relu.cfg", "tanh.cfg", "--until", "error=1"], "did you mean 'test_error'"),
        (["relu.cfg", "tanh.cfg", "--rates", "0.1,x"], "no list of numbers"),
        (["relu.cfg", "tanh.cfg", "--rates", "0.1,-1"], "above 0"),
        (["relu.cfg", "nowhere.cfg"], "CS101"),
        (["relu.cfg", "tanh.cfg", "--data", "nowhere"], "CS701"),
    ],
)
def test_wrong_usage(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_specs(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_specs_of_one_name_are_told_apart() -> None:
    assert _names(("a/net.cfg", "b/other.cfg")) == ["net", "other"]
    assert _names(("a/net.cfg", "b/net.cfg")) == ["a-net", "b-net"]
    assert _names(("x/a/net.cfg", "y/a/net.cfg")) == ["a-net-1", "a-net-2"]


def test_a_folder_that_cannot_be_made_is_said_with_the_option_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    relu, tanh = write_specs(tmp_path)
    assert main(["compare", relu, tanh, "--epochs", "1", "-o", relu]) == 1
    err = capsys.readouterr().err
    assert "CS706" in err
    assert "with -o" in err
    assert "--run" not in err

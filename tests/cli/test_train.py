"""`convspec train` as a user calls it: what it prints, where a run lies, its exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convspec.cli import main
from convspec.resources import spec_path

LENET = str(spec_path("lenet-digits.cfg"))
SHORT = ["--set", "@train.epochs=2"]


def events(run: Path, kind: str) -> list[dict[str, object]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == kind]


def test_lenet_learns_the_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", LENET, "--run", str(run), *SHORT]) == 0
    out = capsys.readouterr().out
    assert "LeNet: 90 steps, 2 epochs" in out
    assert f"run in {run}" in out
    assert out.count("top-1 error") == 1, "the error among the first one is said once"
    (first, last) = events(run, "validation")
    assert last["test"]["error"] < first["test"]["error"] < 0.5
    assert {"spec.cfg", "resolved.cfg", "model.py", "metrics.jsonl", "checkpoints"} <= {p.name for p in run.iterdir()}
    assert (run / "spec.cfg").read_text() == Path(LENET).read_text()
    assert "epochs=2" in (run / "resolved.cfg").read_text()


def test_steps_stop_a_run_and_resume_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["train", LENET, "--run", str(whole), "--steps", "12", *SHORT]) == 0
    assert main(["train", LENET, "--run", str(parts), "--steps", "5", *SHORT]) == 0
    assert f"go on with --resume {parts}" in capsys.readouterr().out
    assert main(["train", LENET, "--resume", str(parts), "--steps", "12", *SHORT]) == 0
    assert [e["loss"] for e in events(parts, "step")] == [e["loss"] for e in events(whole, "step")]


@pytest.mark.parametrize(
    ("value", "says"),
    [("cuda", "CONVSPEC_KERNELS=cuda: must be one of auto, "), ("triton", "CONVSPEC_KERNELS=triton cannot run: ")],
)
def test_kernels_that_cannot_be_had_are_said(
    value: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, spec = str(tmp_path / "run"), tmp_path / "my.cfg"
    norm = "[norm]\ntype=cmrnorm\nafter=conv1\nsize=3\nscale=0.001\npow=0.75\n"
    spec.write_text(f"[@net]\nextends=lenet-digits.cfg\n{norm}")
    with monkeypatch.context() as patch:
        patch.setenv("CONVSPEC_KERNELS", value)
        assert main(["train", str(spec), "--run", run, "--device", "cpu", "--steps", "1"]) == 2
    err = capsys.readouterr().err
    assert f"error[CS803]: {says}" in err
    assert "unset CONVSPEC_KERNELS" in err
    monkeypatch.setenv("CONVSPEC_KERNELS", "")
    assert main(["train", "--resume", run, "--device", "cpu", "--steps", "1"]) == 0


def test_runs_are_called_as_the_file_of_their_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lenet-digits", "lenet-digits-2"):
        assert main(["train", "specs/lenet-digits.cfg", "--steps", "1", *SHORT]) == 0
        assert f"run in runs/{name}" in capsys.readouterr().out
        assert (tmp_path / "runs" / name / "settings.json").is_file()


def test_the_schedule_says_what_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By no rate at all nothing improves after the first epoch."""
    still = ["@train.batch=1438", "@train.schedule=plateau", "@train.plateauDrops=1", "@train.plateauPatience=1"]
    still += ["@params.epsW=1e-30", "@params.epsB=1e-30"]
    run = str(tmp_path / "run")
    assert main(["train", LENET, "--run", run, *(word for key in still for word in ("--set", key))]) == 0
    captured = capsys.readouterr()
    assert "rates divided by 10, time 1 of 1\n" in captured.err
    assert captured.err.count("rates divided") == 1
    name, why, *_ = captured.out.splitlines()
    assert name.startswith("LeNet: 3 steps, 3 of 12 epochs, ")
    assert why == "ended by schedule=plateau: the test error no longer improves, at any of the divided rates"


def test_a_run_that_goes_on_keeps_the_name_of_its_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    (tmp_path / "mine.cfg").write_text("[@net]\nextends=lenet-digits.cfg\n")
    assert main(["train", str(tmp_path / "mine.cfg"), "--run", run, "--steps", "1"]) == 0
    assert main(["train", "--resume", run, "--steps", "2"]) == 0
    assert re.findall("^mine: (.*), ", capsys.readouterr().out, re.MULTILINE) == [
        "1 step, 0 epochs",
        "2 steps, 0 epochs",
    ]


def test_a_run_of_a_variant_goes_on_without_the_spec_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.cfg").write_text(Path(LENET).read_text())
    spec, run = tmp_path / "variant.cfg", tmp_path / "run"
    spec.write_text(
        "[@net]\nextends=base.cfg\nname=V\n[fc4]\nremove=1\n[twice]\ntype=neuron\nneuron=abs\nafter=fc3\nrepeat=2\n"
    )
    assert main(["train", str(spec), "--run", str(run), "--steps", "3", *SHORT]) == 0
    assert main(["train", str(spec), "--resume", str(run), "--steps", "4", *SHORT]) == 0
    (tmp_path / "base.cfg").unlink()
    assert main(["train", "--resume", str(run), "--steps", "6"]) == 0
    assert main(["check", str(run / "resolved.cfg")]) == 0
    assert len(events(run, "step")) >= 3


def test_no_data_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = str(spec_path("alexnet-1gpu.cfg"))
    small = ["--set", "@train.batch=2", "--set", "@data.samples=1", "--set", "@data.testSamples=1"]
    shrink = ["--set", "fc6.outputs=8", "--set", "fc7.outputs=8", "--set", "@train.epochs=1"]
    assert main(["train", spec, "--run", str(tmp_path / "run"), "--steps", "1", *small, *shrink]) == 0
    err = capsys.readouterr().err
    assert "CS712" in err
    assert "photos" in err


def test_a_run_on_the_devices_of_its_spec_goes_on_on_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Losses go on as if nothing had changed."""
    spec = str(spec_path("alexnet-small.cfg"))
    few = ["--set", "@data.samples=16", "--set", "@data.testSamples=1", "--set", "@train.batch=16", "--log-every", "1"]
    parted, whole = str(tmp_path / "parted"), str(tmp_path / "whole")
    assert main(["train", spec, *few, "--devices", "cpu,cpu", "--run", parted, "--steps", "3"]) == 0
    assert main(["train", "--resume", parted, "--steps", "5"]) == 0
    assert main(["train", spec, *few, "--run", whole, "--steps", "5"]) == 0
    losses = [[record["loss"] for record in events(Path(run), "step")] for run in (parted, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert "def place(self" in (tmp_path / "parted" / "model.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--data", "nowhere"], 2, "CS701"),
        (["--set", "fc5.outputs=3", "--set", "@net.classes=3"], 1, "CS704"),
        (["--device", "cuda:99"], 1, "CS710"),
        (["--set", "conv1.stride=0"], 1, "CS205"),
        (["--set", "logprob.coeff=0"], 1, "CS602"),
        (["--resume", "nowhere"], 2, "CS719"),
        (["--run", "a", "--resume", "b"], 2, "give one of them"),
        (["--steps", "0"], 2, "--steps"),
        (["--devices", "cpu,cpu"], 1, "CS750"),
        (["--devices", "cpu", "--device", "cpu"], 2, "give one of them"),
        (["--devices", "cpu,cpu", "--target", "folded"], 2, "--target devices takes them"),
        (["--devices", ","], 1, "CS750"),
    ],
)
def test_mistakes(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", LENET, *arguments]) == code
    assert says in capsys.readouterr().err


def test_a_signal_saves_and_exits_130(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "convspec", "train", LENET, "--run", str(run), "--log-every", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = run / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with --resume {run}" in err
    assert "Traceback" not in err
    assert any((run / "checkpoints").iterdir())


def test_every_cost_is_named_in_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network without labels, whose two costs have no error rate."""
    spec = tmp_path / "autoencoder.cfg"
    params = "[@params]\ninitW=0.01\nepsW=0.0001\nepsB=0.0001\nmomW=0.9\nmomB=0.9\n"
    spec.write_text(
        f"[@net]\ninput=data:1x8x8\n[@train]\nepochs=1\n[@data]\nprovider=digits\n{params}"
        "[data]\ntype=data\ndataIdx=0\n[code]\ntype=fc\ninputs=data\noutputs=8\n"
        "[back]\ntype=fc\ninputs=code\noutputs=64\n"
        "[loss]\ntype=eltsum\ninputs=data,back\ncoeffs=1,-1\n"
        "[lost]\ntype=cost.sum2\ninputs=loss\ncoeff=0.00001\n"
        "[size]\ntype=cost.sum2\ninputs=code\ncoeff=0\nchildren=lost\n"
    )
    assert main(["train", str(spec), "--run", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    costs = events(tmp_path / "run", "validation")[-1]["test"]["costs"]
    assert f"test of 359 images: lost {costs['lost']['loss']:.4f}\n" in captured.out
    size = f"size {costs['size']['loss']:.4f}, with its children {costs['size']['total']:.4f}"
    assert f"test of 359 images: {size}\n" in captured.out
    assert f"; test lost {costs['lost']['loss']:.4f}; {size}" in captured.err

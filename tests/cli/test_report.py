"""`convspec report`: what stands on the page of a run, what a browser makes of it, and what can be missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convspec.cli import main
from convspec.resources import spec_path
from convspec.train.run import RunFolder
from tests.report.test_page import Reader

LENET = str(spec_path("lenet-digits.cfg"))
TITLES = [
    "Curves",
    "What it takes pictures for",
    "Kernels of the first layer",
    "Weights and their steps",
    "Checkpoints",
    "Network",
    "Spec and module",
]
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, whose page `train` has written."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", LENET, "--run", str(run), "--set", "@train.epochs=2", "--device", "cpu"]) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    return tmp_path / "run"


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text())
    reader.close()
    assert not reader.open
    return reader


def titles(page: Path) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page.read_text())


def pictures(page: Path) -> dict[str, bytes]:
    """By what is said of them."""
    images = [attributes for tag, attributes in read(page).elements if tag == "img"]
    return {image["alt"] or "": b64decode((image["src"] or "").partition(",")[2]) for image in images}


def test_train_leaves_a_page_with_all_that_the_run_can_show(trained: Path) -> None:
    page = trained / "report.html"
    assert titles(page) == TITLES
    texts = " ".join(read(page).texts)
    assert "LeNet on digits" in texts
    assert "90 steps, 2 of 2 epochs: finished" in texts
    assert "1,438 for training, 359 for tests, 10 classes" in texts
    assert "0002-00000090" in texts
    assert "whole" in texts
    assert "class LeNet(nn.Module):" in texts
    assert "[conv1]" in texts
    assert len(re.findall(r'class="spark"', page.read_text())) == 10, "a curve for each parameter"


def test_its_pictures_show_what_they_say(trained: Path) -> None:
    found = pictures(trained / "report.html")
    assert {"Error on digits", "Loss on digits", "Learning rate", "the network, layer by layer"} <= set(found)
    error = found["Error on digits"].decode()
    assert error.count('<polyline class="c0"') == error.count('<polyline class="c1"') == 2, "curve and legend"
    panel = np.asarray(Image.open(BytesIO(found["test pictures with bars for guesses"])).convert("RGB")).astype(int)
    assert (np.abs(panel - np.array([244, 139, 148])).sum(axis=2) < 9).sum() > 500, "bars of right guesses are red"
    kernels = np.asarray(Image.open(BytesIO(found["kernels of the first layer"])).convert("RGB"))
    assert kernels.std() > 20


def test_report_writes_the_same_page_again_and_elsewhere(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "page.html"
    assert main(["report", str(trained), "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert target.read_bytes() == (trained / "report.html").read_bytes()


def test_a_run_before_its_first_checkpoint_has_a_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    assert main(["report", str(run)]) == 0
    assert titles(run / "report.html") == ["Network", "Spec and module"]
    assert "before its first checkpoint" in " ".join(read(run / "report.html").texts)
    err = capsys.readouterr().err
    assert "the page goes without the guesses" in err
    assert "the page goes without the kernels" in err


def test_a_spoilt_checkpoint_is_named_and_the_one_before_is_shown(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = sorted((run / "checkpoints").iterdir())[-1]
    content = (newest / "weights.safetensors").read_bytes()
    (newest / "weights.safetensors").write_bytes(content[:-7])
    assert main(["report", str(run)]) == 0
    assert titles(run / "report.html") == TITLES
    texts = " ".join(read(run / "report.html").texts)
    assert "cannot be used: weights.safetensors does not have the digest" in texts
    assert "whole" in texts
    assert "CS708" in capsys.readouterr().err


def test_samples_can_be_left_out(run: Path) -> None:
    assert main(["report", str(run), "--samples", "0"]) == 0
    assert titles(run / "report.html") == [title for title in TITLES if title != "What it takes pictures for"]


def test_a_run_that_is_not_there_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "CS719" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[" * 100_000,
        '{"step": 1}',
        '{"event": "step", "epoch": 1, "step": 1}',
        '{"event": "step", "epoch": 1, "step": 1, "rate": NaN, "wall": {"images_per_second": 1}}',
        '{"event": "step", "epoch": 1, "step": 1, "rate": 1, "wall": {"images_per_second": "many"}}',
        '{"event": "step", "epoch": 1, "step": 1, "rate": 1, "wall": {"images_per_second": 1}, "so_far": {"loss": 1}}',
        '{"event": "weights", "epoch": 1, "step": 1, "parameters": {"conv1.weight": {"weight": 1}}}',
        '{"event": "validation", "epoch": 1, "step": 1, "train": {"cases": 1, "loss": 1}, "test": {}}',
    ],
    ids=lambda line: line[:130],
)
def test_metrics_that_are_no_records_are_named(run: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f"{line}\n")
    number = (run / "metrics.jsonl").read_bytes().count(b"\n")
    assert main(["report", str(run)]) == 1
    assert f"error[CS708]: line {number} of" in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_a_spec_that_was_edited_has_a_page_without_pictures(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = run / "resolved.cfg"
    spec.write_text(spec.read_text().replace("[conv1]", "[first]").replace("=conv1\n", "=first\n"))
    assert main(["report", str(run)]) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("note[CS709]")] != []
    assert "Kernels of the first layer" not in titles(run / "report.html")
    assert main(["filters", str(run), "-o", str(run / "kernels.png")]) == 1
    assert "error[CS709]" in capsys.readouterr().err


def test_kernels_of_a_checkpoint_that_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, last = (path.name for path in sorted((run / "checkpoints").iterdir()))
    pictures = {}
    for name in (first, last, None):
        file = run / f"{name}.png"
        assert main(["filters", str(run), "-o", str(file), *([] if name is None else ["--checkpoint", name])]) == 0
        pictures[name] = file.read_bytes()
    assert pictures[first] != pictures[last] == pictures[None]
    assert main(["filters", str(run), "--checkpoint", "nowhere"]) == 2
    assert main(["filters", str(run), "-o", str(run / "kernels.svg")]) == 2
    assert "pictures are written as PNG" in capsys.readouterr().err


def test_what_was_not_finite_is_left_out_of_the_page(run: Path) -> None:
    lines = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for entry in record.get("parameters", {}).values():
            entry["step"] = None
        if record["event"] == "step":
            record["rate"] = record["so_far"]["loss"] = record["wall"]["images_per_second"] = None
        lines.append(json.dumps(record))
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert main(["report", str(run)]) == 0
    assert titles(run / "report.html") == TITLES


def test_a_page_that_cannot_be_written_is_a_warning_after_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, describe = tmp_path / "run", RunFolder.describe

    def in_the_way(self: RunFolder, *arguments: Any) -> None:
        describe(self, *arguments)
        (self.path / "report.html").mkdir()

    monkeypatch.setattr(RunFolder, "describe", in_the_way)
    assert main(["train", LENET, "--run", str(run), "--steps", "2", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert "LeNet: 2 steps" in out
    assert f"warning[CS101]: {run} goes without its report" in err
    assert f"convspec report {run}" in err


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: on Debian, apt install chromium")
def test_a_browser_shows_it_without_a_word_of_complaint(trained: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    shot = tmp_path / "shot.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,2400", f"--screenshot={shot}"]
    page = (trained / "report.html").as_uri()
    done = subprocess.run([CHROMIUM, *flags, page], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    seen = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert seen.shape == (2400, 1100, 3)
    darkness = (seen.sum(axis=2) < 384).mean(axis=1)
    bands = darkness.reshape(24, 100).mean(axis=1)
    assert (bands > 0.001).sum() >= 18, "text or pictures on most of the page"
    # the curve of the error: blue, as Okabe and Ito have it
    assert (np.abs(seen - np.array([0, 114, 178])).sum(axis=2) < 30).sum() > 200

"""Colour noise in a run: what reaches the network, what a checkpoint keeps of it, and what grey networks are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from convspec.compiler import Compiled, compile_spec
from convspec.data import Batch, statistics_of
from convspec.diagnostics import Diagnostic, Severity
from convspec.train import checkpoint as checkpoints
from convspec.train.display import SilentDisplay
from convspec.train.imported import import_checkpoint
from convspec.train.inputs import InputTensors
from convspec.train.preparation import open_data
from convspec.train.trainer import train
from tests.train.old_nets import Net
from tests.train.runs import assert_same_run, metrics

NET = """
[@net]
input=data:{channels}x8x8
classes=16
[@train]
batch=16
epochs=2
schedule=spec
[@data]
provider=photos
size=12
samples=4
testSamples=2
mirror=1
{noise}
[@params]
epsW=0.0001
epsB=0.0001
momW=0.9
momB=0.9
initW=0.001
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[fc1]
type=fc
inputs=data
outputs=16
[probs]
type=softmax
inputs=fc1
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""


def spec(noise: str = "colorNoise=0.1", channels: int = 3) -> Compiled:
    return compile_spec(NET.format(noise=noise, channels=channels))


def go(compiled: Compiled, folder: Path, *, max_steps: int | None = None, resume: bool = False) -> list[Diagnostic]:
    told: list[Diagnostic] = []
    where = {"resume": folder} if resume else {"run_dir": folder}
    train(compiled, display=SilentDisplay(), max_steps=max_steps, notify=told.append, **where)  # type: ignore[arg-type]
    return told


def test_pictures_are_shifted_after_the_mean_and_then_scaled() -> None:
    random = np.random.default_rng(0)
    images, shifts = random.integers(0, 256, (5, 8, 8, 3), np.uint8), random.normal(0, 9, (5, 3)).astype(np.float32)
    mean = random.random((8, 8, 3), np.float32) * 255
    inputs = InputTensors(spec().program, mean, torch.device("cpu"), 5)
    expected = (images.astype(float) - mean + shifts[:, None, None, :]) * 0.75
    batch = Batch(images, np.zeros(5, np.int64), shifts=shifts, scale=0.75)
    np.testing.assert_allclose(inputs(batch)[0]["data"].permute(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-4)


def test_a_run_goes_on_to_the_same_bits_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    go(spec(), tmp_path / "whole")
    go(spec(), tmp_path / "part", max_steps=3)
    go(spec(), tmp_path / "part", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "part")
    for other in ("", "colorNoise=0.2", "colorNoise=0.1\ncolorScale=1"):
        name = other.replace("\n", "")
        go(spec(other), tmp_path / f"other{name}")
        assert metrics(tmp_path / f"other{name}") != metrics(tmp_path / "whole")


def test_a_checkpoint_keeps_the_components_that_the_run_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And they matter: with others the run goes on elsewhere."""
    compiled = spec()
    go(compiled, tmp_path / "run", max_steps=3)
    kept = checkpoints.load_newest(tmp_path / "run" / "checkpoints", lambda diagnostic: None)
    assert kept is not None
    dataset = open_data(compiled, None, lambda diagnostic: None)
    taken = statistics_of(dataset).color_pca
    assert taken is not None
    assert torch.equal(kept.training["color_pca/deviations"], torch.from_numpy(taken[0]))
    assert torch.equal(kept.training["color_pca/directions"], torch.from_numpy(taken[1]))

    go(compiled, tmp_path / "whole")
    load = checkpoints.load_checkpoint

    def load_other(path: Path) -> checkpoints.Checkpoint:
        whole = load(path)
        turned = whole.training["color_pca/directions"].flip(1).contiguous()
        return replace(whole, training={**whole.training, "color_pca/directions": turned})

    monkeypatch.setattr(checkpoints, "load_checkpoint", load_other)
    go(compiled, tmp_path / "run", resume=True)
    assert metrics(tmp_path / "run")[:3] == metrics(tmp_path / "whole")[:3]
    assert metrics(tmp_path / "run") != metrics(tmp_path / "whole")


def test_without_noise_no_component_is_taken_or_kept(tmp_path: Path) -> None:
    go(spec(""), tmp_path / "run", max_steps=1)
    kept = checkpoints.load_newest(tmp_path / "run" / "checkpoints", lambda diagnostic: None)
    assert kept is not None
    assert "mean" in kept.training
    assert not any(name.startswith("color_pca") for name in kept.training)


def test_a_grey_network_is_told_and_learns_as_without(tmp_path: Path) -> None:
    told = go(spec(channels=1), tmp_path / "noisy")
    assert [(d.code, d.severity) for d in told] == [("CS731", Severity.NOTE)]
    assert go(spec("", channels=1), tmp_path / "plain") == []
    assert metrics(tmp_path / "noisy") == metrics(tmp_path / "plain")


@pytest.mark.parametrize(
    ("value", "lines"),
    [(0.1, "\ncolorNoise=0.1\ncolorScale=1\n"), (0.0, None), (float("inf"), None), (float("nan"), None), ("x", None)],
)
def test_an_old_checkpoint_brings_its_noise(tmp_path: Path, value: object, lines: str | None) -> None:
    net = Net("ccn2")
    net.data("data", 0, 3 * 8 * 8)
    net.data("labels", 1, 1)
    net.fc("fc4", ["data"], 4)
    net.same("probs", ["fc4"], "softmax")
    net.cost("logprob", ["labels", "probs"])
    options = {"train_batch_range": [1], "test_batch_range": [2], "dp_type": "image", "color_noise": value}
    run = import_checkpoint(net.save(tmp_path / "1.1", 1, 1, **options), tmp_path / "run").run_dir
    text = (run / "spec.cfg").read_text()
    assert (lines in text) if lines else "color" not in text

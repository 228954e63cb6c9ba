"""What a run records of itself: sizes of weights and of their steps, memory, and the same for TensorBoard."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from convspec.diagnostics import DiagnosticError
from convspec.program.program import Block, Program
from convspec.train.device import peak_memory
from convspec.train.display import SilentDisplay
from convspec.train.optimizer import PaperSGD
from convspec.train.team import Team
from convspec.train.tensorboard import TensorBoardLog, scalars
from convspec.train.trainer import train
from tests.train.runs import SPEC, go
from tests.train.test_optimizer import SHAPES, STEPS, Weights, gradients, step
from tests.train.tinynet import TinyNet, constant, parameter

T = TypeVar("T")
READER = "tensorboard.backend.event_processing.event_accumulator"
HALVES = (Block("upper.weight", (0, 2), (0, 4)), Block("lower.weight", (2, 6), (0, 4)))


def records(run: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_sizes_are_those_of_the_weights_and_of_what_a_step_changed() -> None:
    net = Weights()
    parameters = (
        parameter("first", SHAPES["first"], constant(0.1, decay=0.01), *HALVES),
        parameter("second", SHAPES["second"], constant(0.02, momentum=0.5)),
    )
    optimizer = PaperSGD(Program("weights", (), parameters, ()), net)
    assert {size.step for size in optimizer.sizes().values()} == {0.0}
    for i in range(STEPS):
        optimizer.set_rates(0.0, factor=1.0 if i < 9 else 0.1)
        before = {name: tensor.detach().numpy().copy() for name, tensor in net.named_parameters()}
        step(optimizer, net, gradients()[i])
        after = {name: tensor.detach().numpy() for name, tensor in net.named_parameters()}
        pieces = {
            "upper.weight": ("first", slice(0, 2)),
            "lower.weight": ("first", slice(2, 6)),
            "second": ("second", slice(None)),
        }
        sizes = optimizer.sizes()
        assert set(sizes) == set(pieces)
        for name, (whole, rows) in pieces.items():
            assert sizes[name].weight == pytest.approx(np.abs(after[whole][rows]).mean(), rel=1e-12)
            changed = np.abs(after[whole][rows] - before[whole][rows]).mean()
            assert sizes[name].step == pytest.approx(changed, rel=1e-9)


def test_weights_are_recorded_at_one_in_ten_of_the_logged_steps(tmp_path: Path) -> None:
    go(SPEC, tmp_path / "run", max_steps=23, log_every=1)
    found = records(tmp_path / "run", "weights")
    assert [record["step"] for record in found] == [1, 11, 21]
    assert set(found[0]["parameters"]) == {"conv1.weight", "conv1.bias", "fc2.weight", "fc2.bias"}
    assert all(0 < entry["step"] < 10 * entry["weight"] + 1 for entry in found[1]["parameters"].values())
    assert {entry["rate"] for entry in found[0]["parameters"].values()} == {0.2, 0.4}
    walls = [record["wall"] for record in records(tmp_path / "run", "step")]
    assert all(wall["memory"] > 50 << 20 for wall in walls), "a process with torch in it"
    assert [wall["memory"] for wall in walls] == sorted(wall["memory"] for wall in walls)


def test_memory_is_that_of_all_gpus_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: {0: 5, 1: 7}[device.index])
    devices = [torch.device("cuda", index) for index in (0, 1, 0)]
    assert peak_memory(devices) == 12
    assert (peak_memory([torch.device("cpu")] * 2) or 0) > 50 << 20


class _Three(Team):
    """As if three processes did what this one does."""

    def all_do(self, work: Callable[[], T]) -> list[T]:
        return [work()] * 3


def test_memory_is_that_of_all_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("convspec.train.records.peak_memory", lambda devices: 7)
    train(SPEC, run_dir=tmp_path, network=TinyNet(), display=SilentDisplay(), max_steps=2, log_every=1, team=_Three())
    assert [record["wall"]["memory"] for record in records(tmp_path, "step")] == [21, 21]


def test_tensorboard_has_what_the_metrics_have_also_after_a_kill_in_between(tmp_path: Path) -> None:
    accumulators = pytest.importorskip(READER, reason="tensorboard is not installed: pip install tensorboard")
    run = tmp_path / "run"
    train(SPEC, run_dir=run, network=TinyNet(), display=SilentDisplay(), max_steps=30, log_every=5, tensorboard=True)
    # as if it had gone on before it was killed: the resumed run takes this back
    stray = {"event": "step", "step": 41, "costs": {"logprob": 99.0}, "wall": {}}
    log = TensorBoardLog(run, 30)
    log.take(stray)
    log.close()
    train(SPEC, resume=run, network=TinyNet(), display=SilentDisplay(), max_steps=50, tensorboard=True)
    events = accumulators.EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    written = [(e.step, e.value) for e in events.Scalars("train/logprob")]
    expected = [(record["step"], record["costs"]["logprob"]) for record in records(run, "step")]
    assert written == [(number, pytest.approx(loss, rel=1e-6)) for number, loss in expected]
    assert len(written) == 11
    tests = [(e.step, e.value) for e in events.Scalars("test/epoch error")]
    assert tests == [(r["step"], pytest.approx(r["test"]["error"], rel=1e-6)) for r in records(run, "validation")]
    assert events.Scalars("ratio/fc2.weight")[0].value > 0


def test_a_loss_that_is_not_finite_is_left_out() -> None:
    means = {"loss": None, "error": 0.5, "costs": {"logprob": {"loss": None, "error": 0.5, "precision": [0.1, None]}}}
    record = {"event": "validation", "step": 3, "train": {"cases": 2, "costs": {}}, "test": means}
    assert dict(scalars(record)) == {"test/epoch error": 0.5, "test/logprob error": 0.5}


def test_tensorboard_that_is_missing_is_named_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DiagnosticError) as caught:
        train(SPEC, run_dir=tmp_path / "run", network=TinyNet(), display=SilentDisplay(), tensorboard=True)
    assert caught.value.diagnostics[0].code == "CS801"
    assert caught.value.diagnostics[0].help == 'pip install "convspec[tensorboard]"'
    assert not (tmp_path / "run").exists()

"""A run that waits for its pictures: it says so, hears a stop, and counts the seconds."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from convspec.data import Split, readers
from convspec.data.dataset import Pictures
from convspec.data.digits import Digits
from convspec.data.draws import Indices
from convspec.diagnostics import Diagnostic, Severity
from convspec.train import waiting
from convspec.train.checkpoint import list_checkpoints
from convspec.train.display import SilentDisplay
from convspec.train.signals import Interrupted
from convspec.train.trainer import train
from tests.train.runs import SPEC, assert_same_run, go
from tests.train.tinynet import TinyNet


class Gate:
    """Holds up reads of a split after the first `at`, until it is opened. The mean of the digits takes 23 of training."""

    def __init__(self, split: Split, at: int) -> None:
        self.split, self.at, self.reads = split, at, 0
        self.opened, self.reached = threading.Event(), threading.Event()

    def pass_by(self, split: Split) -> None:
        if split is not self.split:
            return
        self.reads += 1
        if self.reads > self.at:
            self.reached.set()
            assert self.opened.wait(30)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(readers, "POLL_SECONDS", 0.002)
    monkeypatch.setattr(readers, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "STALL_SECONDS", 0.01)
    return


def behind(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Digits.read

    def gated(self: Digits, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        gate.pass_by(split)
        return read(self, split, indices, epoch=epoch, out=out)

    monkeypatch.setattr(Digits, "read", gated)


@pytest.mark.usefixtures("quick")
def test_a_stall_is_told_again_and_again_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(SPEC, tmp_path / "whole")
    gate, told = Gate(Split.TRAIN, 30), []

    def notify(diagnostic: Diagnostic) -> None:
        told.append(diagnostic)
        if len(told) == 3:
            gate.opened.set()

    behind(gate, monkeypatch)
    train(SPEC, run_dir=tmp_path / "held", network=TinyNet(), display=SilentDisplay(), notify=notify)
    assert [(d.code, d.severity) for d in told] == [("CS732", Severity.WARNING)] * 3
    assert "pictures of digits" in told[0].message
    assert_same_run(tmp_path / "whole", tmp_path / "held")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("split", "at", "steps"), [(Split.TRAIN, 23 + 7, 7), (Split.TEST, 2, 23)])
def test_a_stop_is_heard_while_pictures_do_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: Split, at: int, steps: int
) -> None:
    go(SPEC, tmp_path / "whole")
    gate = Gate(split, at)
    with monkeypatch.context() as patch:
        behind(gate, patch)
        stopper = threading.Thread(
            target=lambda: (gate.reached.wait(30), time.sleep(0.2), os.kill(os.getpid(), signal.SIGTERM))
        )
        stopper.start()
        with pytest.raises(Interrupted):
            go(SPEC, tmp_path / "part")
        stopper.join()
        gate.opened.set()
    newest = list_checkpoints(tmp_path / "part" / "checkpoints")[-1]
    assert newest.name.endswith(f"-{steps:08d}")
    go(SPEC, resume=tmp_path / "part")
    assert_same_run(tmp_path / "whole", tmp_path / "part")


def test_the_seconds_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(Split.TRAIN, 23 + 3)
    behind(gate, monkeypatch)
    opener = threading.Thread(target=lambda: (gate.reached.wait(30), time.sleep(1), gate.opened.set()))
    opener.start()
    go(SPEC, tmp_path / "run", max_steps=8, log_every=4)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    waits = [line["wall"]["data_wait"] for line in lines if line["event"] == "step"]
    assert len(waits) == 2
    opener.join()
    assert waits[1] > 0.02, "the sum over four steps, the third of which waits at the gate"

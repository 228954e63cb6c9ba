"""Runs of the tiny network, and what any run leaves in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convspec.train import checkpoint as checkpoints
from convspec.train.display import SilentDisplay
from convspec.train.loop import Result
from convspec.train.trainer import train
from tests.train.tinynet import Compiled, TinyNet, Train

SPEC = Compiled(train=Train(epochs=3, checkpoint_every=4))


def go(compiled: Compiled, folder: Path | None = None, network: TinyNet | None = None, **options: Any) -> Result:
    return train(compiled, run_dir=folder, network=network or TinyNet(), display=SilentDisplay(), **options)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Without what depends on the clock."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "wall"} for line in lines]


def losses(folder: Path) -> list[float]:
    """Of each step that was written down."""
    return [record["loss"] for record in metrics(folder) if record["event"] == "step"]


def weights(folder: Path) -> dict[str, Tensor]:
    """Of the newest checkpoint."""
    checkpoint = checkpoints.load_newest(folder / "checkpoints", lambda diagnostic: None)
    assert checkpoint is not None
    return dict(checkpoint.weights)


def assert_same_run(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name

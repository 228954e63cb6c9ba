"""Two small specs for the digits whose only difference is the neuron, and what a run of them left, read with NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RELU = """\
[@net]
input=data:1x8x8
classes=10

[@train]
batch=64
epochs=8
schedule=spec

[@data]
provider=digits
mirror=0
mean=channel

[@params]
epsW=0.0002
epsB=0.0004
momW=0.9
momB=0.9

[data]
type=data
dataIdx=0

[labels]
type=data
dataIdx=1

[conv1]
type=conv
inputs=data
filters=8
filterSize=3
padding=1
initW=0.02
neuron=relu

[fc2]
type=fc
inputs=conv1
outputs=10
initW=0.02

[probs]
type=softmax
inputs=fc2

[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
topk=2
"""
TANH = "[@net]\nextends=relu.cfg\n\n[conv1]\nneuron=tanh[1,1]\n"


def write_specs(folder: Path) -> tuple[str, str]:
    """`relu.cfg` and `tanh.cfg`."""
    for name, text in (("relu.cfg", RELU), ("tanh.cfg", TANH)):
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder / "relu.cfg"), str(folder / "tanh.cfg")


def records(run: Path, event: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [record for record in lines if record["event"] == event]


def mistakes_by_step(run: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cases and mistakes of each step, of a run that logged every one."""
    steps = records(run, "step")
    assert [record["step"] for record in steps] == list(range(1, len(steps) + 1))
    cases = np.array([record["so_far"]["cases"] for record in steps], float)
    wrong = cases * np.array([record["so_far"]["error"] for record in steps])
    epochs = np.array([record["epoch"] for record in steps])
    begins = np.r_[True, epochs[1:] != epochs[:-1]]
    before = np.where(begins, 0.0, np.r_[0.0, cases[:-1]]), np.where(begins, 0.0, np.r_[0.0, wrong[:-1]])
    return cases - before[0], wrong - before[1]


def running_error(run: Path, steps_per_epoch: int) -> NDArray[np.float64]:
    """The share of mistakes in the last `steps_per_epoch` steps, at each step: one convolution each."""
    cases, wrong = mistakes_by_step(run)
    window = np.ones(steps_per_epoch)
    result: NDArray[np.float64] = np.convolve(wrong, window)[: len(wrong)] / np.convolve(cases, window)[: len(cases)]
    return result

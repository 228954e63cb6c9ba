"""The recipe of section 5, line by line: what specs/alexnet.cfg and a bare [@train] ask for, and the heuristic of its rates.

That each step follows the update rule is in test_optimizer and test_specs; here is what it is given.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convspec.compiler import Compiled, compile_spec
from convspec.emit.load import instantiate
from convspec.program.features import Dropout
from convspec.program.schedule import Schedule
from convspec.resources import spec_path
from convspec.train.inputs import picture_shape
from convspec.train.schedules import Plateau
from tests.train.runs import go
from tests.train.tinynet import Compiled as Tiny
from tests.train.tinynet import Train, constant, tiny_program

BARE = """
[@net]
input=data:3x8x8
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[fc1]
type=fc
inputs=data
outputs=4
initW=0.01
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
wc=0.0005
[probs]
type=softmax
inputs=fc1
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""

ONES = {"conv2", "conv4", "conv5", "fc6", "fc7"}
"""Layers whose biases begin at 1: "the second, fourth, and fifth convolutional layers, as well as ... the fully-connected
hidden layers"."""


@pytest.fixture(scope="module")
def alexnet() -> Compiled:
    return compile_spec(str(spec_path("alexnet.cfg")))


def test_minibatches_epochs_and_schedule_are_the_papers_and_the_defaults(alexnet: Compiled) -> None:
    for options in (alexnet.train, compile_spec(BARE).train):
        assert (options.batch, options.epochs) == (128, 90)
        assert (options.schedule, options.plateau_factor, options.plateau_drops) == ("plateau", 10, 3)
        assert options.precision == "fp32"


def test_every_weight_learns_at_the_papers_rates(alexnet: Compiled) -> None:
    for parameter in alexnet.program.parameters:
        update = parameter.update
        assert update.rate == Schedule.constant(0.01)
        assert update.momentum == 0.9
        assert update.decay == (0.0005 if parameter.name.endswith("weight") else 0.0), parameter.name


def test_weights_begin_as_the_paper_says(alexnet: Compiled) -> None:
    """N(0, 0.01), by the module that is trained; biases 1 or 0."""
    torch.manual_seed(0)
    for name, tensor in instantiate(alexnet.source, alexnet.name).named_parameters():
        layer = name.partition(".")[0]
        if name.endswith("bias"):
            assert (tensor == (1.0 if layer in ONES else 0.0)).all(), name
            continue
        values = tensor.detach().flatten()[:200_000].double()
        assert values.std().item() == pytest.approx(0.01, rel=0.03), name
        assert abs(values.mean().item()) < 2e-4
        assert (values.abs() > 0.0196).double().mean().item() == pytest.approx(0.05, abs=0.008), "normal, not uniform"


def test_pictures_and_dropout_are_the_papers(alexnet: Compiled) -> None:
    data = alexnet.data
    assert picture_shape(alexnet.program) == (3, 227, 227)
    assert (data.size, data.mirror, data.mean) == (256, True, "image")
    assert (data.color_noise, data.color_scale) == (0.1, False)
    drops = [op for op in alexnet.program.operators if isinstance(op, Dropout)]
    assert {op.keep for op in drops} == {0.5}
    assert {layer for op in drops for layer in op.layers} == {"drop6a", "drop6b", "drop7a", "drop7b"}


def scales_by_numpy(errors: np.ndarray, factor: float, patience: int, drops: int) -> tuple[np.ndarray, int | None]:
    """What rates are multiplied by after each validation, and which one ends the run (None: none): from the running minimum
    alone. A validation improves if it is below all before; a drop comes where the last improvement and the last drop
    are `patience` validations ago."""
    before = np.concatenate([[np.inf], np.minimum.accumulate(errors)[:-1]])
    improved = np.flatnonzero(errors < before)
    drop_at: list[int] = []
    since = -1
    for i in range(len(errors)):
        since = i if i in improved else since
        if i - since == patience:
            drop_at.append(i)
            since = i
    end = drop_at[drops] if len(drop_at) > drops else None
    counts = np.searchsorted(drop_at[:drops], np.arange(len(errors)), side="right")
    return np.power(float(factor), -counts), end


@given(
    errors=st.lists(st.integers(0, 12).map(lambda n: n / 12), max_size=60),
    factor=st.sampled_from([10.0, 2.0, 1.5]),
    patience=st.integers(1, 4),
    drops=st.integers(0, 3),
)
def test_the_plateau_is_what_numpy_makes_of_the_same_errors(
    errors: list[float], factor: float, patience: int, drops: int
) -> None:
    expected, end = scales_by_numpy(np.array(errors), factor, patience, drops)
    plateau = Plateau(factor, patience, drops)
    for i, error in enumerate(errors):
        plateau.update(error)
        assert plateau.scale == pytest.approx(expected[i], rel=1e-12)
        assert plateau.is_finished == (i == end)
        if plateau.is_finished:
            return


@pytest.mark.parametrize("stop", [None, 23 * 5 + 7])
def test_a_run_learns_at_the_rates_of_the_plateau(tmp_path: Path, stop: int | None) -> None:
    """Through the record of a run, in one go or resumed: each epoch's rate is what NumPy makes of the errors before."""
    options = Train(epochs=40, schedule="plateau", plateau_factor=4.0, plateau_patience=2, plateau_drops=2)
    compiled = Tiny(program=tiny_program(constant(0.05), constant(0.05)), train=options)
    run = tmp_path / "run"
    if stop is not None:
        go(replace(compiled), run, max_steps=stop)
    result = go(compiled, run) if stop is None else go(compiled, resume=run)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    errors = np.array([record["test"]["error"] for record in records if record["event"] == "validation"])
    rates = {record["epoch"]: record["rate"] for record in records if record["event"] == "step"}
    scales, end = scales_by_numpy(errors, 4.0, 2, 2)
    assert end == len(errors) - 1 or result.epochs == 40
    assert len(set(rates.values())) == 3, "all of it happened"
    for epoch, rate in rates.items():
        assert rate == pytest.approx(0.05 * (1 if epoch == 1 else scales[epoch - 2]), rel=1e-12)

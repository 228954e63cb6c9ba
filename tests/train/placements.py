"""The same training on one device and on the GPUs of the spec: what the tests of placement compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import nn

from convspec.checker import Checked
from convspec.emit.load import instantiate
from convspec.emit.module import emit
from convspec.passes.pipeline import FOLDED, PLACED, Pass
from convspec.program.program import Program
from convspec.train.optimizer import PaperSGD
from tests.emit.comparison import TOLERANCE, canonical_gradients, lowered, random_batch, random_state
from tests.emit.small_specs import classifier, layer
from tests.interpreter import Array

STEPS = 10
CASES = 5


@dataclass
class Trained:
    """What a few steps came to, by canonical names; gradients are those of the first."""

    losses: list[float] = field(default_factory=list)
    gradients: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)


def module_of(program: Program) -> nn.Module:
    return instantiate(emit(program, "net.cfg"), "net").double().train()


def train_steps(checked: Checked, program: Program, net: nn.Module | None = None, *, steps: int = STEPS) -> Trained:
    """Steps of the paper's rule in float64, dropout and all, on batches of which the last is short."""
    net = net or module_of(program)
    folded = module_of(lowered(checked))
    net.load_state_dict({name: torch.from_numpy(value) for name, value in random_state(folded, 0).items()})
    optimizer = PaperSGD(program, net)
    trained = Trained()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for step in range(steps):
            cases = CASES if step + 1 < steps else CASES - 2
            batch = {name: torch.from_numpy(value) for name, value in random_batch(checked, cases, step).items()}
            optimizer.set_rates(step / steps)
            objective = net.objective(net(batch))  # type: ignore[operator]
            objective.backward()
            trained.losses.append(objective.item())
            if step == 0:
                trained.gradients = {name: value.copy() for name, value in canonical_gradients(net).items()}
            optimizer.step(step, cases / CASES)
            optimizer.zero_grad()
    trained.state = {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}
    return trained


def assert_same_training(actual: Trained, expected: Trained) -> None:
    """Losses, gradients and parameters, to ten digits of the largest number among those of a tensor."""
    _assert_close("losses", np.array(actual.losses), np.array(expected.losses))
    assert actual.gradients.keys() == expected.gradients.keys()
    assert actual.state.keys() == expected.state.keys()
    for name, gradient in expected.gradients.items():
        _assert_close(f"gradient of {name}", actual.gradients[name], gradient)
    for name, value in expected.state.items():
        _assert_close(name, actual.state[name], value)


def _assert_close(name: str, actual: Array, expected: Array) -> None:
    assert actual.shape == expected.shape, name
    error = np.abs(actual - expected).max(initial=0) / max(1e-3, np.abs(expected).max(initial=0))
    assert error <= TOLERANCE, f"{name} differs by {error:.1e} of its largest number"


def assert_placement_changes_nothing(checked: Checked, outputs: Sequence[str] = (), *, steps: int = STEPS) -> None:
    folded, placed = (
        train_steps(checked, lowered(checked, outputs, passes), steps=steps) for passes in (FOLDED, PLACED)
    )
    assert_same_training(placed, folded)


PASSES: dict[str, tuple[Pass, ...]] = {"folded": FOLDED, "devices": PLACED}


@st.composite
def chains(draw: DrawFn) -> str:
    """Specs whose layers have fewer and fewer replicas, on GPUs in any order, and towers above them."""
    count, text, source, is_map = draw(st.sampled_from([2, 4, 6])), "", "data", True
    for index in range(1, draw(st.integers(1, 5)) + 1):
        count = draw(st.sampled_from([n for n in range(1, count + 1) if count % n == 0]))
        gpus = ",".join(map(str, draw(st.permutations(range(6)))[:count]))
        kind = draw(st.sampled_from(["conv", "pool", "batchnorm", "dropout", "fc"] if is_map else ["dropout2", "fc"]))
        name, is_map = f"{kind}{index}", is_map and kind != "fc"
        text += layer(name, type=kind, inputs=source, gpu=gpus, **_KEYS[kind])
        if draw(st.booleans()):
            text += layer(f"sum{index}", type="eltsum", inputs=f"{name},{name}", gpu=gpus)
            name = f"sum{index}"
        source = name
    towers = draw(st.integers(1, 3))
    for gpu in range(towers):
        text += layer(f"tower{gpu}", type="fc", inputs=source, outputs=3, neuron="relu", gpu=gpu)
    return classifier(text, leaves=",".join(f"tower{gpu}" for gpu in range(towers)))


_KEYS: dict[str, dict[str, object]] = {
    "conv": {"filters": 3, "filterSize": 3, "padding": 1, "neuron": "relu"},
    "pool": {"pool": "max", "sizeX": 2, "stride": 1},
    "batchnorm": {},
    "dropout": {"keep": 0.7},
    "dropout2": {"keep": 0.6},
    "fc": {"outputs": 5, "neuron": "abs"},
}

"""The same training on one device and on the GPUs of the spec: what the tests of placement compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from convspec.checker import Checked
from convspec.emit.load import instantiate
from convspec.emit.module import emit
from convspec.passes.pipeline import FOLDED, PLACED, Pass
from convspec.program.program import Program
from convspec.train.optimizer import PaperSGD
from tests.emit.comparison import TOLERANCE, canonical_gradients, lowered, random_batch, random_state
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

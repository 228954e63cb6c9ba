"""The update rule against a hand computation in float64, through rates that change, fall to zero and come back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from convspec.program.program import Block, Program, Update
from convspec.program.schedule import Schedule, ScheduleKind
from convspec.train.optimizer import PaperSGD
from tests.train.tinynet import constant, parameter

Array = NDArray[np.float64]

STEPS = 24


class Weights(nn.Module):
    """Two matrices and a bias, without any function."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = nn.Parameter(torch.randn(6, 4, generator=generator, dtype=dtype))
        self.second = nn.Parameter(torch.randn(5, 3, generator=generator, dtype=dtype))
        self.bias = nn.Parameter(torch.randn(5, generator=generator, dtype=dtype))


SHAPES = {"first": (6, 4), "second": (5, 3), "bias": (5,)}


def program_of(**updates: Update) -> Program:
    parameters = tuple(parameter(name, SHAPES[name], update) for name, update in updates.items())
    return Program("weights", (), parameters, ())


def gradients() -> list[dict[str, Array]]:
    random = np.random.default_rng(11)
    return [{name: random.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(STEPS)]


def by_hand(update: Update, w: Array, gradient: list[Array], rates: list[float]) -> Array:
    """The paper: v <- momentum v - decay rate w - rate g; w <- w + v."""
    w, v = w.copy(), np.zeros_like(w)
    for g, rate in zip(gradient, rates, strict=True):
        v = update.momentum * v - update.decay * rate * w - rate * g
        w = w + v
    return w


def step(optimizer: PaperSGD, net: nn.Module, gradient: dict[str, Array]) -> None:
    for name, tensor in net.named_parameters():
        tensor.grad = torch.from_numpy(gradient[name]).to(tensor.dtype) if tensor.requires_grad else None
    optimizer.step(0)
    optimizer.zero_grad()


def ten_times_less(i: int) -> float:
    return 10.0 ** -(i // 7)


def away_and_back(i: int) -> float:
    return 0.0 if 8 <= i < 13 else 1.0


def absent_at_first(i: int) -> float:
    return 0.0 if i < 4 else 1.0


@pytest.mark.parametrize("factor", [ten_times_less, away_and_back, absent_at_first])
def test_follows_the_rule_of_the_paper(factor: Callable[[int], float]) -> None:
    updates = {
        "first": constant(0.01, decay=0.0005),
        "second": Update(Schedule(ScheduleKind.LINEAR, 0.1, 1e9), 0.5, 0.1),
        "bias": Update(Schedule(ScheduleKind.DEXP, 0.02, 100, 4), 0.9),
    }
    net = Weights()
    start = {name: tensor.detach().numpy().copy() for name, tensor in net.named_parameters()}
    optimizer = PaperSGD(program_of(**updates), net)
    for i, gradient in enumerate(gradients()):
        optimizer.set_rates(i / STEPS, factor(i))
        step(optimizer, net, gradient)
    for name, tensor in net.named_parameters():
        rates = [updates[name].rate.rate(i / STEPS) * factor(i) for i in range(STEPS)]
        expected = by_hand(updates[name], start[name], [g[name] for g in gradients()], rates)
        np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_a_parameter_without_a_gradient_decays() -> None:
    """As one whose gradient is 0: the first steps have none, the later ones end what momentum they had left."""
    update, net = constant(0.01, decay=0.1), Weights()
    start = net.first.detach().numpy().copy()
    optimizer = PaperSGD(program_of(first=update), net)
    given = [g["first"] if 5 <= i < 9 else np.zeros((6, 4)) for i, g in enumerate(gradients())]
    for i, gradient in enumerate(given):
        net.first.grad = torch.from_numpy(gradient) if gradient.any() else None
        optimizer.step(i)
        optimizer.zero_grad()
    expected = by_hand(update, start, given, [0.01] * STEPS)
    np.testing.assert_allclose(net.first.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("factor", [ten_times_less, away_and_back])
def test_plain_sgd_does_not(factor: Callable[[int], float]) -> None:
    """The broken twin: torch's rule with its buffer left alone is another one once the rate changes."""
    update, net = constant(0.01, decay=0.0005), Weights()
    start = net.first.detach().numpy().copy()
    plain = torch.optim.SGD([net.first], lr=0.01, momentum=0.9, weight_decay=0.0005)
    for i, gradient in enumerate(gradients()):
        plain.param_groups[0]["lr"] = 0.01 * factor(i)
        net.first.grad = torch.from_numpy(gradient["first"])
        plain.step()
    rates = [0.01 * factor(i) for i in range(STEPS)]
    expected = by_hand(update, start, [g["first"] for g in gradients()], rates)
    assert np.abs(net.first.detach().numpy() - expected).max() > 1e-3


@pytest.mark.parametrize("momentum", [0.0, -0.5, 1.0])
def test_any_momentum(momentum: float) -> None:
    """The original programs take any number; torch would refuse one below 0, as a mistake of the author's."""
    update, net = constant(0.1, momentum=momentum, decay=0.01), Weights()
    start = net.first.detach().numpy().copy()
    optimizer = PaperSGD(program_of(first=update), net)
    for i, gradient in enumerate(gradients()):
        optimizer.set_rates(0.0, away_and_back(i))
        step(optimizer, net, gradient)
    rates = [0.1 * away_and_back(i) for i in range(STEPS)]
    expected = by_hand(update, start, [g["first"] for g in gradients()], rates)
    np.testing.assert_allclose(net.first.detach().numpy(), expected, rtol=1e-12)


def test_frozen_parameters_get_no_gradient_and_stay() -> None:
    net = Weights()
    before = net.second.detach().clone()
    optimizer = PaperSGD(program_of(first=constant(0.1), second=constant(0.0, decay=0.5)), net)
    (net.first.sum() + net.second.sum()).backward()  # type: ignore[no-untyped-call]
    optimizer.set_rates(0.5)
    optimizer.step(0)
    assert net.second.grad is None
    assert torch.equal(net.second, before)
    assert optimizer.rates() == {"first": 0.1}


def test_momentum_goes_on_to_the_bit() -> None:
    """A new optimizer that takes up the buffers in the middle does what the old one would have done."""
    program = program_of(first=constant(0.01, decay=0.1), second=constant(0.05), bias=constant(0.02))
    whole, first = Weights(torch.float32), Weights(torch.float32)
    one, two = PaperSGD(program, whole), PaperSGD(program, first)
    for i, gradient in enumerate(gradients()):
        one.set_rates(0, away_and_back(i))
        step(one, whole, gradient)
    for i, gradient in enumerate(gradients()):
        if i == 10:  # while the rates are 0
            buffers, rates = two.momentum()
            other = Weights(torch.float32)
            other.load_state_dict(first.state_dict())
            first, two = other, PaperSGD(program, other)
            two.load_momentum(buffers, rates)
        two.set_rates(0, away_and_back(i))
        step(two, first, gradient)
    for name, tensor in whole.named_parameters():
        assert torch.equal(tensor, first.get_parameter(name))


def test_momentum_moves_between_placements() -> None:
    """Saved where two towers are one parameter, taken up where they are two, and back."""
    upper, lower = Block("a.weight", (0, 3), (0, 4)), Block("b.weight", (3, 6), (0, 4))
    merged = Program("merged", (), (parameter("first", (6, 4), constant(0.1), upper, lower),), ())
    apart = Program(
        "apart", (), (parameter("a.weight", (3, 4), constant(0.1)), parameter("b.weight", (3, 4), constant(0.1))), ()
    )

    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3, bias=False), nn.Linear(4, 3, bias=False)

    net, towers = Weights(torch.float32), Towers()
    one, two, three = PaperSGD(merged, net), PaperSGD(apart, towers), PaperSGD(merged, Weights(torch.float32))
    step(one, net, gradients()[0])
    buffers, rates = one.momentum()
    assert set(buffers) == set(rates) == {"a.weight", "b.weight"}
    two.load_momentum(buffers, rates)
    three.load_momentum(*two.momentum())
    for name, buffer in three.momentum()[0].items():
        assert torch.equal(buffer, buffers[name])
    expected = torch.from_numpy(gradients()[0]["first"]).float()
    assert torch.equal(torch.cat([buffers["a.weight"], buffers["b.weight"]]), expected)


def test_momentum_of_other_rates_is_the_same_step() -> None:
    """V = -rate b: of matrices kept at rates of their own, whichever they are merged under; what has none is at rest."""
    upper, lower = Block("a.weight", (0, 3), (0, 4)), Block("b.weight", (3, 6), (0, 4))
    merged = program_of(second=constant(0.1), bias=constant(0.1), first=constant(0.1))
    towers = parameter("first", (6, 4), constant(0.1), upper, lower)
    merged = Program("merged", (), (*merged.parameters[:2], towers), ())
    kept = {
        "a.weight": torch.ones(3, 4),
        "b.weight": torch.ones(3, 4),
        "second": torch.ones(5, 3),
        "bias": torch.ones(5),
    }
    rates = {"a.weight": 0.1, "b.weight": 0.4, "second": 0.3, "bias": 0.1}
    cases = {
        ("second", "bias", "a.weight", "b.weight"): {"second": 0.3, "bias": 0.1, "a.weight": 0.1, "b.weight": 0.4},
        ("b.weight", "bias"): {"bias": 0.1},
        ("bias", "a.weight"): {"bias": 0.1},
        (): {},
    }
    for given, expected in cases.items():
        optimizer = PaperSGD(merged, Weights(torch.float32))
        assert optimizer.momentum() == ({}, {}), "nothing was stepped"
        optimizer.load_momentum({name: kept[name] for name in given}, {name: rates[name] for name in given})
        buffers, found = optimizer.momentum()
        steps = {name: float((found[name] * buffer).mean()) for name, buffer in buffers.items()}
        assert steps == pytest.approx(expected, rel=1e-6)
        assert all(float(buffer.std()) < 1e-6 for buffer in buffers.values())


def test_a_rate_that_fell_to_zero_is_told_as_zero() -> None:
    optimizer = PaperSGD(program_of(first=constant(0.1), second=constant(0.0)), Weights())
    for factor, rate in ((1.0, 0.1), (0.0, 0.0), (0.5, 0.05)):
        optimizer.set_rates(0.5, factor)
        assert optimizer.rates() == {"first": rate}


def test_devices_without_fused_steps_are_taken() -> None:
    """Torch refuses to fuse where one tensor is on another device."""
    net = Weights()
    net.second = nn.Parameter(net.second.detach().to("meta"))
    PaperSGD(program_of(first=constant(0.1), second=constant(0.1)), net)

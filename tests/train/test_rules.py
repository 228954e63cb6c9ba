"""What goes beyond the plain rule against hand computations in float64, over steps with momentum, and across a stop."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from convspec.data import draws
from convspec.data.draws import Stream
from convspec.program.program import Block, Constraint, Parameter, Program, Update
from convspec.program.schedule import Schedule, ScheduleKind
from convspec.train.optimizer import PaperSGD
from tests.train.tinynet import constant, parameter

Array = NDArray[np.float64]

STEPS = 14
SEED = 5
FALLING = Schedule(ScheduleKind.EXP, 0.05, 20)


class Weights(nn.Module):
    """One tensor, without any function."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=dtype))


def gradients(shape: tuple[int, ...]) -> list[Array]:
    random = np.random.default_rng(11)
    return [random.normal(size=shape) for _ in range(STEPS)]


def program_of(whole: Parameter) -> Program:
    return Program("weights", (), (whole,), ())


def learn(
    whole: Parameter, *, shares: tuple[float, ...] = (1.0,), stop: int | None = None, keep: bool = True
) -> tuple[Array, Array]:
    """The weights before and after STEPS steps; with a new optimizer from step `stop` on, which takes up the memory of
    the old one if `keep`."""
    net, program = Weights(whole.shape), program_of(whole)
    start = net.weight.detach().numpy().copy()
    optimizer = PaperSGD(program, net, seed=SEED)
    for i, gradient in enumerate(gradients(whole.shape)):
        if i == stop:
            momentum, memory = optimizer.momentum(), optimizer.memory()
            optimizer = PaperSGD(program, net, seed=SEED)
            optimizer.load_momentum(*momentum)
            optimizer.load_memory(memory if keep else {})
        optimizer.set_rates(i / STEPS)
        net.weight.grad = torch.from_numpy(gradient)
        optimizer.step(i, shares[i % len(shares)])
        optimizer.zero_grad()
    return start, net.weight.detach().numpy()


def matrix(update: Update, shape: tuple[int, ...] = (6, 4), *blocks: Block) -> Parameter:
    return parameter("weight", shape, update, *blocks)


def by_hand(
    update: Update,
    w: Array,
    prepared: list[Array | None],
    decays: list[Array | float] | None = None,
    momentum: float | None = None,
) -> Array:
    """The rule v <- momentum v - rate (g + decay w), w <- w + v, at each step that has a gradient."""
    w, v = w.copy(), np.zeros_like(w)
    for i, g in enumerate(prepared):
        if g is None:
            continue
        rate = update.rate.rate(i / STEPS)
        decay = update.decay if decays is None else decays[i]
        v = (update.momentum if momentum is None else momentum) * v - rate * g - rate * decay * w
        w = w + v
    return w


PERIOD = Update(FALLING, 0.9, 0.1, period=3)
SHARES = (1.0, 0.5, 1.0, 0.25)


def added_up(update: Update, shares: tuple[float, ...]) -> list[Array | None]:
    total, result = np.zeros((6, 4)), list[Array | None]()
    for i, gradient in enumerate(gradients((6, 4))):
        total = total + gradient * shares[i % len(shares)]
        is_due = (i + 1) % update.period == 0
        result.append(total / update.period if is_due else None)
        total = np.zeros((6, 4)) if is_due else total
    return result


@pytest.mark.parametrize("shares", [(1.0,), SHARES])
def test_gradients_of_a_period_add_up(shares: tuple[float, ...]) -> None:
    start, end = learn(matrix(PERIOD), shares=shares)
    np.testing.assert_allclose(end, by_hand(PERIOD, start, added_up(PERIOD, shares)), rtol=1e-12)


def test_a_short_minibatch_counts_by_its_share_where_cases_count() -> None:
    update = Update(FALLING, 0.9, 0.1, counts_cases=True)
    expected = added_up(update, SHARES)
    start, end = learn(matrix(update), shares=SHARES)
    np.testing.assert_allclose(end, by_hand(update, start, expected), rtol=1e-12)
    _, mean = learn(matrix(update._replace(counts_cases=False)), shares=SHARES)
    np.testing.assert_allclose(mean, by_hand(update, start, added_up(update, (1.0,))), rtol=1e-12)
    assert np.abs(mean - end).max() > 1e-2


DAMPED = Update(FALLING, 0.8, 0.1, damping=0.01)


def normalised(update: Update) -> list[Array | None]:
    mean = square = np.zeros((6, 4))
    result = list[Array | None]()
    for gradient in gradients((6, 4)):
        mean = update.momentum * mean + (1 - update.momentum) * gradient
        square = update.momentum * square + (1 - update.momentum) * gradient**2
        result.append(gradient / np.sqrt(square - mean**2 + update.damping))
    return result


def test_normalised_update() -> None:
    start, end = learn(matrix(DAMPED))
    np.testing.assert_allclose(end, by_hand(DAMPED, start, normalised(DAMPED), momentum=0.9), rtol=1e-10)


NOISY = Update(FALLING._replace(noise=0.7), 0.9, 0.1)
TOWERS = (Block("a.weight", (0, 2), (0, 4)), Block("b.weight", (2, 6), (0, 4)))


def noise(names: list[str], number: int, use: int, deviation: float = 0.7) -> Array:
    indices = np.array([crc32(name.encode()) for name in names], dtype=np.int64)
    return 1 + deviation * np.abs(draws.normals(indices, SEED, number, Stream.RATE_NOISE, use))


def by_row(factors: Array) -> Array:
    return np.repeat(factors, [2, 4])[:, None]


@pytest.mark.parametrize("blocks", [(), TOWERS], ids=["one", "merged"])
def test_noise_is_drawn_anew_for_each_matrix_step_and_use(blocks: tuple[Block, ...]) -> None:
    names = [block.name for block in blocks] or ["weight", "weight"]
    ups, downs = ([by_row(noise(names, i, use)) for i in range(STEPS)] for use in (0, 1))
    prepared: list[Array | None] = [g * up for g, up in zip(gradients((6, 4)), ups, strict=True)]
    start, end = learn(matrix(NOISY, (6, 4), *blocks))
    np.testing.assert_allclose(end, by_hand(NOISY, start, prepared, [0.1 * down for down in downs]), rtol=1e-12)
    drawn = np.concatenate([*ups, *downs])
    assert len(np.unique(drawn)) == len(set(names)) * 2 * STEPS


def test_noise_has_its_distribution() -> None:
    z = draws.normals(np.arange(200_000), SEED, 0, Stream.RATE_NOISE, 0)
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert abs(np.abs(z).mean() - np.sqrt(2 / np.pi)) < 0.01
    assert abs((np.abs(z) < 0.6744897).mean() - 0.5) < 0.01
    other = draws.normals(np.arange(200_000), SEED, 0, Stream.RATE_NOISE, 1)
    assert abs(np.corrcoef(z, other)[0, 1]) < 0.01


def test_divisors_are_of_rows() -> None:
    """The update of a tree of classes: epsW / s for the gradient, wc / s within that for the decay."""
    s = np.array([1, 1, 2, 3, 1, 6])
    update = Update(FALLING, 0.9, 0.1, divisors=tuple(s.tolist()))
    prepared: list[Array | None] = [g / s[:, None] for g in gradients((6, 4))]
    start, end = learn(matrix(update))
    expected = by_hand(update, start, prepared, [0.1 / s[:, None] ** 2] * STEPS)
    np.testing.assert_allclose(end, expected, rtol=1e-12)


def filters_of(constraint: Constraint, shape: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """An index for each filter."""
    axes = [axis % len(shape) for axis in constraint.axes]
    rows = shape[0] // constraint.parts
    indices = []
    for place in np.ndindex(*(shape[axis] for axis in axes)):
        if place[0] < rows:
            index: list[Any] = [slice(None)] * len(shape)
            for axis, position in zip(axes, place, strict=True):
                index[axis] = slice(position, position + 1)
            index[0] = slice(place[0], None, rows)
            indices.append(tuple(index))
    return indices


def hold(constraint: Constraint, w: Array) -> Array:
    """One filter after the other, in loops."""
    held = w.copy()
    least, most = constraint.spread
    for index in filters_of(constraint, w.shape):
        part = held[index]
        spread = np.sqrt(np.sum((part - part.mean()) ** 2)) / part.size
        if most > 0 and spread > 0:
            part = part * (least / spread if spread < least else most / spread if spread > most else 1)
        norm = np.sqrt(np.sum(part**2))
        bound = constraint.norm * (part.size if constraint.counts_weights else 1)
        if bound > 0 and norm > 0 and (constraint.is_exact or norm > bound):
            part = part * bound / norm
        held[index] = part
    return held


@pytest.mark.parametrize(
    ("constraint", "shape"),
    [
        (Constraint(norm=1.5), (6, 4)),
        (Constraint(norm=1.5, is_exact=True), (6, 4)),
        (Constraint(norm=2.0), (4, 3, 2, 2)),
        (Constraint(norm=0.3, counts_weights=True), (6, 4)),
        (Constraint(norm=1.5, axes=(0, -2, -1)), (2, 3, 2, 1, 2, 3)),
        (Constraint(norm=1.5, axes=(0, -1), spread=(0.2, 0.25)), (4, 3, 2)),
        (Constraint(norm=2.0, is_exact=True, parts=2), (6, 4, 1, 1)),
        (Constraint(spread=(0.2, 0.25)), (6, 3, 2, 2)),
        (Constraint(norm=2.4, spread=(0.15, 0.3)), (6, 3, 2, 2)),
    ],
)
def test_filters_are_held_after_each_step(constraint: Constraint, shape: tuple[int, ...]) -> None:
    update = Update(FALLING, 0.9, 0.1, constraint=constraint)
    start, end = learn(matrix(update, shape))
    w, v, touched = start.copy(), np.zeros(shape), 0
    for i, g in enumerate(gradients(shape)):
        v = 0.9 * v - update.rate.rate(i / STEPS) * (g + 0.1 * w)
        free = w + v
        w = hold(constraint, free)
        touched += int((w != free).any())
    np.testing.assert_allclose(end, w, rtol=1e-11, atol=1e-14)
    assert touched > 2, "the constraint must matter"
    # the broken twin: without it the weights go elsewhere
    _, free = learn(matrix(update._replace(constraint=Constraint()), shape))
    assert np.abs(free - end).max() > 1e-3


def test_each_matrix_of_a_merged_parameter_is_held_by_itself() -> None:
    """Two towers of two outputs that read two inputs each: a filter is a row of a block, not of the whole."""
    blocks = tuple(
        Block(f"{tower}.weights.{i}", (2 * t, 2 * t + 2), (2 * i, 2 * i + 2))
        for t, tower in enumerate("ab")
        for i in range(2)
    )
    update = Update(FALLING, 0.0, constraint=Constraint(norm=0.5, is_exact=True))
    _, end = learn(matrix(update, (4, 4), *blocks))
    norms = np.sqrt((end.reshape(4, 2, 2) ** 2).sum(2))
    np.testing.assert_allclose(norms, 0.5, rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "constraint"),
    [(0.0, Constraint(norm=1.0, is_exact=True, spread=(0.1, 0.2))), (0.5, Constraint(spread=(0.1, 0.2)))],
)
def test_a_filter_without_norm_or_spread_stays(value: float, constraint: Constraint) -> None:
    net = Weights((2, 3))
    nn.init.constant_(net.weight, value)
    optimizer = PaperSGD(program_of(matrix(Update(FALLING, 0.9, constraint=constraint), (2, 3))), net)
    net.weight.grad = torch.zeros(2, 3, dtype=torch.float64)
    optimizer.step(0)
    assert (net.weight == value).all()


def test_a_period_without_an_end_changes_nothing() -> None:
    update = constant(0.1)._replace(period=STEPS + 1, constraint=Constraint(norm=0.1))
    start, end = learn(matrix(update))
    np.testing.assert_array_equal(end, start)


ALL_AT_ONCE = Update(
    FALLING._replace(noise=0.3), 0.8, 0.1, period=3, damping=0.02, constraint=Constraint(norm=1.2, spread=(0.1, 0.4))
)


@pytest.mark.parametrize(
    "update", [PERIOD, DAMPED, NOISY, ALL_AT_ONCE], ids=["period", "damped", "noisy", "all_at_once"]
)
@pytest.mark.parametrize("stop", [3, 7])
def test_goes_on_to_the_bit(update: Update, stop: int) -> None:
    _, whole = learn(matrix(update), shares=SHARES)
    _, part = learn(matrix(update), shares=SHARES, stop=stop)
    np.testing.assert_array_equal(part, whole)


@pytest.mark.parametrize("update", [DAMPED, NOISY], ids=["damped", "noisy"])
def test_other_rules_take_a_short_minibatch_as_a_full_one(update: Update) -> None:
    np.testing.assert_array_equal(learn(matrix(update), shares=SHARES)[1], learn(matrix(update))[1])


@pytest.mark.parametrize(
    ("update", "kinds"),
    [(PERIOD, {"sum"}), (DAMPED, {"mean", "square"}), (NOISY, set()), (ALL_AT_ONCE, {"sum", "mean", "square"})],
)
def test_nothing_is_remembered_in_vain(update: Update, kinds: set[str]) -> None:
    memory = PaperSGD(program_of(matrix(update)), Weights((6, 4))).memory()
    assert memory.keys() == {f"{kind}/weight" for kind in kinds}


@pytest.mark.parametrize("update", [PERIOD, DAMPED, ALL_AT_ONCE], ids=["period", "damped", "all_at_once"])
def test_what_is_remembered_matters(update: Update) -> None:
    """The broken twin of the test above."""
    _, whole = learn(matrix(update))
    _, part = learn(matrix(update), stop=7, keep=False)
    assert np.abs(part - whole).max() > 1e-3


@pytest.mark.parametrize(
    "update", [PERIOD, DAMPED, NOISY, ALL_AT_ONCE], ids=["period", "damped", "noisy", "all_at_once"]
)
def test_towers_learn_merged_as_they_do_apart(update: Update) -> None:
    """By rows and by columns; memory moves between the two."""
    upper, lower = Block("a.weight", (0, 3), (0, 4)), Block("b.weight", (3, 6), (0, 4))
    merged = Program("merged", (), (parameter("weight", (6, 4), update, upper, lower),), ())
    apart = Program("apart", (), tuple(parameter(f"{t}.weight", (3, 4), update) for t in "ab"), ())

    class Towers(nn.Module):
        def __init__(self, whole: Weights) -> None:
            super().__init__()
            self.a, self.b = (nn.Linear(4, 3, bias=False, dtype=torch.float64) for _ in "ab")
            with torch.no_grad():
                self.a.weight.copy_(whole.weight[:3])
                self.b.weight.copy_(whole.weight[3:])

    net = Weights((6, 4))
    towers = Towers(net)
    one, two = PaperSGD(merged, net, seed=SEED), PaperSGD(apart, towers, seed=SEED)
    for i, gradient in enumerate(gradients((6, 4))):
        if i == 7:
            momenta, memories = (one.momentum(), two.momentum()), (one.memory(), two.memory())
            one, two = PaperSGD(merged, net, seed=SEED), PaperSGD(apart, towers, seed=SEED)
            one.load_momentum(*momenta[1])
            two.load_momentum(*momenta[0])
            one.load_memory(memories[1])
            two.load_memory(memories[0])
        whole = torch.from_numpy(gradient)
        net.weight.grad, towers.a.weight.grad, towers.b.weight.grad = whole, whole[:3].clone(), whole[3:].clone()
        for optimizer in (one, two):
            optimizer.set_rates(i / STEPS)
            optimizer.step(i)
            optimizer.zero_grad()
    np.testing.assert_allclose(
        net.weight.detach().numpy(), torch.cat([towers.a.weight, towers.b.weight]).detach().numpy(), rtol=1e-12
    )


@pytest.mark.parametrize(
    "other",
    [
        ALL_AT_ONCE._replace(period=2),
        ALL_AT_ONCE._replace(damping=0.03),
        ALL_AT_ONCE._replace(rate=FALLING._replace(noise=0.31)),
        ALL_AT_ONCE._replace(constraint=ALL_AT_ONCE.constraint._replace(is_exact=True)),
        ALL_AT_ONCE._replace(constraint=ALL_AT_ONCE.constraint._replace(spread=(0.1, 0.2))),
    ],
    ids=["period", "damping", "noise", "is_exact", "spread"],
)
def test_each_number_of_an_update_matters(other: Update) -> None:
    _, one = learn(matrix(ALL_AT_ONCE))
    _, two = learn(matrix(other))
    assert np.abs(two - one).max() > 1e-4

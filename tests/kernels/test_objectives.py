"""The costs against loops, their gradients, their edges, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import convspec_kernels as kernels
from convspec_kernels.symmetric import log_elementary_symmetric
from tests.kernels import cost_loops as loops

TOLERANCE = 1e-12


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def shares(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 0.98 + 0.01


def labels(classes: int, cases: int = 4) -> Tensor:
    return torch.arange(cases) * 3 % classes


P, T, X = shares(4, 5), shares(4, 5, seed=1), normal(4, 5)
GATE = normal(4, 1, seed=2)
# The function, what the loop says, and a broken twin that the comparison must reject.
CASES: dict[str, tuple[Tensor, float, Tensor]] = {
    "cross_entropy": (
        kernels.cross_entropy(P, T),
        loops.cross_entropy(P.tolist(), T.tolist()),
        kernels.cross_entropy(T, P),
    ),
    "binary_cross_entropy": (
        kernels.binary_cross_entropy(P, T, positive_weight=2.5),
        loops.binary_cross_entropy(P.tolist(), T.tolist(), 2.5),
        kernels.binary_cross_entropy(P, T),
    ),
    "binary_cross_entropy_with_logits": (
        kernels.binary_cross_entropy_with_logits(X, T, positive_weight=2.5),
        loops.binary_cross_entropy(X.sigmoid().tolist(), T.tolist(), 2.5),
        kernels.binary_cross_entropy_with_logits(-X, T, positive_weight=2.5),
    ),
    "sum_of_squares": (
        kernels.sum_of_squares(X),
        loops.sum_of_squares(X.tolist()),
        F.mse_loss(X, torch.zeros_like(X)),
    ),
    "gated_sum_of_squares": (
        kernels.gated_sum_of_squares(GATE, X),
        loops.gated_sum_of_squares(GATE.flatten().tolist(), X.tolist()),
        kernels.sum_of_squares(GATE * X),
    ),
    "log_square_error": (
        kernels.log_square_error(X, T),
        loops.log_square_error(X.tolist(), T.tolist()),
        kernels.log_square_error(X.abs(), T),
    ),
    "subset_cross_entropy": (
        kernels.subset_cross_entropy(X, labels(5), set_size=3),
        loops.subset_cross_entropy(X.tolist(), labels(5).tolist(), 3),
        kernels.subset_cross_entropy(X, labels(5), set_size=2),
    ),
    "topographic_energy": (
        kernels.topographic_energy(normal(2, 3, 5, 6), 3),
        loops.topographic_energy(normal(2, 3, 5, 6).tolist(), 3),
        kernels.topographic_energy(normal(2, 3, 5, 6), 2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    found, wanted, broken = CASES[name]
    assert found.shape == ()
    assert found.item() == pytest.approx(wanted, rel=TOLERANCE)
    assert broken.item() != pytest.approx(wanted, rel=TOLERANCE)


GRADIENTS: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "cross_entropy": (kernels.cross_entropy, (P, T)),
    "binary_cross_entropy": (lambda p, t: kernels.binary_cross_entropy(p, t, positive_weight=0.3), (P, T)),
    "with_logits": (lambda x, t: kernels.binary_cross_entropy_with_logits(x, t, positive_weight=0.3), (X, T)),
    "sum_of_squares": (kernels.sum_of_squares, (X,)),
    "gated": (kernels.gated_sum_of_squares, (GATE, X)),
    "log_square_error": (kernels.log_square_error, (X, T)),
    "one of a set": (lambda x: kernels.subset_cross_entropy(x, labels(5), set_size=1), (X,)),
    "half of a set": (lambda x: kernels.subset_cross_entropy(x, labels(5), set_size=3), (X,)),
    "nearly all of a set": (lambda x: kernels.subset_cross_entropy(x, labels(5), set_size=4), (X,)),
    "topographic": (lambda x: kernels.topographic_energy(x, 3, guard=0), (normal(2, 2, 4, 3),)),
    "even windows": (lambda x: kernels.topographic_energy(x, 4, guard=0), (normal(2, 2, 4, 3),)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    function, values = GRADIENTS[name]
    leaves = tuple(value.clone().requires_grad_() for value in values)
    assert gradcheck(function, leaves)
    if "topographic" not in name and name != "even windows":
        assert gradgradcheck(function, leaves)


@pytest.mark.parametrize("name", GRADIENTS)
def test_costs_are_compiled_whole(name: str) -> None:
    """One graph each, forward and backward, with the numbers of the plain function."""
    function, values = GRADIENTS[name]
    wanted = [value.clone().requires_grad_() for value in values]
    plain = function(*wanted)
    plain.backward()
    torch.compiler.reset()
    leaves = [value.clone().requires_grad_() for value in values]
    found = torch.compile(function, backend="aot_eager", fullgraph=True)(*leaves)
    found.backward()
    torch.testing.assert_close(found, plain, rtol=TOLERANCE, atol=TOLERANCE)
    for leaf, other in zip(leaves, wanted, strict=True):
        torch.testing.assert_close(leaf.grad, other.grad, rtol=TOLERANCE, atol=TOLERANCE)


def test_maps_are_cases_too() -> None:
    maps, targets = shares(3, 2, 4, 4), shares(3, 2, 4, 4, seed=1)
    for cost in (kernels.cross_entropy, kernels.binary_cross_entropy, kernels.log_square_error):
        assert torch.equal(cost(maps, targets), cost(maps.flatten(1), targets.flatten(1)))
    assert torch.equal(kernels.gated_sum_of_squares(GATE[:3, 0], maps), kernels.gated_sum_of_squares(GATE[:3], maps))


# Edges


def test_impossible_probabilities() -> None:
    """The log of 0 is -50 and has no slope; so has what lies outside [0, 1]."""
    p = torch.tensor([[0.0, 1.0, 0.5, -0.2, 1.2]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    kernels.cross_entropy(p, t).backward()
    assert p.grad is not None
    assert p.grad.tolist() == [[0, -1, 0, 0, 0]]
    assert kernels.cross_entropy(p, t).item() == 100
    p.grad = None
    value = kernels.binary_cross_entropy(p, t)
    value.backward()
    assert value.item() == pytest.approx(loops.binary_cross_entropy(p.tolist(), t.tolist()), rel=TOLERANCE)
    # Of a target of 1, 1/(1 - p) does not count, and of 0, 1/p does not.
    assert p.grad.tolist() == [[0, -1, pytest.approx(2), 0, 0]]


@pytest.mark.parametrize("size", [20.0, 50.0, 1000.0])
def test_logits_are_exact_where_a_sigmoid_rounds(size: float) -> None:
    x = torch.tensor([[size, -size, size, -size]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    value = kernels.binary_cross_entropy_with_logits(x, t, positive_weight=3)
    value.backward()
    assert value.item() == pytest.approx(4 * size, rel=1e-8)
    assert x.grad is not None
    assert x.grad.tolist() == [pytest.approx([0, -3, 1, 0], abs=1e-8)]


def test_nothing_to_find() -> None:
    """Targets of zero: nothing is lost, and nothing pulls."""
    p = P.clone().requires_grad_()
    value = kernels.cross_entropy(p, torch.zeros_like(P))
    value.backward()
    assert value.item() == 0
    assert p.grad is not None
    assert not p.grad.any()


def test_a_set_of_one_is_a_softmax() -> None:
    wanted = F.cross_entropy(X, labels(5))
    assert kernels.subset_cross_entropy(X, labels(5), set_size=1).item() == pytest.approx(wanted.item(), rel=TOLERANCE)


@pytest.mark.parametrize("classes", range(1, 10))
def test_symmetric_polynomials_of_every_degree(classes: int) -> None:
    """Numbers of classes that are powers of two, and those that are not."""
    x = normal(2, classes, seed=classes) * 3
    found = log_elementary_symmetric(x, classes)
    for degree in range(classes + 1):
        sets = torch.tensor(list(combinations(range(classes), degree)), dtype=torch.long)
        wanted = torch.stack([row[sets].sum(1).exp().sum().log() for row in x])
        torch.testing.assert_close(found[:, degree], wanted, rtol=TOLERANCE, atol=TOLERANCE)
        up_to = log_elementary_symmetric(x, degree)
        torch.testing.assert_close(up_to, found[:, : degree + 1], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("size", [1, 3, 100, 198, 199])
def test_sets_of_many_classes_neither_overflow_nor_cancel(size: int) -> None:
    """Shifting all energies changes nothing, and the slopes of a case, of which one is negative, add up to nothing."""
    x = (normal(2, 200) * 30).requires_grad_()
    values = []
    for shift in (0.0, 5000.0, -5000.0):
        value = kernels.subset_cross_entropy(x + shift, labels(200, 2), set_size=size)
        values.append(value.item())
    assert values[0] >= 0
    assert values == pytest.approx([values[0]] * 3, rel=1e-9, abs=1e-12)
    (slope,) = torch.autograd.grad(value, x)
    assert slope.sum(1).tolist() == pytest.approx([0, 0], abs=1e-9)
    assert (slope < 1e-12).sum() >= 2
    assert slope.abs().max() <= 0.5


def test_large_energies_keep_their_digits() -> None:
    """In float32, where the logarithm of a sum over sets has few digits left: all energies are moved towards 0 first."""
    x = normal(4, 40) + 1e4
    wanted = kernels.subset_cross_entropy(x.float().double(), labels(40), set_size=10)
    found = kernels.subset_cross_entropy(x.float(), labels(40), set_size=10)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


@given(
    classes=st.integers(2, 8),
    scale=st.sampled_from([0.1, 3.0, 40.0]),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_any_set_of_any_classes(classes: int, scale: float, seed: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, classes - 1))
    x = normal(3, classes, seed=seed) * scale
    found = kernels.subset_cross_entropy(x, labels(classes, 3), set_size=size)
    wanted = loops.subset_cross_entropy(x.tolist(), labels(classes, 3).tolist(), size)
    assert found.item() == pytest.approx(wanted, rel=1e-9, abs=1e-13)


@given(height=st.integers(1, 5), width=st.integers(1, 5), size=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_any_window_of_any_map(height: int, width: int, size: int, seed: int) -> None:
    x = normal(2, 2, height, width, seed=seed)
    found = kernels.topographic_energy(x, size)
    assert found.item() == pytest.approx(loops.topographic_energy(x.tolist(), size), rel=TOLERANCE)


def test_equal_energies_give_equal_chances() -> None:
    x = torch.zeros(2, 12, dtype=torch.float64)
    value = kernels.subset_cross_entropy(x, labels(12, 2), set_size=3)
    assert value.exp().item() == pytest.approx(12 / 3, rel=TOLERANCE)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 99])
def test_topographic_slopes_are_guarded(size: int) -> None:
    """By the formula, with the guard, also where all is silent; the comparison sees a guard that is missing."""
    x = normal(1, 2, 5, 4)
    x[0, 1] = 0
    x.requires_grad_()
    kernels.topographic_energy(x, size).backward()
    assert x.grad is not None
    for channel, plane in enumerate(x[0].tolist()):
        wanted = [[loops.topographic_slope(plane, y, x, size, 1e-3) for x in range(4)] for y in range(5)]
        bare = [[loops.topographic_slope(plane, y, x, size, 1e-9) for x in range(4)] for y in range(5)]
        torch.testing.assert_close(
            x.grad[0, channel], torch.tensor(wanted, dtype=torch.float64), rtol=1e-10, atol=1e-12
        )
        if channel == 0:
            assert not torch.allclose(x.grad[0, channel], torch.tensor(bare, dtype=torch.float64), rtol=1e-8)
    value = kernels.topographic_energy(x, size).item()
    assert value == pytest.approx(loops.topographic_energy(x.tolist(), size), rel=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_numbers_are_summed_in_float32(dtype: torch.dtype) -> None:
    x = torch.full((2, 100), 30.0, dtype=dtype)  # its squares add up to more than float16 holds
    assert kernels.sum_of_squares(x).dtype == torch.float32
    assert kernels.sum_of_squares(x).item() == 90_000
    wide = kernels.subset_cross_entropy(X.to(dtype), labels(5), set_size=2)
    assert wide.dtype == torch.float32
    maps = torch.full((1, 1, 9, 9), 100.0, dtype=dtype)
    assert kernels.topographic_energy(maps, 1).item() == pytest.approx(8100, rel=1e-5)
    logits = kernels.binary_cross_entropy_with_logits(X.to(dtype), T.to(dtype))
    assert logits.dtype == torch.float32


def test_costs_under_autocast() -> None:
    """A cost of what a layer gave in bf16 is a float32 number with a gradient."""
    layer = torch.nn.Linear(5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        scores = layer(X.float())
        assert scores.dtype == torch.bfloat16
        cost = kernels.binary_cross_entropy_with_logits(scores, T.float())
        cost = cost + kernels.subset_cross_entropy(scores, labels(5), set_size=2) + kernels.sum_of_squares(scores)
    assert cost.dtype == torch.float32
    cost.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: kernels.cross_entropy(P, T[:, :4]), r"targets of \(4, 4\) do not fit predictions of \(4, 5\)"),
        (lambda: kernels.binary_cross_entropy(P, T[:3]), r"\(3, 5\) do not fit predictions of"),
        (lambda: kernels.binary_cross_entropy_with_logits(P, T[:2]), r"\(2, 5\) do not fit predictions of"),
        (lambda: kernels.log_square_error(P, T[:1]), r"\(1, 5\) do not fit predictions of"),
        (lambda: kernels.gated_sum_of_squares(P, X), "one number for each of 4 cases"),
        (lambda: kernels.subset_cross_entropy(X, labels(5), set_size=0), "must be 1 to 4 of 5 classes, not 0"),
        (lambda: kernels.subset_cross_entropy(X, labels(5), set_size=5), "must be 1 to 4 of 5 classes, not 5"),
        (lambda: kernels.subset_cross_entropy(X, labels(5)[:, None], set_size=2), r"labels are \(4,\)"),
        (lambda: kernels.topographic_energy(X, 3), "maps are"),
        (lambda: kernels.topographic_energy(normal(1, 1, 2, 2), 0), "size must be at least 1"),
    ],
)
def test_refusals(call: Callable[[], Tensor], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        call()

"""`local_response_norm` against loops in NumPy, at an alpha where the normaliser matters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convspec_kernels import local_response_norm
from tests.kernels import loops

FORMATS = [torch.contiguous_format, torch.channels_last]


@dataclass(frozen=True)
class Case:
    x: loops.Maps
    size: int
    groups: int
    alpha: float
    beta: float
    k: float

    def computed(self, memory_format: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
        x = torch.from_numpy(self.x).contiguous(memory_format=memory_format)
        return local_response_norm(x, self.size, alpha=self.alpha, beta=self.beta, k=self.k, groups=self.groups)

    def expected(self, *, groups: int | None = None, shift: int = 0) -> loops.Maps:
        groups = self.groups if groups is None else groups
        return loops.local_response_norm(self.x, self.size, self.alpha, self.beta, self.k, groups, shift)


@st.composite
def cases(draw: st.DrawFn, min_groups: int = 1) -> Case:
    groups = draw(st.integers(min_groups, 4))
    shape = (
        draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 9)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 4)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Case(
        x=rng.normal(size=shape) + 0.5,
        size=draw(st.integers(1, 11)),
        groups=groups,
        alpha=draw(st.sampled_from([0.5, 2.0])),
        beta=draw(st.sampled_from([0.5, 0.75, 1.0])),
        k=draw(st.sampled_from([1.0, 2.0])),
    )


@given(case=cases(), memory_format=st.sampled_from(FORMATS))
def test_agrees_with_the_loops(case: Case, memory_format: torch.memory_format) -> None:
    assert loops.agrees(case.computed(memory_format).numpy(), case.expected())


@given(case=cases(min_groups=2))
def test_a_window_across_the_border_of_a_tower_is_rejected(case: Case) -> None:
    crossing = case.expected(groups=1)
    reaches_over = case.size >= 2  # the even window reaches down, the odd one both ways
    assert loops.agrees(case.computed().numpy(), crossing) != reaches_over


@pytest.mark.parametrize("size", [1, 2, 4, 5])
@pytest.mark.parametrize("shift", [-1, 1])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_window_off_by_one_is_rejected(size: int, shift: int, groups: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 8, 3, 3))
    case = Case(x, size, groups, alpha=0.5, beta=0.75, k=2.0)
    assert loops.agrees(case.computed().numpy(), case.expected())
    assert not loops.agrees(case.computed().numpy(), case.expected(shift=shift))


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradient(size: int, memory_format: torch.memory_format) -> None:
    x = torch.randn(2, 6, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    x = x.contiguous(memory_format=memory_format).requires_grad_()

    def normed(x: torch.Tensor) -> torch.Tensor:
        return local_response_norm(x, size, alpha=0.5, beta=0.75, k=2.0, groups=2)

    assert torch.autograd.gradcheck(normed, (x,))


def test_is_torchs_own_with_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 7, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.local_response_norm(x, 4, alpha=0.5, beta=0.75, k=2.0)
    torch.testing.assert_close(local_response_norm(x, 4, alpha=0.5, beta=0.75, k=2.0), expected)
    monkeypatch.setenv("CONVSPEC_KERNELS", "reference")
    assert torch.equal(local_response_norm(x, 4, alpha=0.5, beta=0.75, k=2.0), expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_narrow_types_are_summed_in_float32(dtype: torch.dtype, tolerance: float) -> None:
    """The square of 300 is no float16."""
    x = torch.full((1, 8, 2, 2), 300.0, dtype=dtype)
    y = local_response_norm(x, 5, alpha=0.5, beta=0.75, k=2.0)
    assert y.dtype is dtype
    expected = loops.local_response_norm(x.double().numpy(), 5, 0.5, 0.75, 2.0)
    assert loops.agrees(y.double().numpy(), expected, tolerance)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("groups", [1, 2])
def test_keeps_the_memory_format_and_its_input(memory_format: torch.memory_format, groups: int) -> None:
    x = torch.ones(2, 4, 3, 3).contiguous(memory_format=memory_format)
    y = local_response_norm(x, 3, alpha=0.5, beta=0.75, k=2.0, groups=groups)
    assert y.is_contiguous(memory_format=memory_format)
    assert torch.equal(x, torch.ones(2, 4, 3, 3))


def test_takes_an_empty_batch() -> None:
    x = torch.ones(0, 4, 3, 3)
    assert local_response_norm(x, 3, alpha=0.5, beta=0.75, k=2.0, groups=2).shape == (0, 4, 3, 3)


@pytest.mark.parametrize(
    ("x", "size", "groups", "message"),
    [
        (torch.ones(4, 3, 3), 3, 1, r"\(4, 3, 3\)"),
        (torch.ones(1, 4, 3, 3, dtype=torch.int64), 3, 1, "int64"),
        (torch.ones(1, 4, 3, 3), 0, 1, "size must be at least 1, not 0"),
        (torch.ones(1, 4, 3, 3), 3, 3, "groups must divide the 4 channels, 3 does not"),
        (torch.ones(1, 4, 3, 3), 3, 0, "groups must divide the 4 channels, 0 does not"),
    ],
    ids=["three dimensions", "integers", "no window", "uneven groups", "no groups"],
)
def test_refuses(x: torch.Tensor, size: int, groups: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        local_response_norm(x, size, alpha=0.5, beta=0.75, groups=groups)

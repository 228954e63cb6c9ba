"""`response_norm` against loops in NumPy, at an alpha where the normaliser matters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convspec_kernels import response_norm
from tests.kernels import loops


@given(
    size=st.integers(1, 7),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    beta=st.sampled_from([0.5, 0.75, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_agrees_with_the_loops(size: int, height: int, width: int, beta: float, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, 3, height, width)) + 0.5
    y = response_norm(torch.from_numpy(x), size, alpha=2.0, beta=beta, k=1.5).numpy()
    assert loops.agrees(y, loops.response_norm(x, size, 2.0, beta, 1.5))


@pytest.mark.parametrize("size", [3, 4])
def test_rejects_a_window_off_by_one(size: int) -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 6, 5)) + 0.5
    y = response_norm(torch.from_numpy(x), size, alpha=2.0, beta=0.75, k=1.0).numpy()
    assert not loops.agrees(y, loops.response_norm(x, size, 2.0, 0.75, 1.0, shift=1))


def test_gradient() -> None:
    x = torch.rand(2, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: response_norm(x, 3, alpha=2.0, beta=0.75, k=1.0), x)


def test_refuses_a_window_of_nothing() -> None:
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        response_norm(torch.zeros(1, 1, 2, 2), 0, alpha=1.0, beta=0.75)

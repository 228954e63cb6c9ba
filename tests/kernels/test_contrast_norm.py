"""`contrast_norm` and blocked windows of `local_response_norm` against loops in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convspec_kernels import contrast_norm, local_response_norm
from tests.kernels import loops


def contrasted(x: loops.Maps, size: int, alpha: float, beta: float, k: float, shift: int = 0) -> loops.Maps:
    """`shift` moves every window by as many pixels: 0 is right."""

    def window(i: int, j: int) -> tuple[slice, ...]:
        return tuple(slice(max(p - size // 2 + shift, 0), max(p - size // 2 + size + shift, 0)) for p in (i, j))

    differences = np.empty_like(x)
    for i, j in np.ndindex(x.shape[2:]):
        differences[:, :, i, j] = x[:, :, i, j] - x[:, :, *window(i, j)].mean(axis=(2, 3))
    y = np.empty_like(x)
    for i, j in np.ndindex(x.shape[2:]):
        energy = (differences[:, :, *window(i, j)] ** 2).sum(axis=(2, 3))
        y[:, :, i, j] = x[:, :, i, j] / (k + alpha / size**2 * energy) ** beta
    return y


@given(
    size=st.integers(1, 7),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    beta=st.sampled_from([0.5, 0.75, 1.0]),
    seed=st.integers(0, 99),
)
def test_agrees_with_the_loops(size: int, height: int, width: int, beta: float, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, 3, height, width)) + 0.5
    y = contrast_norm(torch.from_numpy(x), size, alpha=2.0, beta=beta, k=1.5).numpy()
    assert loops.agrees(y, contrasted(x, size, 2.0, beta, 1.5))


def test_rejects_a_window_off_by_one() -> None:
    """Towards the top left, where each window still holds a pixel."""
    x = np.random.default_rng(0).normal(size=(1, 2, 6, 5))
    y = contrast_norm(torch.from_numpy(x), 4, alpha=2.0, beta=0.75, k=1.0).numpy()
    assert loops.agrees(y, contrasted(x, 4, 2.0, 0.75, 1.0))
    assert not loops.agrees(y, contrasted(x, 4, 2.0, 0.75, 1.0, shift=1))


@pytest.mark.parametrize("size", [3, 4])
def test_the_gradient_is_exact_or_published(size: int) -> None:
    """The published one holds the means: g D^-beta - 2 alpha/size^2 beta d sum of g x D^(-beta-1) over who sees d."""
    x = torch.rand(1, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    options = {"alpha": 2.0, "beta": 0.75, "k": 1.0}
    assert torch.autograd.gradcheck(lambda x: contrast_norm(x, size, **options), x)
    y = contrast_norm(x, size, **options, gradient="published")
    assert torch.equal(y, contrast_norm(x, size, **options))
    g = torch.rand(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (published,) = torch.autograd.grad(y, x, g)
    (exact,) = torch.autograd.grad(contrast_norm(x, size, **options), x, g)
    maps, of_y = x.detach().numpy(), g.numpy()
    spans = {p: slice(max(p - size // 2, 0), p - size // 2 + size) for p in range(5)}
    means, energy = np.empty_like(maps), np.empty_like(maps)
    for i, j in np.ndindex(5, 4):
        means[:, :, i, j] = maps[:, :, spans[i], spans[j]].mean((2, 3))
    d = maps - means
    for i, j in np.ndindex(5, 4):
        energy[:, :, i, j] = (d[:, :, spans[i], spans[j]] ** 2).sum((2, 3))
    divisor = 1 + 2.0 / size**2 * energy
    expected = of_y * divisor**-0.75
    share = of_y * maps * divisor**-1.75
    for i, j in np.ndindex(5, 4):
        expected[:, :, spans[i], spans[j]] -= (
            2 * 2.0 / size**2 * 0.75 * d[:, :, spans[i], spans[j]] * share[:, :, i, j, None, None]
        )
    assert loops.agrees(published.numpy(), expected)
    assert not loops.agrees(exact.numpy(), expected, tolerance=1e-3)


@given(
    size=st.integers(1, 5),
    channels=st.integers(1, 4),
    groups=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_blocks(size: int, channels: int, groups: int, seed: int) -> None:
    """Runs of `size` channels from the first of each group, the last of which may be shorter."""
    x = np.random.default_rng(seed).normal(size=(2, channels * groups, 3, 2)) + 0.5
    y = local_response_norm(torch.from_numpy(x), size, alpha=2.0, beta=0.75, k=1.5, groups=groups, blocked=True)
    expected = np.empty_like(x)
    for group in range(groups):
        for f in range(channels):
            first = group * channels + f // size * size
            last = min(first + size, (group + 1) * channels)
            energy = (x[:, first:last] ** 2).sum(1)
            at = group * channels + f
            expected[:, at] = x[:, at] / (1.5 + 2.0 / size * energy) ** 0.75
    assert loops.agrees(y.numpy(), expected)
    if channels > size > 1:
        assert not loops.agrees(y.numpy(), loops.local_response_norm(x, size, 2.0, 0.75, 1.5, groups))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types_are_kept(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """The squares of 300 overflow in float16; the sums do not."""
    x = torch.full((1, 4, 3, 3), 300.0, dtype=dtype).contiguous(memory_format=memory_format)
    for y in (
        local_response_norm(x, 2, alpha=1.0, beta=0.5, blocked=True),
        contrast_norm(x, 3, alpha=1.0, beta=0.5),
    ):
        assert y.dtype is dtype
        assert torch.isfinite(y).all()
    assert local_response_norm(x, 2, alpha=1.0, beta=0.5, blocked=True)[0, 0, 0, 0].item() == pytest.approx(1, rel=0.01)


def test_refuses() -> None:
    x = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match="groups must divide"):
        local_response_norm(x, 2, alpha=1.0, beta=0.5, groups=2, blocked=True)
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        contrast_norm(x, 0, alpha=1.0, beta=0.75)
    with pytest.raises(ValueError, match="'exact' or 'published'"):
        contrast_norm(x, 1, alpha=1.0, beta=0.75, gradient="other")  # type: ignore[arg-type]

"""Batch normalisation of a minibatch in pieces against NumPy's mean and variance of all of it, and torch's gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from convspec_kernels import SyncBatchNorm, normalization
from convspec_kernels.normalization import batch_moments, whole_moments

EPS, MOMENTUM = 1e-3, 0.3


@dataclass
class Together:
    """Replicas in one process, which takes the place of each in turn: `rows` has what all of them said."""

    rows: list[Tensor]
    is_alone: bool = False

    @property
    def replicas(self) -> Together:
        return self

    def gather(self, row: Tensor) -> Tensor:
        assert any(torch.equal(row, other) for other in self.rows)
        return torch.stack(self.rows)


def module(peers: Any, channels: int) -> SyncBatchNorm:
    generator = torch.Generator().manual_seed(5)
    net = SyncBatchNorm(channels, peers, eps=EPS, momentum=MOMENTUM).double()
    with torch.no_grad():
        for tensor in (*net.parameters(), net.running_mean, net.running_var):
            assert tensor is not None
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return net


def numbers(sizes: Sequence[int], *, channels: int = 3, pixels: tuple[int, ...] = (2, 3), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (sum(sizes), channels, *pixels)
    return 5 + 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


def in_pieces(x: Tensor, sizes: Sequence[int]) -> tuple[Tensor, SyncBatchNorm]:
    """The normalised minibatch, and the module of the last replica that has cases."""
    pieces = [piece for piece in x.split(list(sizes)) if len(piece)]  # type: ignore[no-untyped-call]
    peers = Together([batch_moments(piece) for piece in pieces])
    nets = [module(peers, x.shape[1]) for _ in pieces]
    return torch.cat([net(piece) for net, piece in zip(nets, pieces, strict=True)]), nets[-1]


SIZES = st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 1)


@given(sizes=SIZES, pixels=st.sampled_from([(), (1, 1), (2, 3)]), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_pieces_are_the_whole(sizes: list[int], pixels: tuple[int, ...], seed: int) -> None:
    x = numbers(sizes, pixels=pixels, seed=seed)
    y, net = in_pieces(x, sizes)
    axes = (0, *range(2, x.dim()))
    values = x.numpy()
    mean, variance = values.mean(axes, keepdims=True), values.var(axes, keepdims=True)
    weight, bias = (p.detach().numpy().reshape(mean.shape[1:]) for p in (net.weight, net.bias))
    wanted = (values - mean) / np.sqrt(variance + EPS) * weight + bias
    np.testing.assert_allclose(y.detach().numpy(), wanted, rtol=1e-10, atol=1e-10)
    before = module(None, x.shape[1])
    assert before.running_mean is not None
    assert before.running_var is not None
    unbiased = values.var(axes, ddof=1)
    followed = [
        (net.running_mean, before.running_mean.numpy(), mean.ravel()),
        (net.running_var, before.running_var.numpy(), unbiased),
    ]
    for running, old, new in followed:
        assert running is not None
        np.testing.assert_allclose(running.numpy(), (1 - MOMENTUM) * old + MOMENTUM * new, rtol=1e-10)
    assert net.num_batches_tracked == 1


@given(sizes=SIZES, pixels=st.sampled_from([(), (2, 3)]), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_gradients_are_those_of_the_whole(sizes: list[int], pixels: tuple[int, ...], seed: int) -> None:
    assert_gradients_of_the_whole(numbers(sizes, pixels=pixels, seed=seed), sizes)


def assert_gradients_of_the_whole(x: Tensor, sizes: Sequence[int]) -> None:
    x = x.requires_grad_()
    factors = torch.rand(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    net = module(None, x.shape[1])
    whole = F.batch_norm(x, None, None, net.weight, net.bias, training=True, eps=EPS)
    [wanted] = torch.autograd.grad((whole * factors).sum(), x)
    [gradient] = torch.autograd.grad((in_pieces(x, sizes)[0] * factors).sum(), x)
    torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-10)


def of_own_cases(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return whole_moments(rows[:1])


def without_their_gradient(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return whole_moments(torch.cat([rows[:1], rows[1:].detach()]))


def mean_of_means(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, squares, count = whole_moments(rows)
    return mean - mean + rows[:, : len(mean)].mean(0), squares, count


def without_distances(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, _, count = whole_moments(rows)
    return mean, rows[:, len(mean) : -1].sum(0), count


@pytest.mark.parametrize("twin", [of_own_cases, without_their_gradient, mean_of_means, without_distances])
def test_broken_twins_are_rejected(twin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [3, 1, 2]
    assert_gradients_of_the_whole(numbers(sizes), sizes)
    monkeypatch.setattr(normalization, "whole_moments", twin)
    with pytest.raises(AssertionError):
        assert_gradients_of_the_whole(numbers(sizes), sizes)


def test_alone_and_at_test_it_is_that_of_torch() -> None:
    x = numbers([6])
    for peers in (Together([], is_alone=True), type("Peers", (), {"replicas": None})()):
        net = module(peers, 3)
        plain = torch.nn.BatchNorm2d(3, eps=EPS, momentum=MOMENTUM).double()
        plain.load_state_dict(net.state_dict())
        assert torch.equal(net(x), plain(x))
        net, plain = net.eval(), plain.eval()
        assert torch.equal(net(x), plain(x))
    with pytest.raises(ValueError, match="x must have cases and channels, not 1 dimensions"):
        net(x[0, 0, 0])


def test_types() -> None:
    """Sums in float32, results in the type of what came; no cases count nothing."""
    x = numbers([6]).bfloat16()
    assert batch_moments(x).dtype == torch.float32
    peers = Together([batch_moments(x)])
    net = module(peers, 3).float()
    y = net(x)
    assert y.dtype == torch.bfloat16
    expected = F.batch_norm(x.float(), None, None, net.weight, net.bias, training=True, eps=EPS)
    torch.testing.assert_close(y.float(), expected, rtol=1e-2, atol=1e-2)
    assert not batch_moments(x[:0]).any()

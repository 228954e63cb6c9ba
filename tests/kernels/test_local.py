"""`locally_connected2d` against loops in NumPy, and against torch's convolution where all kernels are the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from convspec_kernels import locally_connected2d
from tests.kernels import loops

FORMATS = [torch.contiguous_format, torch.channels_last]


@dataclass(frozen=True)
class Geometry:
    """Maps, kernels and windows, which may be fewer than fit or hang over the map as far as they like."""

    sides: tuple[int, int]
    kernel: tuple[int, int]
    windows: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int

    def maps(self, *, seed: int) -> loops.Maps:
        return np.random.default_rng(seed).normal(size=(2, 2 * self.groups, *self.sides))

    def weight(self, *, seed: int) -> loops.Maps:
        return np.random.default_rng(seed + 1).normal(size=(3 * self.groups, 2, *self.kernel, *self.windows))


def pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


GEOMETRIES = st.builds(
    Geometry, pairs(1, 6), pairs(1, 4), pairs(1, 5), pairs(1, 4), pairs(0, 3), groups=st.integers(1, 3)
)


@given(g=GEOMETRIES, seed=st.integers(0, 99), memory_format=st.sampled_from(FORMATS))
def test_agrees_with_the_loops(g: Geometry, seed: int, memory_format: torch.memory_format) -> None:
    x, weight = g.maps(seed=seed), g.weight(seed=seed)
    maps = torch.from_numpy(x).contiguous(memory_format=memory_format)
    y = locally_connected2d(maps, torch.from_numpy(weight), stride=g.stride, padding=g.padding, groups=g.groups)
    assert loops.agrees(y.numpy(), loops.locally_connected(x, weight, g.stride, g.padding, g.groups))


def test_kernels_of_other_windows_are_rejected() -> None:
    g = Geometry((5, 5), (2, 3), (3, 3), (2, 1), (1, 0), 2)
    x, weight = g.maps(seed=0), g.weight(seed=0)
    y = locally_connected2d(torch.from_numpy(x), torch.from_numpy(weight), stride=(2, 1), padding=(1, 0), groups=2)
    assert loops.agrees(y.numpy(), loops.locally_connected(x, weight, (2, 1), (1, 0), 2))
    assert not loops.agrees(y.numpy(), loops.locally_connected(x, weight, (2, 1), (1, 0), 2, is_turned=True))
    assert not loops.agrees(y.numpy(), loops.locally_connected(x, weight, (2, 1), (0, 0), 2))


@given(g=GEOMETRIES, seed=st.integers(0, 99))
def test_gradients_are_those_of_the_formula(g: Geometry, seed: int) -> None:
    """It is linear in the maps and in the weight: the gradient along a direction is the value there."""
    x, weight = g.maps(seed=seed), g.weight(seed=seed)
    maps, kernels = (torch.from_numpy(each).requires_grad_() for each in (x, weight))
    y = locally_connected2d(maps, kernels, stride=g.stride, padding=g.padding, groups=g.groups)
    gradient = np.random.default_rng(seed + 2).normal(size=y.shape)
    y.backward(torch.from_numpy(gradient))
    along = np.random.default_rng(seed + 3).normal(size=x.shape)
    expected = (loops.locally_connected(along, weight, g.stride, g.padding, g.groups) * gradient).sum()
    assert (maps.grad.numpy() * along).sum() == pytest.approx(expected, rel=1e-10, abs=1e-10)
    along = np.random.default_rng(seed + 4).normal(size=weight.shape)
    expected = (loops.locally_connected(x, along, g.stride, g.padding, g.groups) * gradient).sum()
    assert (kernels.grad.numpy() * along).sum() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("groups", [1, 2])
def test_equal_kernels_are_a_convolution(groups: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 7, 9).to(dtype)
    kernels, bias = torch.randn(6, 4 // groups, 3, 2).to(dtype), torch.randn(6).to(dtype)
    expected = F.conv2d(x, kernels, bias, stride=(2, 1), padding=(1, 0), groups=groups)
    weight = kernels[..., None, None].expand(*kernels.shape, *expected.shape[2:])
    y = locally_connected2d(x, weight, bias[:, None, None], stride=(2, 1), padding=(1, 0), groups=groups)
    assert y.dtype == dtype
    tolerance = {"rtol": 0.02, "atol": 0.02} if dtype is torch.bfloat16 else {}
    torch.testing.assert_close(y, expected, **tolerance)


def test_it_keeps_one_copy_of_the_windows() -> None:
    """What the docstring promises of its memory: the tensors that the backward pass holds, beside x and the weight."""
    x, weight = torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(6, 2, 3, 3, 6, 6, requires_grad=True)
    own = {x.untyped_storage().data_ptr(), weight.untyped_storage().data_ptr()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        locally_connected2d(x, weight, groups=2)
    windows = 2 * 4 * 3 * 3 * 6 * 6
    assert windows in kept.values()
    assert sum(kept.values()) <= windows + weight.numel()


@pytest.mark.parametrize(
    ("x", "weight", "options", "message"),
    [
        ((2, 4, 8), (6, 4, 3, 3, 6, 6), {}, "x must have 4 axes"),
        ((2, 4, 8, 8), (6, 4, 3, 3), {}, "weight 6"),
        ((2, 4, 8, 8), (6, 4, 3, 3, 6, 6), {"stride": 0}, "stride must be at least 1"),
        ((2, 4, 8, 8), (6, 4, 3, 3, 6, 6), {"padding": (0, -1)}, "padding at least 0"),
        ((2, 4, 8, 8), (6, 4, 3, 3, 6, 6), {"groups": 2}, "reads 8 channels, not 4"),
        ((2, 4, 8, 8), (5, 2, 3, 3, 6, 6), {"groups": 2}, "in 2 groups"),
        ((2, 4, 8, 8), (6, 4, 3, 3, 6, 6), {"groups": 0}, "in 0 groups"),
    ],
)
def test_wrong_arguments(x: tuple[int, ...], weight: tuple[int, ...], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        locally_connected2d(torch.zeros(x), torch.zeros(weight), **options)


def test_it_lives_under_torch_compile() -> None:
    x, weight, bias = torch.randn(2, 4, 8, 8), torch.randn(6, 2, 3, 3, 4, 4), torch.randn(6, 4, 4)

    def apply(x: torch.Tensor) -> torch.Tensor:
        return locally_connected2d(x, weight, bias, stride=2, padding=1, groups=2)

    torch.testing.assert_close(torch.compile(apply, backend="eager", fullgraph=True)(x), apply(x))

"""`scale_gradient`: the value to the bit, the gradient times a number."""

from __future__ import annotations

import pytest
import torch

from convspec_kernels import scale_gradient


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, -2.0])
def test_value_stays_and_gradient_is_scaled(dtype: torch.dtype, scale: float) -> None:
    x = torch.randn(4, 3, dtype=dtype, requires_grad=True)
    weight = torch.randn(4, 3, dtype=dtype)
    y = scale_gradient(x, scale)
    assert torch.equal(y, x)
    ((x * weight).sum() + (y * weight * 2).sum()).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weight * (1 + 2 * scale))


def test_gradient_of_the_gradient() -> None:
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    [first] = torch.autograd.grad((scale_gradient(x, 0.5) ** 3).sum(), x, create_graph=True)
    torch.testing.assert_close(first, 1.5 * x**2)
    [second] = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, 1.5 * 0.5 * 2 * x.detach() * torch.ones(5, dtype=torch.float64))


def test_under_compile() -> None:
    weight = torch.randn(3, 3, requires_grad=True)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (x @ scale_gradient(weight, 0.25)).square().sum()

    x = torch.randn(2, 3)
    [eager] = torch.autograd.grad(loss(x), weight)
    [compiled] = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(x), weight)
    torch.testing.assert_close(compiled, eager)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_no_number(scale: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        scale_gradient(torch.zeros(1), scale)

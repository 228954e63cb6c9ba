"""The public functions under `torch.compile`: traced whole, without a graph break, with equal results."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from convspec_kernels import (
    Noise,
    avg_pool2d,
    channel_max_pool,
    contrast_norm,
    dropout,
    gaussian_blur,
    local_response_norm,
    max_abs_pool2d,
    max_pool2d,
    maximum,
    normal_like,
    random_rescale,
    resize_bilinear,
    rgb_to_lab,
    rgb_to_yuv,
    sum_pool2d,
)

OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum_pool2d": lambda x: sum_pool2d(x, 3, 2),
    "max_abs_pool2d": lambda x: max_abs_pool2d(x, 3, 2, start=-1, ties="all"),
    "channel_max_pool": lambda x: channel_max_pool(x, 2, 1),
    "maximum": lambda x: maximum(x, x.flip(3)),
    "contrast_norm": lambda x: contrast_norm(x, 3, alpha=1.0, beta=0.75),
    "blocked": lambda x: local_response_norm(x, 2, alpha=1.0, beta=0.75, blocked=True),
    "gaussian_blur": lambda x: gaussian_blur(x, 3, stdev=1.0),
    "resize_bilinear": lambda x: resize_bilinear(x, (7, 7), scale=1.3),
    "rgb_to_yuv": rgb_to_yuv,
    "rgb_to_lab": rgb_to_lab,
    "random_rescale": lambda x: random_rescale(x, 8, max_scale=1.25, training=False),
}


def norm_and_pool(x: Tensor) -> Tensor:
    y = local_response_norm(x, 5, alpha=0.5, beta=0.75, k=2.0, groups=2)
    y = max_pool2d(y, 3, 2, start=-1, output_size=(5, 5))
    return avg_pool2d(y, 3, 2, start=1)


def test_no_graph_break() -> None:
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(norm_and_pool, fullgraph=True, backend="aot_eager")
    eager_x, compiled_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, y = norm_and_pool(eager_x), compiled(compiled_x)
    assert torch.equal(y, expected)
    assert torch.equal(*torch.autograd.grad(expected.sum(), eager_x), *torch.autograd.grad(y.sum(), compiled_x))


@pytest.mark.parametrize("name", OTHERS)
def test_no_graph_break_in_the_others(name: str) -> None:
    x = torch.rand(2, 3, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    function = OTHERS[name]
    torch.compiler.reset()
    y = torch.compile(function, fullgraph=True, backend="aot_eager")(x)
    assert torch.allclose(y, function(x), rtol=1e-12)
    (gradient,), (expected,) = (torch.autograd.grad(each.sum(), x) for each in (y, function(x)))
    assert torch.allclose(gradient, expected, rtol=1e-12)


def test_what_draws_is_one_graph() -> None:
    """Compiled once, and the same draws as not compiled."""
    x = torch.rand(2, 3, 10, 10)

    def scaled(x: Tensor) -> Tensor:
        noise = Noise.draw()
        scaled = random_rescale(2 * x, 8, max_scale=1.25, training=True, noise=noise, layer="scaled")
        dropped = dropout(scaled, 0.25, True, noise, "one", "two", "three")
        return dropped + normal_like(dropped, noise, "noisy")

    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(scaled, fullgraph=True, backend="aot_eager")
    for seed in range(12):
        torch.manual_seed(seed)
        expected = scaled(x)
        torch.manual_seed(seed)
        assert torch.allclose(compiled(x), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1

"""The public functions under `torch.compile`: traced whole, without a graph break, with equal results."""

from __future__ import annotations

import torch
from torch import Tensor

from convspec_kernels import avg_pool2d, local_response_norm, max_pool2d


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

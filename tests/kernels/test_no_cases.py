"""A minibatch without cases, which a replica has where there are fewer cases than replicas: a result without cases, and
gradients of its shape, on every way that a computation can take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

import convspec_kernels as kernels
from convspec_kernels import Noise

CHANNELS, SIDE = 6, 7

FUNCTIONS: Mapping[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "lrn": (lambda x: kernels.local_response_norm(x, 5, alpha=0.5, beta=0.75, k=2.0, groups=2), (6, 7, 7)),
    "lrn blocked": (
        lambda x: kernels.local_response_norm(x, 4, alpha=0.5, beta=0.75, k=2.0, blocked=True),
        (6, 7, 7),
    ),
    "fused": (
        lambda x: kernels.bias_act_lrn_max_pool2d(
            x, torch.ones(CHANNELS), "relu", size=5, alpha=0.5, k=2.0, kernel_size=3, stride=2
        ),
        (6, 3, 3),
    ),
    "max pool, ties": (lambda x: kernels.max_pool2d(x, 3, 2, ties="all"), (6, 3, 3)),
    "max pool": (lambda x: kernels.max_pool2d(x, 3, 2), (6, 3, 3)),
    "avg pool": (lambda x: kernels.avg_pool2d(x, 3, 2), (6, 3, 3)),
    "sum pool": (lambda x: kernels.sum_pool2d(x, 3, 2), (6, 3, 3)),
    "max abs pool": (lambda x: kernels.max_abs_pool2d(x, 3, 2), (6, 3, 3)),
    "channel max pool": (lambda x: kernels.channel_max_pool(x, 2, 2), (3, 7, 7)),
    "maximum": (lambda x: kernels.maximum(x, 2 * x), (6, 7, 7)),
    "response norm": (lambda x: kernels.response_norm(x, 3, alpha=0.5, beta=0.75), (6, 7, 7)),
    "contrast norm": (lambda x: kernels.contrast_norm(x, 3, alpha=0.5, beta=0.75), (6, 7, 7)),
    "blur": (lambda x: kernels.gaussian_blur(x, 3, stdev=1.0), (6, 7, 7)),
    "resize": (lambda x: kernels.resize_bilinear(x, (4, 4), scale=1.5), (6, 4, 4)),
    "rescale": (
        lambda x: kernels.random_rescale(x, 5, max_scale=1.4, training=True, noise=Noise.draw(), layer="a"),
        (6, 5, 5),
    ),
    "yuv": (lambda x: kernels.rgb_to_yuv(x[:, :3]), (3, 7, 7)),
    "lab": (lambda x: kernels.rgb_to_lab(x[:, :3]), (3, 7, 7)),
    "local": (lambda x: kernels.locally_connected2d(x, torch.ones(4, CHANNELS, 3, 3, 3, 3), stride=2), (4, 3, 3)),
    "dropout": (lambda x: kernels.dropout(x, 0.5, True, Noise.draw(), "a"), (6, 7, 7)),
    "noise": (lambda x: x + kernels.normal_like(x, Noise.draw(), "a"), (6, 7, 7)),
}


@pytest.mark.parametrize("way", ["auto", "reference"])
@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels last"]
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_cases_give_none(
    name: str, memory_format: torch.memory_format, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSPEC_KERNELS", way)
    function, shape = FUNCTIONS[name]
    x = torch.empty(0, CHANNELS, SIDE, SIDE).to(memory_format=memory_format).requires_grad_()
    y = function(x)
    assert y.shape == (0, *shape)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape

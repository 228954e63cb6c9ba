"""Batch normalisation of a minibatch whose cases are in several processes, by the statistics of all of it.

Each process sums up its own cases in a row of numbers, `batch_moments`; from the rows of all come mean and variance
(Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979), and from them
a factor and a summand for each channel. Autograd goes through all of it, so that gradients are those of the whole
minibatch as well. Sums are taken in float32 at least.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from convspec_kernels.peers import Peers


class SyncBatchNorm(_BatchNorm):
    """`torch.nn.BatchNorm1d` and `BatchNorm2d` over the cases of all replicas of a network: gloo and NCCL, CPU and GPU.

        y = (x - mean) / sqrt(variance + eps) * weight + bias

    Mean and variance are those of a channel over all cases and pixels in training, and the running ones move towards them
    by `momentum`, the variance unbiased: by the same numbers in each process. At test the running ones are used. Where
    this process has all cases it is torch's function. torch's own `SyncBatchNorm` has no CPU, and divides gradients by the
    number of processes on the understanding that DistributedDataParallel does.

    Args:
        num_features: channels C of x, (N, C, ...).
        peers: the processes of this network; its `replicas` are those that have other cases.
        eps: added to the variance.
        momentum: share of the new statistics in the running ones, in [0, 1].
    """

    def __init__(self, num_features: int, peers: Peers, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.peers = peers

    def forward(self, x: Tensor) -> Tensor:
        replicas = self.peers.replicas
        if not self.training or replicas is None or replicas.is_alone:
            return super().forward(x)
        rows = replicas.gather(batch_moments(x))
        mean, squares, count = whole_moments(rows)
        self._follow(mean.detach(), squares.detach() / (count - 1))
        return _normalized(x, mean, squares / count, self.weight, self.bias, self.eps)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a minibatch."""
        assert self.momentum is not None
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.lerp_(new.to(running.dtype), self.momentum)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"x must have cases and channels, not {input.dim()} dimensions")


def batch_moments(x: Tensor) -> Tensor:
    """What some cases add to the statistics of a minibatch: for each channel of x, (N, C, ...), its mean, then for each the sum
    of squared differences from it, then how many numbers a channel has; (2C + 1,), zeros where there are none."""
    wide = torch.promote_types(x.dtype, torch.float32)
    count = x.numel() // x.shape[1]
    if count == 0:
        return x.new_zeros(2 * x.shape[1] + 1, dtype=wide)
    variance, mean = torch.var_mean(x.to(wide), [0, *range(2, x.dim())], correction=0)
    return torch.cat([mean, variance * count, mean.new_full((1,), count)])


def whole_moments(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the cases of several rows together, (R, 2C + 1): the mean of each channel, (C,), the sum of squared differences from
    it, (C,), and the count, ()."""
    channels = rows.shape[1] // 2
    means, squares, counts = rows.split([channels, channels, 1], 1)  # type: ignore[no-untyped-call]
    count: Tensor = counts.sum()
    mean: Tensor = (means * counts).sum(0) / count
    total: Tensor = squares.sum(0) + ((means - mean).square() * counts).sum(0)
    return mean, total, count


def _normalized(x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    factor = weight * (variance + eps).rsqrt()
    summand = bias - mean * factor
    shape = (-1, *[1] * (x.dim() - 2))
    return torch.addcmul(summand.view(shape), x.to(factor.dtype), factor.view(shape)).to(x.dtype)

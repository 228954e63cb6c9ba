"""What processes add up while the backward pass goes on: losses, and the gradients of parameters that several of them have.

Gradients are summed in buckets. A bucket is full when the backward pass has given the last of its gradients; then its sum
is on its way, and the backward pass goes on. Buckets of one group of processes start in one order in all of them, whatever
order gradients come in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from convspec.program.program import Program
from convspec.train.team import Losses

BUCKET_BYTES = 25 << 20
"""About this many bytes of gradients are summed at a time, as in torch's DistributedDataParallel."""


@dataclass(slots=True)
class _Bucket:
    group: dist.ProcessGroup
    tensors: list[nn.Parameter] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)
    flat: Tensor | None = None
    work: dist.Work | None = None


class GradientReduction:
    """Sums, in each backward pass, the gradients of parameters over the groups that have them."""

    def __init__(self, groups: Mapping[nn.Parameter, dist.ProcessGroup]) -> None:
        """groups: of each parameter that has gradients, in an order that all processes of a group agree on: the one in
        which a forward pass reads them."""
        self.seconds, self.bytes = 0.0, 0
        """That this process waited after the backward pass, and that it gave to sums."""
        self._buckets = _buckets(groups)
        self._of = {tensor: bucket for bucket in self._buckets for tensor in bucket.tensors}
        self._handles = [tensor.register_post_accumulate_grad_hook(self._take) for tensor in self._of]  # type: ignore[no-untyped-call]
        self.begin()

    def begin(self) -> None:
        """Wait for the gradients of a new backward pass."""
        for bucket in self._buckets:
            bucket.missing = {id(tensor) for tensor in bucket.tensors}
            bucket.flat = bucket.work = None

    def finish(self) -> None:
        """After the backward pass: wait until all gradients are sums. One that this process had none of counts as 0."""
        for bucket in self._buckets:
            if bucket.work is None:
                self._start(bucket)
        began = time.perf_counter()
        for bucket in self._buckets:
            assert bucket.work is not None
            assert bucket.flat is not None
            bucket.work.wait()
            for tensor, piece in zip(bucket.tensors, _pieces(bucket.flat, bucket.tensors), strict=True):
                tensor.grad = piece
        self.seconds += time.perf_counter() - began
        self.begin()

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _take(self, tensor: Tensor) -> None:
        """A gradient is there."""
        assert isinstance(tensor, nn.Parameter)
        bucket = self._of[tensor]
        bucket.missing.discard(id(tensor))
        for each in self._buckets:
            if each.group is bucket.group and each.work is None:
                if each.missing:
                    return
                self._start(each)

    def _start(self, bucket: _Bucket) -> None:
        grads = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in bucket.tensors]
        bucket.flat = torch.cat([grad.reshape(-1) for grad in grads])
        self.bytes += bucket.flat.numel() * bucket.flat.element_size()
        bucket.work = dist.all_reduce(bucket.flat, group=bucket.group, async_op=True)


def _buckets(groups: Mapping[nn.Parameter, dist.ProcessGroup]) -> list[_Bucket]:
    """The last parameters first, as the backward pass gets to them."""
    buckets: list[_Bucket] = []
    open_: dict[tuple[dist.ProcessGroup, torch.dtype], tuple[_Bucket, int]] = {}
    for tensor, group in reversed(list(groups.items())):
        key = group, tensor.dtype
        bucket, size = open_.get(key, (None, BUCKET_BYTES))
        if bucket is None or size >= BUCKET_BYTES:
            bucket, size = _Bucket(group), 0
            buckets.append(bucket)
        bucket.tensors.append(tensor)
        open_[key] = bucket, size + tensor.numel() * tensor.element_size()
    return buckets


def _pieces(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    pieces: Sequence[Tensor] = flat.split([tensor.numel() for tensor in tensors])  # type: ignore[no-untyped-call]
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]


class SharedLosses(Losses):
    """The losses of a step over the whole minibatch, wherever they were computed."""

    def __init__(self, program: Program, outputs: Mapping[str, Tensor], share: float, device: torch.device) -> None:
        """share: of the minibatch, that this process has."""
        self._costs = program.costs
        sums = torch.zeros(len(self._costs), dtype=torch.float64, device=device)
        for i, cost in enumerate(self._costs):
            if cost.name in outputs:
                sums[i] = outputs[cost.name].detach() * share
        self._sums, self._values = sums, list[float]()
        self._work = dist.all_reduce(sums, async_op=True)

    def objective(self) -> float:
        return sum(cost.coefficient * self.of_cost(cost.name) for cost in self._costs if cost.coefficient)

    def of_cost(self, name: str) -> float:
        if not self._values:
            self._work.wait()
            self._values = self._sums.tolist()
        return next(value for cost, value in zip(self._costs, self._values, strict=True) if cost.name == name)

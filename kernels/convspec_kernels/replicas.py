"""Processes that have the same part of a network and other cases of each minibatch, and what they tell one another in the
middle of a pass. That gradients of their parameters add up is no business of this module.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from convspec_kernels.messages import send_and_receive


class Replicas:
    """The replicas of a process, itself among them, in the order of their cases."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group, self._ranks = group, dist.get_process_group_ranks(group)
        self.count, self.index = len(self._ranks), dist.get_rank(group)
        self.active = self.count
        """How many of them, the first ones, have cases of the minibatch that is next. The others take no part in a pass."""
        self.bytes, self.seconds = 0, 0.0
        """That left this process, and that it waited on the host."""

    @property
    def is_alone(self) -> bool:
        """Whether this process has nobody to tell anything: all cases are its own, or none."""
        return self.active == 1 or self.index >= self.active

    def gather(self, row: Tensor) -> Tensor:
        """The rows of all active replicas, (active, K), from that of each, (K,). Whatever replicas make of each other's rows
        has its gradient come back and add up."""
        rows: Tensor = _Gather.apply(row, self)  # type: ignore[no-untyped-call]
        return rows

    def _swap(self, rows: Tensor) -> Tensor:
        """Row i goes to replica i; what came from each replica, in their order, its own row among them."""
        came = torch.empty_like(rows)
        came[self.index] = rows[self.index]
        others = [i for i in range(self.active) if i != self.index]
        began = time.perf_counter()
        send_and_receive(
            [(rows[i], self._ranks[i]) for i in others], [(came[i], self._ranks[i]) for i in others], self._group
        )
        self.seconds += time.perf_counter() - began
        self.bytes += len(others) * rows[0].numel() * rows.element_size()
        return came


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, replicas: Replicas) -> Tensor:
        ctx.replicas = replicas
        return replicas._swap(row.detach().expand(replicas.active, -1).contiguous())

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor, None]:
        return ctx.replicas._swap(grads.contiguous()).sum(0), None

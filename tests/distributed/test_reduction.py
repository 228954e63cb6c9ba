"""Sums of gradients: what they are, and that they are on their way while the backward pass goes on."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from convspec.train import reduction
from convspec.train.reduction import GradientReduction
from tests.distributed.processes import together

LAYERS = 5


class Watched:
    """A sum on its way, which notes when it is waited for."""

    def __init__(self, work: dist.Work, events: list[str]) -> None:
        self._work, self._events = work, events

    def wait(self) -> None:
        self._events.append("wait")
        self._work.wait()


def reduce(bucket_bytes: int, idle: int | None) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """What happened in order, the sums, and what this process gave to them. idle: a layer that process 1 does not read."""
    dist.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    torch.manual_seed(rank)
    layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(LAYERS))
    layers.load_state_dict({name: torch.full((8, 8), 0.1) for name in layers.state_dict()})
    events: list[str] = []
    own: dict[str, Any] = {}
    all_reduce = dist.all_reduce

    def come(name: str, tensor: torch.Tensor) -> None:
        assert tensor.grad is not None
        events.append(f"gradient {name}")
        own[name] = tensor.grad.clone().numpy()

    def watched_sum(tensor: torch.Tensor, *, group: dist.ProcessGroup, async_op: bool) -> Watched:
        assert async_op
        events.append(f"sum of {tensor.numel() // 64}")
        work = all_reduce(tensor, group=group, async_op=True)
        assert work is not None
        return Watched(work, events)

    for number, layer in enumerate(layers):
        layer.weight.register_post_accumulate_grad_hook(lambda tensor, name=str(number): come(name, tensor))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduction, "BUCKET_BYTES", bucket_bytes)
        patch.setattr(reduction.dist, "all_reduce", watched_sum)
        group = dist.group.WORLD
        assert group is not None
        sums = GradientReduction({layer.weight: group for layer in layers})
        for _ in range(2):
            events.clear()
            layers.zero_grad()
            x = torch.randn(3, 8)
            for number, layer in enumerate(layers):
                x = x if rank == 1 and number == idle else layer(x)
            x.square().sum().backward()
            sums.finish()
        sums.close()
    return events, {str(i): layer.weight.grad.numpy() for i, layer in enumerate(layers)}, own


def test_sums_start_as_gradients_come() -> None:
    """The last layer's is on its way before that of the layer below is known; nobody waits before all are."""
    for events, _, _ in together(2, reduce, 1, None):
        begun = [event for i in reversed(range(LAYERS)) for event in (f"gradient {i}", "sum of 1")]
        assert events == begun + ["wait"] * LAYERS


def test_small_gradients_are_summed_together() -> None:
    [(events, _, _), _] = together(2, reduce, 2 * 8 * 8 * 4, None)
    assert [event for event in events if event.startswith("sum")] == ["sum of 2", "sum of 2", "sum of 1"]
    assert events.index("sum of 2") == 2


@pytest.mark.parametrize("idle", [None, 0, 3, 4])
def test_sums(idle: int | None) -> None:
    """Over both processes; one that has no gradient counts as 0, and has its buckets in the order of the other."""
    (_, first, own), (_, second, other) = together(2, reduce, 1, idle)
    for name, gradient in first.items():
        assert (gradient == second[name]).all()
        expected = own[name] + other[name] if name in other else own[name]
        assert abs(gradient - expected).max() <= 1e-5 * abs(expected).max()
    assert len(own) == LAYERS
    assert len(other) == LAYERS - (idle is not None)

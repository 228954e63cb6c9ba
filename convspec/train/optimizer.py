"""The update rule of the paper (section 5), per parameter, through torch's fused SGD.

    v <- momentum v - decay rate w - rate g          w <- w + v

torch keeps the rate out of its buffer: b <- momentum b + decay w + g; w <- w - rate b. So v = -rate b, and the two
agree while the rate is constant; when it changes, b is rescaled by old/new so that v stays what it was. A rate that
falls to 0 on the way leaves v to run out (v <- momentum v): torch's rule at the last rate, without gradient and decay.
A parameter whose rate is 0 by its spec is frozen: no gradient is computed for it at all. One that learns, and that no
cost with a coefficient is above, has the gradient 0: it decays, whether or not a twin that was merged with it has another.

What a spec can ask for beyond this is done to the gradient before torch's step, and to the weights after it (`rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convspec.program.program import Parameter, Program, Update
from convspec.train.blocks import join, region, split
from convspec.train.rules import NORMALISED_MOMENTUM, GradientRule, constrain, is_due, is_plain, takes_decay

_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


@dataclass(slots=True)
class _Group:
    """Parameters that learn alike. `torch_group` is theirs in torch's optimizer; its rate is that of the buffers."""

    update: Update
    members: list[tuple[Parameter, nn.Parameter]]
    torch_group: dict[str, object]
    is_coasting: bool = False

    @property
    def rate(self) -> float:
        """The rate that the buffers are kept in: v = -rate b. Above 0."""
        rate = self.torch_group["lr"]
        assert isinstance(rate, float)
        return rate


class Size(NamedTuple):
    """mean |w| over the numbers of a parameter, and mean |w - w before| of its last step."""

    weight: float
    step: float


class PaperSGD:
    """Steps every parameter of `net` that `program` does not freeze."""

    def __init__(self, program: Program, net: nn.Module, *, seed: int = 0) -> None:
        """seed: of noisy rates."""
        tensors = dict(net.named_parameters())
        by_update: dict[Update, list[tuple[Parameter, nn.Parameter]]] = {}
        for parameter in program.parameters:
            tensor = tensors[parameter.name]
            tensor.requires_grad_(not parameter.update.rate.is_frozen)
            if tensor.requires_grad:
                by_update.setdefault(parameter.update, []).append((parameter, tensor))
        torch_groups = [
            {
                "params": [tensor for _, tensor in members],
                "lr": float(update.rate.base),
                "momentum": NORMALISED_MOMENTUM if update.damping else update.momentum,
            }
            for update, members in by_update.items()
        ]
        fused = all(t.device.type in _FUSED_DEVICES and t.is_floating_point() for t in tensors.values())
        self._sgd = torch.optim.SGD(torch_groups, fused=fused)
        self._groups = [
            _Group(update, members, torch_group)
            for (update, members), torch_group in zip(by_update.items(), self._sgd.param_groups, strict=True)
        ]
        self._rules = {
            parameter.name: (parameter, GradientRule(parameter, tensor, seed))
            for update, members in by_update.items()
            if not is_plain(update)
            for parameter, tensor in members
        }
        self.set_rates(0.0)

    def set_rates(self, progress: float, factor: float = 1.0) -> None:
        """Give every parameter its rate at `progress`, in [0, 1], times `factor`."""
        for group in self._groups:
            self._set_rate(group, group.update.rate.rate(progress) * factor)

    def step(self, number: int, share: float = 1.0) -> None:
        """Take up the gradients of minibatch `number` of the run, from 0, which has `share` of the cases of a full one."""
        learning = [tensor for group in self._groups for _, tensor in group.members]
        for tensor in learning:
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        for _, rule in self._rules.values():
            rule.prepare(number, share)
        due = [group for group in self._groups if is_due(group.update, number)]
        for group in due:
            if group.is_coasting:
                for _, tensor in group.members:
                    tensor.grad = torch.zeros_like(tensor)
        self._sgd.step()
        for group in due:
            if group.update.constraint.holds:
                for parameter, tensor in group.members:
                    constrain(parameter, tensor)

    def zero_grad(self) -> None:
        self._sgd.zero_grad()

    def rates(self) -> dict[str, float]:
        """The rate of each parameter that learns, now, by canonical name."""
        return {
            block.name: 0.0 if group.is_coasting else group.rate
            for group in self._groups
            for parameter, _ in group.members
            for block in parameter.blocks
        }

    def sizes(self) -> dict[str, Size]:
        """Of each parameter that learns, by canonical name: how large it is, and how large its last step was."""
        learning = [
            (block.name, piece.numel(), group.rate, piece, None if buffer is None else buffer[region(block)])
            for group in self._groups
            for parameter, tensor in group.members
            for buffer in [self._sgd.state[tensor].get("momentum_buffer")]
            for block in parameter.blocks
            for piece in [tensor.detach()[region(block)]]
        ]
        # v = -rate b, so that the step that was taken need not be kept
        return {
            name: Size(_norm(piece) / count, 0.0 if buffer is None else rate * _norm(buffer) / count)
            for name, count, rate, piece, buffer in learning
        }

    def momentum(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Buffers and the rates that they are kept in, by canonical name: what a checkpoint needs, exact to the bit."""
        buffers: dict[str, Tensor] = {}
        rates: dict[str, float] = {}
        for group in self._groups:
            for parameter, tensor in group.members:
                buffer = self._sgd.state[tensor].get("momentum_buffer")
                if buffer is not None:
                    pieces = split(parameter, buffer)
                    buffers |= pieces
                    rates |= dict.fromkeys(pieces, group.rate)
        return buffers, rates

    def load_momentum(self, buffers: Mapping[str, Tensor], rates: Mapping[str, float]) -> None:
        """Take up what `momentum` gave, under this placement or another. Parameters without a buffer start at rest."""
        for group in self._groups:
            group.torch_group["lr"] = next(
                (
                    rates[block.name]
                    for parameter, _ in group.members
                    for block in parameter.blocks
                    if block.name in rates
                ),
                group.rate,
            )
            for parameter, tensor in group.members:
                if all(block.name in buffers for block in parameter.blocks):
                    scaled = {
                        block.name: _rescaled(buffers[block.name], rates[block.name], group.rate)
                        for block in parameter.blocks
                    }
                    self._sgd.state[tensor]["momentum_buffer"] = join(parameter, scaled, tensor.detach())

    def memory(self) -> dict[str, Tensor]:
        """What the rules beyond the plain one remember, by `sum/NAME` and the like: for checkpoints, as `momentum` is."""
        return {
            f"{kind}/{name}": piece
            for parameter, rule in self._rules.values()
            for kind, whole in rule.memory.items()
            for name, piece in split(parameter, whole).items()
        }

    def load_memory(self, pieces: Mapping[str, Tensor]) -> None:
        """Take up what `memory` gave, under this placement or another."""
        for parameter, rule in self._rules.values():
            for kind, whole in rule.memory.items():
                blocks = {b.name: pieces[f"{kind}/{b.name}"] for b in parameter.blocks if f"{kind}/{b.name}" in pieces}
                if len(blocks) == len(parameter.blocks):
                    whole.copy_(join(parameter, blocks, whole))

    def _set_rate(self, group: _Group, rate: float) -> None:
        group.is_coasting = rate == 0
        is_outside = group.is_coasting or takes_decay(group.update)
        group.torch_group["weight_decay"] = 0.0 if is_outside else group.update.decay
        if group.is_coasting or rate == group.rate:
            return
        found = (self._sgd.state[tensor].get("momentum_buffer") for _, tensor in group.members)
        if buffers := [buffer for buffer in found if buffer is not None]:
            torch._foreach_mul_(buffers, group.rate / rate)
        group.torch_group["lr"] = float(rate)


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, 1))


def _rescaled(buffer: Tensor, old_rate: float, new_rate: float) -> Tensor:
    return buffer if old_rate == new_rate else buffer * (old_rate / new_rate)

"""Means over the training pictures of an epoch so far, kept on the device so that no step waits for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from convspec.program.program import Program
from convspec.train.evaluate import wide
from convspec.train.scores import has_error, mistakes, trained_cost, values_by_name
from convspec.train.team import ALONE, Team


class EpochSums:
    """Sums of cases, of mistakes by the cost that steers (`trained_cost`), and of the loss of each cost."""

    def __init__(self, program: Program, device: torch.device, team: Team = ALONE) -> None:
        """program: the whole network, of which this process of `team` may have a part."""
        self._program, self._part, self._team = program, team.part(program), team
        self._cost = trained_cost(program)
        self._counts = team.counts_cases
        self._sums = torch.zeros(2 + len(program.costs), dtype=wide(device), device=device)

    def add(self, outputs: dict[str, Tensor], tensors: dict[str, Tensor], cases: int) -> None:
        """outputs, tensors: what the network gave for a minibatch of `cases`, and what it read."""
        with torch.no_grad():
            if self._counts:
                self._sums[0].add_(cases)
            own = {cost.name: cost for cost in self._part.costs if cost.name in outputs}
            if self._cost.name in own:
                wrong = mistakes(own[self._cost.name], values_by_name(self._part, outputs, tensors))
                if wrong is not None:
                    self._sums[1].add_(wrong.sum(dtype=self._sums.dtype).to(self._sums.device))
            for i, cost in enumerate(self._program.costs):
                if cost.name in own:
                    # the product of a loss and a count is exact in float64
                    self._sums[2 + i].add_(outputs[cost.name].detach().to(self._sums.device), alpha=cases)

    def means(self) -> dict[str, Any]:
        """As metrics.jsonl has them: `loss` and `error` are those of the cost that steers."""
        cases, wrong, *losses = self.state()
        costs = {cost.name: loss / cases for cost, loss in zip(self._program.costs, losses, strict=True)}
        error = {"error": wrong / cases} if has_error(self._cost) else {}
        return {"cases": int(cases), "loss": costs[self._cost.name], **error, "costs": costs}

    @property
    def count(self) -> int:
        """How many sums there are in `state`."""
        return len(self._sums)

    def clear(self) -> None:
        self._sums.zero_()

    def state(self) -> list[float]:
        """For `load`, as JSON."""
        sums: list[float] = self._team.total(self._sums).tolist()
        return sums

    def load(self, state: list[float]) -> None:
        self.clear()
        if self._team.is_chief:
            self._sums.copy_(torch.tensor(state, dtype=self._sums.dtype))

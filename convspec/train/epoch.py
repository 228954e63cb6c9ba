"""Means over the training pictures of an epoch so far, kept on the device so that no step waits for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from convspec.program.program import Program
from convspec.train.evaluate import wide
from convspec.train.scores import has_error, mistakes, trained_cost, values_by_name


class EpochSums:
    """Sums of cases, of mistakes by the cost that steers (`trained_cost`), and of the loss of each cost."""

    def __init__(self, program: Program, device: torch.device) -> None:
        self._program, self._cost = program, trained_cost(program)
        self._sums = torch.zeros(2 + len(program.costs), dtype=wide(device), device=device)

    def add(self, outputs: dict[str, Tensor], tensors: dict[str, Tensor], cases: int) -> None:
        """outputs, tensors: what the network gave for a minibatch of `cases`, and what it read."""
        with torch.no_grad():
            self._sums[0] += cases
            wrong = mistakes(self._cost, values_by_name(self._program, outputs, tensors))
            if wrong is not None:
                self._sums[1] += wrong.sum(dtype=self._sums.dtype).to(self._sums.device)
            losses = [outputs[cost.name].detach().to(self._sums) for cost in self._program.costs]
            self._sums[2:] += torch.stack(losses) * cases

    def means(self) -> dict[str, Any]:
        """As metrics.jsonl has them: `loss` and `error` are those of the cost that steers."""
        cases, wrong, *losses = self._sums.tolist()
        costs = {cost.name: loss / cases for cost, loss in zip(self._program.costs, losses, strict=True)}
        error = {"error": wrong / cases} if has_error(self._cost) else {}
        return {"cases": int(cases), "loss": costs[self._cost.name], **error, "costs": costs}

    def clear(self) -> None:
        self._sums.zero_()

    def state(self) -> list[float]:
        """For `load`, as JSON."""
        sums: list[float] = self._sums.tolist()
        return sums

    def load(self, state: list[float]) -> None:
        self._sums.copy_(torch.tensor(state, dtype=self._sums.dtype))

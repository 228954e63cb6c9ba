"""The test pass: costs and error rates of a network over a stream of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convspec.data.batches import Batch
from convspec.program.program import Program
from convspec.train.inputs import InputTensors
from convspec.train.scores import CostResult, batch_sums, cost_result, trained_cost, values_by_name, with_totals
from convspec.train.team import ALONE, Team

MOST_CLASSES = 20
"""Of more classes than this, precision and recall are shown as means; metrics.jsonl has all."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Results by the name of the cost layer. steering: the cost that the schedule goes by, see `trained_cost`."""

    cases: int
    steering: str
    costs: Mapping[str, CostResult]

    @property
    def error(self) -> float | None:
        """Error rate of the steering cost, in [0, 1]; None if it has none."""
        return self.costs[self.steering].error

    @property
    def score(self) -> float:
        """What the schedule goes by; lower is better: that error rate, or the value of a cost that has none."""
        return self.costs[self.steering].loss if self.error is None else self.error

    def record(self) -> dict[str, Any]:
        """As it stands in metrics.jsonl."""
        error = {} if self.error is None else {"error": self.error}
        return {
            "cases": self.cases,
            "loss": self.costs[self.steering].loss,
            **error,
            "costs": {name: cost.record() for name, cost in self.costs.items()},
        }

    def text(self) -> str:
        """All costs on one line."""
        return "; ".join(cost.text(name) for name, cost in self.costs.items())

    def class_lines(self, classes: Sequence[str]) -> list[str]:
        """A line a class, with its precision and recall, for each cost that has them; of many classes their means."""
        lines = []
        for name, cost in self.costs.items():
            if cost.precision is None or cost.recall is None:
                continue
            rows = list(zip(cost.precision, cost.recall, strict=True))
            if len(rows) > MOST_CLASSES:
                means = [_share(_mean(column)) for column in (cost.precision, cost.recall)]
                lines.append(f"  {name}: mean precision {means[0]}, mean recall {means[1]} of {len(rows)} classes")
                continue
            for i, (precision, recall) in enumerate(rows):
                title = classes[i] if i < len(classes) else f"output {i}"
                lines.append(f"  {name}, {title}: precision {_share(precision)}, recall {_share(recall)}")
        return lines


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def evaluate(
    net: nn.Module,
    program: Program,
    batches: Iterable[Batch],
    inputs: InputTensors,
    *,
    autocast: torch.autocast,
    team: Team = ALONE,
    should_stop: Callable[[], bool] = lambda: False,
) -> Validation | None:
    """Run the network over all batches in evaluation mode; None if `should_stop` said so on the way.

    team: the processes that have the parts of the network, each of which calls this.

    Leaves the network in the mode and the random generators in the state that they had.
    """
    part = team.part(program)
    sums: dict[str, dict[str, Tensor]] = {cost.name: {} for cost in part.costs}
    cases, was_training = 0, net.training
    net.eval()
    try:
        for batch in batches:
            if should_stop():
                return None
            tensors, labels = inputs(batch)
            with torch.inference_mode(), autocast:
                outputs = net(tensors)
            values = values_by_name(part, outputs, tensors)
            for cost in part.costs:
                found = batch_sums(cost, values, len(labels), wide(labels.device))
                _add(sums[cost.name], found)
            cases += len(labels)
    finally:
        net.train(was_training)
    sums = team.merged(sums)
    results = {cost.name: cost_result(cost, sums[cost.name], cases) for cost in program.costs}
    return Validation(cases, trained_cost(program).name, with_totals(program, results))


def _add(sums: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    for name, value in more.items():
        sums[name] = sums[name] + value if name in sums else value


def wide(device: torch.device) -> torch.dtype:
    """The widest float of a device, for sums."""
    return torch.float32 if device.type == "mps" else torch.float64

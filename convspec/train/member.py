"""One run of a test: what it says of each batch, averaged over views, and what that sums to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convspec.data import Batch, Dataset
from convspec.data.views import cut_views, views_of
from convspec.program.costs import Cost
from convspec.program.program import LABEL_COSTS
from convspec.train.averaging import averaged_loss, averaged_value, probabilities
from convspec.train.evaluate import Validation, wide
from convspec.train.scores import CostResult, Values, batch_sums, cost_result, credit, values_by_name, with_totals
from convspec.train.trained import Trained

TOP = 5
"""The k of the second error rate that is given of every network with more classes than this, as the paper does."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run. views: of each picture, two where ten would be five times the same. top5: error rate of the first five
    guesses, None where there are no more classes than that, or no labels."""

    run: Path
    checkpoint: str
    views: int
    validation: Validation
    top5: float | None


@dataclass(slots=True)
class Sums:
    """Sums over cases of what a cost has to report, and of the first five guesses."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    cases: int = 0

    def add(self, cost: Cost, values: Values, cases: int) -> None:
        found = batch_sums(cost, values, cases, wide(values[cost.name].device))
        judged = None if cost.predictions is None else values[cost.predictions].flatten(1)
        if judged is not None and isinstance(cost, LABEL_COSTS) and judged.shape[1] > TOP:
            found["top5"] = (1 - credit(judged, values[cost.inputs[0]].flatten().long(), TOP)).sum()
        for name, value in found.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.cases += cases

    def top5(self) -> float | None:
        return float(self.sums["top5"]) / self.cases if "top5" in self.sums else None

    def result(self, cost: Cost) -> CostResult:
        return cost_result(cost, self.sums, self.cases)


class Member:
    """A run of a test, with its views and its sums."""

    def __init__(self, trained: Trained, dataset: Dataset, views: int) -> None:
        self.trained, self.dataset = trained, dataset
        _, height, width = trained.input_shape
        self._places = views_of(dataset.shape[:2], (height, width), views)
        self.begin()
        assert trained.cost is not None
        self.cost: Cost = trained.cost

    @property
    def views(self) -> int:
        return len(self._places)

    @property
    def judged(self) -> str | None:
        """The value that the steering cost judges, if it has an error rate."""
        return self.cost.predictions

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs that the steering cost judges, those of the data first."""
        known, value = self.dataset.classes, self.trained.program.values[str(self.judged)]
        count = max(2, value.shape.features)
        return tuple(known[i] if i < len(known) else f"output {i}" for i in range(count))

    def make_room(self, pictures: int) -> None:
        """For so many of them at a time."""
        channels, height, width = self.trained.input_shape
        self._crops = np.empty((pictures, self.views, height, width, channels), np.uint8)
        self._inputs = self.trained.inputs(pictures * self.views, self.dataset)

    def begin(self) -> None:
        """Forget what was summed."""
        self._sums = {cost.name: Sums() for cost in self.trained.program.costs}
        self.not_finite = 0

    def judge(self, batch: Batch) -> dict[str, Values]:
        """What each cost reads and gives, averaged over the views of each picture, by the name of the cost."""
        cases, views = len(batch.labels), self.views
        crops = self._crops[:cases]
        cut_views(batch.images, self._places, crops)
        sets = None if batch.sets is None else batch.sets.repeat(views, axis=0)
        rows = Batch(crops.reshape(cases * views, *crops.shape[2:]), batch.labels.repeat(views), sets)
        tensors, _ = self._inputs(rows)
        with torch.inference_mode(), self.trained.autocast():
            outputs = self.trained.net(tensors)
        values = values_by_name(self.trained.program, outputs, tensors)
        judged = {
            cost.name: values if views == 1 else _averaged(cost, values, cases) for cost in self.trained.program.costs
        }
        for cost in self.trained.program.costs:
            self._sums[cost.name].add(cost, judged[cost.name], cases)
        if self.judged is not None:
            is_finite = judged[self.cost.name][self.judged].flatten(1).isfinite().all(1)
            self.not_finite += cases - int(is_finite.sum())
        return judged

    def predictions(self, values: Values) -> Tensor:
        """What of the `values` of the steering cost is averaged over runs, (N, classes)."""
        judged = values[str(self.judged)]
        return probabilities(self.cost, judged) if self.views == 1 else judged

    def outcome(self) -> Outcome:
        costs = self.trained.program.costs
        found = {cost.name: self._sums[cost.name].result(cost) for cost in costs}
        steering = self._sums[self.cost.name]
        validation = Validation(steering.cases, self.cost.name, with_totals(self.trained.program, found))
        return Outcome(self.trained.run_dir, self.trained.checkpoint, self.views, validation, steering.top5())


def _averaged(cost: Cost, values: Values, cases: int) -> Values:
    """`values`, whose rows are the views of each case, with averages in place of what the cost judges."""
    name = averaged_value(cost)
    if name is None:
        return values
    rows = probabilities(cost, values[name])
    average = rows.view(cases, -1, rows.shape[1]).mean(1)
    targets = values[cost.inputs[0]]
    return rejudged(cost, average, targets[:: len(targets) // cases], name)


def rejudged(cost: Cost, average: Tensor, targets: Tensor, name: str | None = None) -> Values:
    """What a cost would have read and given, had the network predicted `average`."""
    loss = averaged_loss(cost, average, targets)
    assert loss is not None
    return {name or str(cost.predictions): average, cost.inputs[0]: targets, cost.name: loss}

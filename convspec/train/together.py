"""Several runs in one test: what they must have in common, and what the average of their predictions says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convspec.data import Batch, Dataset, Split
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.program.costs import Cost, SubsetCrossEntropy
from convspec.program.program import LABEL_COSTS
from convspec.train.averaging import by_class
from convspec.train.confusion import Confusion
from convspec.train.member import Member, Sums, rejudged
from convspec.train.predictions import Guesses
from convspec.train.scores import CostResult, Values
from convspec.train.trained import Trained


@dataclass(frozen=True, slots=True)
class Together:
    """Of the average of several runs: what the cost that steers the first says of it, and top5 as in Outcome."""

    cost: CostResult
    top5: float | None


class Joint:
    """What is known of all runs of a test together, batch by batch: their average, its mistakes by class."""

    def __init__(
        self, members: Sequence[Member], take: Callable[[Guesses], None] | None, *, must_confuse: bool
    ) -> None:
        """take, must_confuse: see `Test.run`."""
        self._members, self._cost = members, members[0].cost
        self._take, self._must_confuse = take, must_confuse
        self._sums, self._cases = Sums(), 0
        self.confusion = None if members[0].judged is None else Confusion(members[0].classes)

    def add(self, batches: Sequence[Batch], judged: Sequence[Mapping[str, Values]]) -> None:
        """batches: of each run, the same pictures. judged: as `Member.judge` gives it for each."""
        first, batch, cost = self._members[0], batches[0], self._cost
        for member, theirs in zip(self._members, batches, strict=True):
            if not np.array_equal(theirs.labels, batch.labels):
                raise unlike(first.trained, member.trained, "their data give other labels to the same picture")
        if first.judged is None:
            return
        average = self._average(judged)
        if len(self._members) > 1:
            self._sums.add(cost, rejudged(cost, average, judged[0][cost.name][cost.inputs[0]]), len(batch.labels))
        guesses = by_class(average).cpu().numpy()
        if self._counts(batch) and self.confusion is not None:
            self.confusion.add(guesses, batch.labels)
        if self._take is not None:
            numbers = range(self._cases, self._cases + len(batch.labels))
            names = [first.dataset.picture_name(Split.TEST, number) for number in numbers]
            self._take(Guesses(guesses, batch.labels, batch.sets, names))
        self._cases += len(batch.labels)

    def together(self) -> Together | None:
        return Together(self._sums.result(self._cost), self._sums.top5()) if len(self._members) > 1 else None

    def _average(self, judged: Sequence[Mapping[str, Values]]) -> Tensor:
        """Predictions, (N, classes), averaged over the runs."""
        parts = [
            member.predictions(values[member.cost.name]) for member, values in zip(self._members, judged, strict=True)
        ]
        return torch.stack(parts).mean(0)

    def _counts(self, batch: Batch) -> bool:
        """Whether each picture has one label; from the first batch on in which one has not, nothing is counted."""
        if batch.sets is None or isinstance(self._cost, LABEL_COSTS) or int(batch.sets.sum(1).max()) <= 1:
            return True
        if self._must_confuse:
            raise no_classes(
                self._members[0].trained, "pictures have several labels, and none of them is taken for another"
            )
        self.confusion = None
        return False


def check_testable(run: Trained, *, averages: bool) -> None:
    """Raises DiagnosticError CS740 for a network without a cost, or one that cannot be averaged with others if it must."""
    if run.cost is None:
        raise no_classes(run, "it has no cost, so that nothing tells what is right")
    if averages and run.judged is None:
        raise no_classes(run, "it predicts no classes that could be averaged with those of other runs")


def check_together(runs: Sequence[Trained], datasets: Sequence[Dataset]) -> None:
    """Raises DiagnosticError CS741 for a run that tells other classes apart than the first, or has other test pictures."""
    for run, dataset in zip(runs[1:], datasets[1:], strict=True):
        if dataset.name != datasets[0].name:
            problem = f"they were trained on {datasets[0].name} and {dataset.name}"
            raise unlike(runs[0], run, problem, help="name the pictures to test them on with --data")
        difference = _difference(runs[0], run, datasets[0].classes, dataset.classes)
        if difference is not None:
            raise unlike(runs[0], run, difference)
        if _pictures(datasets[0]) != _pictures(dataset):
            raise unlike(runs[0], run, f"@data gives them other test pictures of {dataset.name}")


def _difference(first: Trained, run: Trained, classes: Sequence[str], others: Sequence[str]) -> str | None:
    outputs = tuple(
        each.program.values[str(each.cost and each.cost.predictions)].shape.features for each in (first, run)
    )
    if outputs[0] != outputs[1]:
        return f"they tell {outputs[0]} and {outputs[1]} classes apart"
    if len(classes) != len(others):
        return f"they were trained on {len(classes)} and {len(others)} classes"
    for number, (ours, theirs) in enumerate(zip(classes, others, strict=True)):
        if ours != theirs:
            return f"class {number} is '{ours}' to one and '{theirs}' to the other"
    if _judgement(first.cost) != _judgement(run.cost):
        return "their costs judge different things"
    return None


def _judgement(cost: Cost | None) -> tuple[object, ...]:
    """What the predictions that a cost judges mean."""
    return (type(cost), cost.set_size if isinstance(cost, SubsetCrossEntropy) else None)


def _pictures(dataset: Dataset) -> tuple[object, ...]:
    """What tells test pictures of one name apart: `photos` are cut for a size, and anew for each."""
    return (dataset.count(Split.TEST), dataset.shape if dataset.name == "photos" else None)


def is_same(dataset: Dataset, other: Dataset) -> bool:
    """Whether one can be read in place of the other."""
    return all(getattr(dataset, name) == getattr(other, name) for name in ("name", "shape", "classes", "fingerprint"))


def no_classes(run: Trained, why: str) -> DiagnosticError:
    """CS740."""
    costs = ", ".join(cost.name for cost in run.program.costs)
    notes = (f"its costs, {costs}, have no error rate: they judge no classes",) if costs and run.judged is None else ()
    help = "convspec test without more prints the values of its costs" if costs else None
    return DiagnosticError(Diagnostic("CS740", f"{run.run_dir}: {why}", notes=notes, help=help))


def unlike(first: Trained, run: Trained, problem: str, help: str | None = None) -> DiagnosticError:
    """CS741."""
    message = f"{first.run_dir} and {run.run_dir} cannot be averaged: {problem}"
    return DiagnosticError(Diagnostic("CS741", message, help=help or "test each by itself"))

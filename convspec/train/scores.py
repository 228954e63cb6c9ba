"""What is reported of a cost beside its value: error rates, and what is right of each class.

A batch gives sums over its cases, so that means over batches of any size are means over cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, assert_never

import torch
from torch import Tensor

from convspec.program.costs import (
    BinaryCrossEntropy,
    Cost,
    CrossEntropy,
    GatedSumOfSquares,
    LogSquareError,
    NegativeLogLikelihood,
    SubsetCrossEntropy,
    SumOfSquares,
    TopographicEnergy,
)
from convspec.program.features import Slice
from convspec.program.moves import Transfer
from convspec.program.program import Program

Values = Mapping[str, Tensor]


class CostResult(NamedTuple):
    """Means over the cases; None is what the cost has not. All but `loss` and `total` are in [0, 1].

    loss: value of the cost. error: of the first guess. topk_error: of the first `k` guesses.
    output_error: share of outputs on the wrong side of 1/2.
    precision, recall: of each class, None where nothing was declared, or nothing is there.
    total: the losses of this cost and of its children and theirs, for a cost with `children=`.
    """

    loss: float
    error: float | None = None
    topk_error: float | None = None
    k: int | None = None
    output_error: float | None = None
    precision: list[float | None] | None = None
    recall: list[float | None] | None = None
    total: float | None = None

    def record(self) -> dict[str, Any]:
        """As it stands in metrics.jsonl."""
        return {key: value for key, value in self._asdict().items() if value is not None}

    def text(self, name: str) -> str:
        """On one line: `logprob 0.9873, top-1 error 18.9%, top-5 error 0.0%`. The error among the first one is said once."""
        parts = [f"{name} {self.loss:.4f}"]
        if self.total is not None:
            parts.append(f"with its children {self.total:.4f}")
        if self.error is not None:
            parts.append(f"{'top-1 ' if self.k is not None else ''}error {self.error:.1%}")
        if self.k is not None and self.k > 1 and self.topk_error is not None:
            parts.append(f"top-{self.k} error {self.topk_error:.1%}")
        if self.output_error is not None:
            parts.append(f"wrong outputs {self.output_error:.2%}")
        return ", ".join(parts)


def values_by_name(program: Program, outputs: Values, inputs: Values) -> dict[str, Tensor]:
    """What a forward pass read and gave, by the names of the program's values; parts of what it read are values too."""
    values = {op.name: inputs[op.key] for op in program.inputs}
    values |= {o.value: outputs[o.layer].detach() for o in program.outputs if o.layer in outputs}
    for op in program.operators:
        if isinstance(op, Slice) and op.inputs[0] in values:
            values[op.name] = values[op.inputs[0]][:, op.start : op.stop]
        if isinstance(op, Transfer) and op.inputs[0] in values:
            values[op.name] = values[op.inputs[0]]
    return values


def _judged(cost: Cost, predictions: str, values: Values) -> tuple[Tensor, Tensor]:
    """What a cost judges, (N, K), and what is right, on the device of the predictions."""
    scores = values[predictions].flatten(1)
    return scores, values[cost.inputs[0]].to(scores.device)


def has_error(cost: Cost) -> bool:
    """Whether an error rate of its first guess is reported."""
    return cost.predictions is not None


def trained_cost(program: Program) -> Cost:
    """The cost that steers the schedule: of those with weight in the objective the first that has an error rate, or else
    the first. Its error counts, or its value."""
    trained = [cost for cost in program.costs if cost.coefficient] or program.costs
    return next((cost for cost in trained if has_error(cost)), trained[0])


def mistakes(cost: Cost, values: Values) -> Tensor | None:
    """How wrong the first guess of each case is, (N,) in [0, 1]; None for a cost without error rates."""
    if cost.predictions is None:
        return None
    scores, targets = _judged(cost, cost.predictions, values)
    match cost:
        case NegativeLogLikelihood() | SubsetCrossEntropy():
            return 1 - credit(scores, targets.flatten().long(), 1)
        case BinaryCrossEntropy() if scores.shape[1] == 1:
            return wrong_outputs(scores, targets.flatten(1))
        case CrossEntropy() | BinaryCrossEntropy():
            return 1 - shared_credit(scores, targets.flatten(1))
        case LogSquareError() | SumOfSquares() | GatedSumOfSquares() | TopographicEnergy():
            return None
        case _:
            assert_never(cost)


def batch_sums(cost: Cost, values: Values, cases: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Sums over a batch of all that `cost_result` needs, by its name."""
    sums = {"loss": values[cost.name].to(dtype) * cases}
    wrong = mistakes(cost, values)
    if wrong is None or cost.predictions is None:
        return sums
    sums["error"] = wrong.sum(dtype=dtype)
    scores, targets = _judged(cost, cost.predictions, values)
    match cost:
        case NegativeLogLikelihood(top_k=k) | SubsetCrossEntropy(set_size=k):
            sums["topk_error"] = (1 - credit(scores, targets.flatten().long(), k)).sum(dtype=dtype)
        case BinaryCrossEntropy(counts_classes=counts_classes):
            is_there, is_declared = targets.flatten(1), scores > 0.5
            sums["output_error"] = wrong_outputs(scores, is_there).sum(dtype=dtype)
            if counts_classes:
                sums["declared"] = is_declared.sum(0, dtype=dtype)
                sums["there"] = is_there.sum(0, dtype=dtype)
                sums["right"] = (is_there * is_declared).sum(0, dtype=dtype)
        case _:
            pass
    return sums


def cost_result(cost: Cost, sums: Values, cases: int) -> CostResult:
    """Means from the sums over `cases` cases; `total` is left to `with_totals`."""
    error, topk_error, output_error = (
        float(sums[name]) / cases if name in sums else None for name in ("error", "topk_error", "output_error")
    )
    found = CostResult(float(sums["loss"]) / cases, error, topk_error, output_error=output_error)
    match cost:
        case NegativeLogLikelihood(top_k=k) | SubsetCrossEntropy(set_size=k):
            return found._replace(k=k)
        case BinaryCrossEntropy(counts_classes=True):
            right, declared, there = (sums[name].tolist() for name in ("right", "declared", "there"))
            return found._replace(precision=_shares(right, declared), recall=_shares(right, there))
        case _:
            return found


def with_totals(program: Program, results: Mapping[str, CostResult]) -> dict[str, CostResult]:
    """Results in which a cost with children has the sum of its loss and of those below it, each counted once."""
    children = {cost.name: cost.children for cost in program.costs}
    totals = dict(results)
    for name, direct in children.items():
        if not direct:
            continue
        family, waiting = [name], [*direct]
        while waiting:
            child = waiting.pop()
            if child not in family:
                family.append(child)
                waiting.extend(children[child])
        totals[name] = results[name]._replace(total=sum(results[member].loss for member in family))
    return totals


def _shares(parts: list[float], wholes: list[float]) -> list[float | None]:
    return [part / whole if whole else None for part, whole in zip(parts, wholes, strict=True)]


def credit(probabilities: Tensor, labels: Tensor, k: int) -> Tensor:
    """Share of a correct answer among the first k for each case, (N,), from (N, classes) and (N,).

    Classes of equal probability share the places that they compete for: c2 layer_kernels.cu:36-60, 217-250. A label
    whose probability is not a number earns nothing.
    """
    of_label = probabilities.gather(1, labels[:, None])
    places = k - (probabilities > of_label).sum(1)
    tied = (probabilities == of_label).sum(1)
    share = (places / tied.clamp(min=1)).clamp(0, 1)
    return share * (tied > 0)


def shared_credit(scores: Tensor, targets: Tensor) -> Tensor:
    """Share of a correct first guess for each case, (N,), where several classes may be right; both are (N, classes).

    1 / n if one of the n classes of the largest score has a target above 0: c2 layer_kernels.cu:62-120. A case without
    positive targets earns nothing, nor does one whose scores are not numbers.
    """
    is_first = scores == scores.amax(1, keepdim=True)
    is_right = (is_first & (targets > 0)).any(1)
    return is_right / is_first.sum(1).clamp(min=1)


def wrong_outputs(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of the outputs of each case on the other side of 1/2 than their target, (N,); both are (N, outputs)."""
    return ((outputs > 0.5) != targets).mean(1, dtype=torch.promote_types(outputs.dtype, torch.float32))

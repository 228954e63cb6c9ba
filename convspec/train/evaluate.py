"""The test pass: costs and error rates of a network over a stream of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convspec.data.batches import Batch
from convspec.program.operators import NegativeLogLikelihood
from convspec.program.program import Program
from convspec.train.inputs import InputTensors


@dataclass(frozen=True, slots=True)
class CostResult:
    """Means over the test cases. loss: the cost. error, topk_error: in [0, 1]; `k` of the second."""

    loss: float
    error: float
    topk_error: float
    k: int


@dataclass(frozen=True, slots=True)
class Validation:
    """Results by the name of the cost layer; `error` is that of the one that is trained."""

    cases: int
    error: float
    costs: Mapping[str, CostResult]

    def record(self) -> dict[str, Any]:
        """As it stands in metrics.jsonl."""
        return {
            "cases": self.cases,
            "error": self.error,
            "costs": {name: asdict(cost) for name, cost in self.costs.items()},
        }


def credit(probabilities: Tensor, labels: Tensor, k: int) -> Tensor:
    """Share of a correct answer among the first k for each case, (N,), from (N, classes) and (N,).

    Classes of equal probability share the places that they compete for: c2 layer_kernels.cu:36-60, 217-250. A label
    whose probability is not a number earns nothing.
    """
    of_label = probabilities.gather(1, labels[:, None])
    places = k - (probabilities > of_label).sum(1)
    tied = (probabilities == of_label).sum(1)
    share = (places / tied.clamp(min=1)).clamp(0, 1)
    return torch.where(tied > 0, share, torch.zeros_like(share))


def trained_cost(program: Program) -> NegativeLogLikelihood:
    """The cost whose error steers the schedule: the first that has weight in the objective."""
    return next((cost for cost in program.costs if cost.coefficient), program.costs[0])


def evaluate(
    net: nn.Module,
    program: Program,
    batches: Iterable[Batch],
    inputs: InputTensors,
    *,
    autocast: torch.autocast,
    should_stop: Callable[[], bool] = lambda: False,
) -> Validation | None:
    """Run the network over all batches in evaluation mode; None if `should_stop` said so on the way.

    Leaves the network in the mode and the random generators in the state that they had.
    """
    sums: dict[str, Tensor] = {}
    cases, was_training = 0, net.training
    net.eval()
    try:
        for batch in batches:
            if should_stop():
                return None
            tensors, labels = inputs(batch)
            with torch.inference_mode(), autocast:
                outputs = net(tensors)
            for cost in program.costs:
                batch_sums = _sums(cost, outputs, labels)
                sums[cost.name] = sums[cost.name] + batch_sums if cost.name in sums else batch_sums
            cases += len(labels)
    finally:
        net.train(was_training)
    costs = {cost.name: _result(sums[cost.name].tolist(), cases, cost.top_k) for cost in program.costs}
    return Validation(cases, costs[trained_cost(program).name].error, costs)


def _sums(cost: NegativeLogLikelihood, outputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """Loss, top-1 credit and top-k credit summed over a batch, (3,), float64 where the device has it."""
    probabilities = outputs[cost.predictions].detach()
    return torch.stack(
        [
            outputs[cost.name].detach().to(wide(labels.device)) * len(labels),
            credit(probabilities, labels, 1).sum(dtype=wide(labels.device)),
            credit(probabilities, labels, cost.top_k).sum(dtype=wide(labels.device)),
        ]
    )


def wide(device: torch.device) -> torch.dtype:
    """The widest float of a device, for sums."""
    return torch.float32 if device.type == "mps" else torch.float64


def _result(sums: list[float], cases: int, k: int) -> CostResult:
    loss, top1, topk = (total / cases for total in sums)
    return CostResult(loss, 1 - top1, 1 - topk, k)

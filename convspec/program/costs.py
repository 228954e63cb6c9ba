"""The operators that training makes small. Each gives one number, the mean over the cases of what it says of a case.

Those that judge predictions read what is right first, then the predictions. Formulas are those of
`convspec_kernels.objectives`.
"""

from __future__ import annotations

from dataclasses import dataclass

from convspec.program.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOperator(Operator):
    """What all costs share.

    coefficient: weight of this cost in the objective; 0 only reports it.
    predictions: name of the value that holds what is judged, for the error rates; None where there are no rates.
    children: names of costs whose values are reported in one sum with this one's.
    """

    coefficient: float
    predictions: str | None = None
    children: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeLogLikelihood(CostOperator):
    """-log of the probability of the label; inputs (labels, predictions).

    top_k: the k of the second error rate that is reported beside top-1; at least 1.
    from_logits: the predictions are the inputs of the softmax, not its outputs; fused so that the gradient is finite.
    """

    top_k: int
    from_logits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy(CostOperator):
    """-sum of t * log(p) over the classes; inputs (targets, predictions). `from_logits` as above."""

    from_logits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryCrossEntropy(CostOperator):
    """-sum of w * t * log(p) + (1 - t) * log(1 - p) over the classes; inputs (targets, predictions).

    positive_weight: w. counts_classes: precision and recall of each class are reported.
    from_logits: the predictions are the inputs of the sigmoid, not its outputs.
    """

    positive_weight: float = 1.0
    counts_classes: bool = False
    from_logits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSquareError(CostOperator):
    """Sum of log(1 + (p - t)**2) over the classes; inputs (targets, predictions)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetCrossEntropy(CostOperator):
    """-log of the probability that a random set of `set_size` classes holds the label; inputs (labels, energies)."""

    set_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SumOfSquares(CostOperator):
    """Sum of the squares of all numbers of a case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedSumOfSquares(CostOperator):
    """A gate times the sum of squares; inputs (gate, values), one gate a case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopographicEnergy(CostOperator):
    """Sum over the pixels of all maps of the root of the sum of squares over `size` x `size` neighbours."""

    size: int


Cost = (
    NegativeLogLikelihood
    | CrossEntropy
    | BinaryCrossEntropy
    | LogSquareError
    | SubsetCrossEntropy
    | SumOfSquares
    | GatedSumOfSquares
    | TopographicEnergy
)

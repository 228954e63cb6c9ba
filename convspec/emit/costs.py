"""Python expressions for costs: a scalar each, from `torch.nn.functional` or `convspec_kernels`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

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


def cost_expression(op: Cost, operands: Sequence[str]) -> str:
    """A scalar. What belongs to a case is flat: (N, K), or (N,) for the number of a class."""
    match op:
        case NegativeLogLikelihood(from_logits=from_logits):
            labels, scores = operands
            return f"F.cross_entropy({scores}, {labels})" if from_logits else f"F.nll_loss({scores}.log(), {labels})"
        case CrossEntropy(from_logits=from_logits):
            targets, scores = operands
            return f"{'F.' if from_logits else ''}cross_entropy({scores}, {targets})"
        case BinaryCrossEntropy(positive_weight=weight, from_logits=from_logits):
            targets, scores = operands
            name = f"binary_cross_entropy{'_with_logits' if from_logits else ''}"
            weighted = "" if weight == 1 else f", positive_weight={weight!r}"
            return f"{name}({scores}, {targets}{weighted})"
        case LogSquareError():
            targets, values = operands
            return f"log_square_error({values}, {targets})"
        case SubsetCrossEntropy(set_size=set_size):
            labels, energies = operands
            return f"subset_cross_entropy({energies}, {labels}, set_size={set_size})"
        case SumOfSquares():
            return f"sum_of_squares({operands[0]})"
        case GatedSumOfSquares():
            gate, values = operands
            return f"gated_sum_of_squares({gate}, {values})"
        case TopographicEnergy(size=size):
            return f"topographic_energy({operands[0]}, {size})"
        case _:
            assert_never(op)

"""What autograd keeps of the costs: tensors of (cases, classes), small beside what is below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from convspec.plan.recorder import FLOAT, Recorder, Value
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

_LABEL = 8


def record_cost(op: Cost, operands: Sequence[Value], recorder: Recorder) -> Value:
    """A scalar over what the cost judges."""
    scores = operands[-1]
    match op:
        case NegativeLogLikelihood(from_logits=from_logits) | CrossEntropy(from_logits=from_logits):
            logarithms = recorder.elementwise(
                scores, saves_result=from_logits, saves=[] if from_logits else [scores], width=FLOAT
            )
            return _mean(op, logarithms, recorder)
        case BinaryCrossEntropy():
            terms = _chain(scores, recorder, 4)
            return _mean(op, terms, recorder)
        case LogSquareError():
            return _mean(op, _chain(scores, recorder, 2), recorder)
        case SubsetCrossEntropy():
            return _mean(op, _chain(scores, recorder, 4), recorder)
        case SumOfSquares() | GatedSumOfSquares():
            return _mean(op, recorder.elementwise(recorder.cast(scores, FLOAT), saves=[scores]), recorder)
        case TopographicEnergy():
            return _mean(op, _chain(scores, recorder, 3), recorder)
        case _:
            assert_never(op)


def _chain(x: Value, recorder: Recorder, count: int) -> Value:
    """So many functions after one another, each of which keeps what it reads."""
    for _ in range(count):
        x = recorder.elementwise(x, saves=[x], width=FLOAT)
    return x


def _mean(op: Cost, terms: Value, recorder: Recorder) -> Value:
    """One number for the batch."""
    return recorder.call([terms], op.shape, FLOAT)

"""Averages over views and networks: of what comes after the softmax (section 4.1), and what the costs say of them."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

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
from convspec.train.evaluate import wide
from convspec_kernels.objectives import binary_cross_entropy, cross_entropy, log_square_error
from convspec_kernels.symmetric import log_elementary_symmetric


def averaged_value(cost: Cost) -> str | None:
    """The value whose averages a cost can judge; None where only the cost itself can be averaged."""
    match cost:
        case LogSquareError():
            return cost.inputs[1]
        case BinaryCrossEntropy(predictions=None, from_logits=False):
            return cost.inputs[1]
        case _:
            return cost.predictions


def probabilities(cost: Cost, judged: Tensor) -> Tensor:
    """What of `judged`, (N, ...), is averaged, (N, classes), in the widest float there is.

    That is what the network gives, a softmax mostly; of energies the probability that each class is in the set.
    """
    scores = judged.flatten(1).to(wide(judged.device))
    match cost:
        case SubsetCrossEntropy(set_size=size):
            return _memberships(scores, size)
        case _:
            return scores


def by_class(average: Tensor) -> Tensor:
    """A column a class, of which the largest is the guess; a single output says how likely the second of two classes is."""
    return torch.cat([1 - average, average], 1) if average.shape[1] == 1 else average


def averaged_loss(cost: Cost, average: Tensor, targets: Tensor) -> Tensor | None:
    """The cost of averages of `probabilities`, a scalar, the mean over the cases; None for a cost that judges nothing."""
    match cost:
        case NegativeLogLikelihood() | SubsetCrossEntropy():
            return F.nll_loss(average.log(), targets.flatten().long())
        case CrossEntropy():
            return cross_entropy(average, targets)
        case BinaryCrossEntropy(positive_weight=weight):
            return binary_cross_entropy(average, targets, positive_weight=weight)
        case LogSquareError():
            return log_square_error(average, targets)
        case SumOfSquares() | GatedSumOfSquares() | TopographicEnergy():
            return None
        case _:
            assert_never(cost)


def _memberships(energies: Tensor, size: int) -> Tensor:
    """The probability that each class is in a random set of `size`, (N, classes): the slope of the log of the sum over all
    sets, see `convspec_kernels.subset_cross_entropy`. They sum to `size`."""
    with torch.inference_mode(False), torch.enable_grad():
        # one constant for all energies of a case changes no probability, and keeps the sums small
        x = (energies - energies.topk(size).values[:, -1:]).clone().requires_grad_()
        [slopes] = torch.autograd.grad(log_elementary_symmetric(x, size)[:, -1].sum(), x)
    return slopes

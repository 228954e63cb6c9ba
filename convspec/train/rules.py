"""What surrounds torch's step where a spec asks for more than the plain rule: before it, the gradient of a parameter
becomes what momentum is to take up; after it, filters are brought back to where they are held.

    period    G <- G + share g at each minibatch; at each `period`-th, g <- G / period and G <- 0
    damping   m <- a m + (1 - a) g;  q <- a q + (1 - a) g^2;  g <- g / sqrt(q - m^2 + damping), a the averaging rate
    noise     g <- (1 + |y| noise) g + decay (1 + |z| noise) w, with y and z ~ N(0,1) of its own for each matrix and step
    divisors  g <- g / s + decay w / s^2, s the divisor of a row

The 2012 code subtracts m where m^2 is meant and so takes roots of negative numbers (weights.cu:133-191); that is not
repeated here. Its noise comes from one generator; ours is a function of the seed, the step and the canonical name of
the matrix, so that it is the same under each placement, and in a run that was stopped and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from convspec.data import draws
from convspec.data.draws import Stream
from convspec.program.program import Constraint, Parameter, Update
from convspec.train.blocks import region

NORMALISED_MOMENTUM = 0.9


def takes_decay(update: Update) -> bool:
    """Whether `GradientRule` puts the decay into the gradient, so that torch must not."""
    return bool(update.rate.noise or update.divisors)


def is_plain(update: Update) -> bool:
    """Whether torch's rule takes the gradient as it is."""
    return update.period == 1 and not (update.counts_cases or update.damping or takes_decay(update))


class GradientRule:
    """Makes of the gradients of one parameter what torch's rule is given. `memory`: what lasts from step to step."""

    def __init__(self, parameter: Parameter, tensor: nn.Parameter, seed: int) -> None:
        self._parameter, self._tensor, self._seed = parameter, tensor, seed
        self._update = update = parameter.update
        kept = [*(["sum"] if update.period > 1 else []), *(["mean", "square"] if update.damping else [])]
        self.memory: dict[str, Tensor] = {name: torch.zeros_like(tensor, requires_grad=False) for name in kept}
        self._names = np.array([crc32(block.name.encode()) for block in parameter.blocks], dtype=np.int64)
        divisors = torch.tensor(update.divisors or 1, dtype=tensor.dtype, device=tensor.device)
        self._divisors = divisors.reshape(-1, *[1] * (tensor.dim() - 1))

    @torch.no_grad()
    def prepare(self, number: int, share: float) -> None:
        """Replace the gradient of minibatch `number` of the run, which is `share` of a full one; by None before the
        end of a period."""
        gradient, update = self._tensor.grad, self._update
        if gradient is None:
            return
        if update.period > 1:
            total = self.memory["sum"].add_(gradient, alpha=share)
            self._tensor.grad = None
            if not is_due(update, number):
                return
            gradient = total / update.period
            total.zero_()
        elif update.counts_cases and share != 1:
            gradient = gradient * share
        if update.damping:
            gradient = self._normalised(gradient)
        if takes_decay(update):
            gradient = self._with_decay(gradient, number)
        self._tensor.grad = gradient

    def _normalised(self, gradient: Tensor) -> Tensor:
        mean, square, weight = self.memory["mean"], self.memory["square"], 1 - self._update.momentum
        mean.lerp_(gradient, weight)
        square.lerp_(gradient * gradient, weight)
        return gradient / (square - mean * mean + self._update.damping).sqrt()

    def _with_decay(self, gradient: Tensor, number: int) -> Tensor:
        result = gradient.clone()
        decay, noise = self._update.decay, self._update.rate.noise
        key = (self._seed, number, Stream.RATE_NOISE)
        ups = 1 + noise * np.abs(draws.normals(self._names, *key, 0))
        downs = 1 + noise * np.abs(draws.normals(self._names, *key, 1))
        decayed = self._tensor / self._divisors
        for block, up, down in zip(self._parameter.blocks, ups.tolist(), downs.tolist(), strict=True):
            part = region(block)
            result[part].mul_(up)
            if decay:
                result[part].add_(decayed[part], alpha=decay * down)
        return result / self._divisors


def is_due(update: Update, number: int) -> bool:
    """Whether minibatch `number` of the run, from 0, ends a period."""
    return (number + 1) % update.period == 0


@torch.no_grad()
def constrain(parameter: Parameter, tensor: Tensor) -> None:
    """Bring the filters of each matrix in `tensor` to where the constraint of `parameter` holds them, in place.

    A filter without spread, or without norm, cannot be scaled to one and stays.
    """
    for block in parameter.blocks:
        matrix = tensor[region(block)]
        for factor in _factors(matrix, parameter.update.constraint):
            matrix.mul_(factor)


def _factors(matrix: Tensor, constraint: Constraint) -> Iterator[Tensor]:
    """What to multiply each filter of a matrix by, one after the other; each sees what the one before it left."""
    filters = {axis % matrix.dim() for axis in constraint.axes}
    inner = [0, *(axis + 1 for axis in range(matrix.dim()) if axis not in filters)]
    # rows as parts x rows of a part, so that a filter may have a row in each part
    matrix = matrix.reshape(constraint.parts, -1, *matrix.shape[1:])
    count = prod(matrix.shape[axis] for axis in inner)
    least, most = constraint.spread
    if most > 0:
        centred = matrix - matrix.mean(inner, keepdim=True)
        spread = centred.square().sum(inner, keepdim=True).sqrt() / count
        yield _for_each_part(torch.where(spread > 0, spread.clamp(least, most) / spread, 1.0), constraint.parts)
    if constraint.norm > 0:
        bound = constraint.norm * (count if constraint.counts_weights else 1)
        norm = matrix.square().sum(inner, keepdim=True).sqrt()
        wanted = torch.full_like(norm, bound) if constraint.is_exact else norm.clamp(max=bound)
        yield _for_each_part(torch.where(norm > 0, wanted / norm, 1.0), constraint.parts)


def _for_each_part(factors: Tensor, parts: int) -> Tensor:
    return factors.expand(parts, *factors.shape[1:]).flatten(0, 1)

"""What training makes small: the costs of cuda-convnet, each as one number, the mean over the cases of a batch.

Plain differentiable torch. Values `(N, K)` may be maps as well, `(N, C, H, W)`: a case is then all its numbers. What is
narrower than float32 is computed and given in float32. Everything says ValueError where its arguments make no sense.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from convspec_kernels.symmetric import log_elementary_symmetric

LOG_OF_ZERO = -50.0
"""What the originals put for log(0), and for the log of what is below (cuda-convnet2 layer_kernels.cuh:30)."""


def cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Minus the sum over classes of `targets * log(probabilities)`, where log(0) is -50 with slope 0.

    From the inputs of a softmax, `torch.nn.functional.cross_entropy` gives the same, and finite slopes everywhere.

    Args:
        probabilities: (N, K).
        targets: (N, K), each at least 0; of one-hot targets it is -log of the probability of the label.

    Returns:
        A scalar.

    Raises:
        ValueError: the two differ in shape.
    """
    p, t = _alike(probabilities, targets)
    return _mean(-t * _safe_log(p))


def binary_cross_entropy(probabilities: Tensor, targets: Tensor, *, positive_weight: float = 1.0) -> Tensor:
    """Sum over classes of the cost of K independent decisions, where log(0) is -50 with slope 0.

        -positive_weight * t * log(p) - (1 - t) * log(1 - p)

    Args:
        probabilities: (N, K); outside [0, 1] a logarithm is -50.
        targets: (N, K), in [0, 1].
        positive_weight: what a positive counts beside a negative.

    Returns:
        A scalar: the sum over classes, the mean over cases.

    Raises:
        ValueError: the two differ in shape.
    """
    p, t = _alike(probabilities, targets)
    return _mean(-positive_weight * t * _safe_log(p) - (1 - t) * _safe_log(1 - p))


def binary_cross_entropy_with_logits(logits: Tensor, targets: Tensor, *, positive_weight: float = 1.0) -> Tensor:
    """`binary_cross_entropy` of `sigmoid(logits)`, exact where a probability rounds to 0 or 1.

    Its slope is `(1 - t) * p - positive_weight * t * (1 - p)`, which is `p - t` for a weight of 1.

    Args:
        logits: (N, K).
        targets: (N, K), in [0, 1].
        positive_weight: what a positive counts beside a negative.

    Returns:
        A scalar: the sum over classes, the mean over cases.

    Raises:
        ValueError: the two differ in shape.
    """
    x, t = _alike(logits, targets)
    return _mean(-positive_weight * t * F.logsigmoid(x) - (1 - t) * F.logsigmoid(-x))


def sum_of_squares(x: Tensor) -> Tensor:
    """Sum of the squares of a case, without a factor of 1/2; the mean over cases. `x`: (N, ...)."""
    return _mean(_wide(x).square())


def gated_sum_of_squares(gate: Tensor, x: Tensor) -> Tensor:
    """`gate * sum of x**2` of a case; the mean over cases.

    Args:
        gate: (N, 1) or (N,).
        x: (N, ...).

    Returns:
        A scalar, which has a gradient to both.

    Raises:
        ValueError: `gate` has not one number a case.
    """
    if gate.numel() != len(x):
        raise ValueError(f"a gate is one number for each of {len(x)} cases, not {tuple(gate.shape)}")
    squares = _wide(x).square().flatten(1).sum(1)
    return (gate.reshape(-1).to(squares.dtype) * squares).mean()


def log_square_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Sum over classes of `log(1 + (predictions - targets)**2)`, which outliers move little; the mean over cases.

    Args:
        predictions: (N, K).
        targets: (N, K).

    Returns:
        A scalar.

    Raises:
        ValueError: the two differ in shape.
    """
    y, t = _alike(predictions, targets)
    return _mean(torch.log1p((y - t).square()))


def subset_cross_entropy(energies: Tensor, labels: Tensor, *, set_size: int) -> Tensor:
    """Minus log of the probability that a random set of `set_size` classes holds the label.

    A set S of exactly that many classes has a probability in proportion to exp(sum of energies in S). With E_k the sum
    over all sets of k classes, the label's left out, of those exponentials,

        P(label in S) = exp(energies[label]) * E_{k-1} / (exp(energies[label]) * E_{k-1} + E_k)

    and its slope is P(i in S) - P(i in S | label in S). Sets are summed in log space by products of polynomials, without
    divisions: nothing overflows and nothing cancels. With one class it is the cross-entropy of a softmax.

    Args:
        energies: (N, K).
        labels: (N,), int64, in [0, K).
        set_size: k, in [1, K - 1].

    Returns:
        A scalar, the mean over cases.

    Raises:
        ValueError: `set_size` is out of range, or labels are not (N,).
    """
    x = _wide(energies).flatten(1)
    cases, classes = x.shape
    if not 1 <= set_size < classes:
        raise ValueError(f"set_size must be 1 to {classes - 1} of {classes} classes, not {set_size}")
    if labels.shape != (cases,):
        raise ValueError(f"labels are ({cases},), not {tuple(labels.shape)}")
    # One constant for all energies of a case changes no probability, and keeps the sums small.
    x = x - x.detach().topk(set_size).values[:, -1:]
    of_label = x.gather(1, labels[:, None])[:, 0]
    others = torch.arange(classes - 1, device=x.device).expand(cases, -1)
    others = others + (others >= labels[:, None])
    with_fewer, without_label = log_elementary_symmetric(x.gather(1, others), set_size)[:, -2:].unbind(1)
    return F.softplus(without_label - with_fewer - of_label).mean()


def topographic_energy(x: Tensor, size: int, *, guard: float = 1e-3) -> Tensor:
    """Sum over all pixels of the root of the energy around them, small where neighbours are silent together.

        sum over q of sqrt(S(q)),  S(q) = sum of x[p]**2 for p in window(q)
        window(q) = rows and columns [q - size//2, q - size//2 + size) of the same map, clipped to it

    Its slope is x[p] * sum of 1 / (guard + sqrt(S(q))) over the windows that hold p: `guard` keeps it finite where a
    window is silent, and is all that it differs in from the derivative.

    Args:
        x: maps (N, C, H, W).
        size: rows and columns of a window, at least 1; an even window reaches one pixel further up and left.
        guard: at least 0; with 0 the slope is exact, and NaN where a window is silent.

    Returns:
        A scalar, the mean over cases.

    Raises:
        ValueError: x is not 4-dimensional, or size is below 1.
    """
    if x.ndim != 4:
        raise ValueError(f"maps are (N, C, H, W), this tensor has the shape {tuple(x.shape)}")
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    squares = _window_sums(_window_sums(_wide(x).square(), size, 2), size, 3)
    roots = squares.detach().sqrt()
    # Half of squares / (guard + roots), the roots held constant, has the slope that is wanted; the value is put right.
    sloped = _mean(squares / (2 * (guard + roots)))
    return sloped + (_mean(roots) - sloped).detach()


def _window_sums(x: Tensor, size: int, axis: int) -> Tensor:
    """Sums over [i - size//2, i - size//2 + size) along an axis, clipped to it."""
    length = x.shape[axis]
    before, after = min(size // 2, length), min((size - 1) // 2, length)
    padding = [0, 0] * (3 - axis) + [before, after]
    return F.pad(x, padding).unfold(axis, before + after + 1, 1).sum(-1)


def _safe_log(x: Tensor) -> Tensor:
    """log(x), and where x is not above 0 a constant: the inner `where` keeps 0 * inf out of the gradient."""
    is_positive = x > 0
    return torch.where(is_positive, torch.where(is_positive, x, 1).log(), LOG_OF_ZERO)


def _alike(x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (N, K) and of x's type, at least float32."""
    wide, flat = _wide(x).flatten(1), targets.flatten(1)
    if wide.shape != flat.shape:
        raise ValueError(f"targets of {tuple(targets.shape)} do not fit predictions of {tuple(x.shape)}")
    return wide, flat.to(wide.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _mean(x: Tensor) -> Tensor:
    """Of the sums over each case."""
    return x.sum() / len(x)

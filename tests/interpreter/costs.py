"""Costs: each gives what it reports, its value first; a pullback's gradient is that of the value.

Where a logarithm of 0 stands, the formulas are those of the originals, log 0 = -50 with slope 0. The emitted module is
exact there, so tests at that edge have numbers of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from convspec.layers.costs import CrossEntropy, LogisticRegression, MultiSoftmax
from convspec.layers.energy_costs import GatedSumOfSquares, SumOfSquares, TopographicIca
from convspec.layers.output_costs import BinaryCrossEntropy, CrossEntropy2, DetectionCrossEntropy, RobustFlickr
from tests.interpreter.tape import Array, Pullback, Tape, interprets
from tests.interpreter.windows import as_maps

GUARD = 0.001


@interprets(LogisticRegression)
def logistic_regression(layer: LogisticRegression, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Means over the cases of -log p of the label and of the credits lost; the gradient is that of the first."""
    labels, probabilities = sources[0].reshape(-1).astype(int), sources[1]
    cases = np.arange(len(labels))
    of_label = probabilities[cases, labels]

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_probabilities = np.zeros_like(probabilities)
        of_probabilities[cases, labels] = -gradient[0] / (len(labels) * of_label)
        return [np.zeros_like(sources[0]), of_probabilities], {}

    return np.array([-np.log(of_label).mean(), *_errors(probabilities, labels, layer.top_k)]), pull


@interprets(CrossEntropy)
def cross_entropy(layer: CrossEntropy, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """-sum t log p, and the credit lost."""
    t, p = map(_rows, sources)
    values = [-sum(t[n, c] * _safe_log(p[n, c]) for c in range(t.shape[1])) for n in range(len(t))]
    lost = [1 - dense_credit(p[n], t[n]) for n in range(len(t))]

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        scale = gradient[0] / len(t)
        return [-scale * _each(_safe_log, p), -scale * t * _each(_inverse, p)], {}

    return np.array([np.mean(values), np.mean(lost)]), pull


@interprets(BinaryCrossEntropy, DetectionCrossEntropy, CrossEntropy2)
def binary_cross_entropy(
    layer: BinaryCrossEntropy | CrossEntropy2, sources: Sequence[Array], tape: Tape
) -> tuple[Array, Pullback]:
    """-sum w t log y + (1 - t) log(1 - y); of bce and dce the two error rates; of dce, for each class, how often it was
    declared, was there, and both."""
    t, y = map(_rows, sources)
    weight = layer.positive_weight if isinstance(layer, BinaryCrossEntropy) else 1.0
    value = -(weight * t * _each(_safe_log, y) + (1 - t) * _each(_safe_log, 1 - y)).sum() / len(t)
    reported = [value]
    if isinstance(layer, BinaryCrossEntropy):
        reported.append(np.mean([float(a > 0.5) != b for a, b in zip(y.flat, t.flat, strict=True)]))
        reported.append(1 - np.mean([dense_credit(y[n], t[n]) for n in range(len(t))]))
    if isinstance(layer, DetectionCrossEntropy):
        declared = np.where(y > 0.5, 1.0, 0.0)
        reported += [*declared.sum(0), *t.sum(0), *(declared * t).sum(0)]

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        scale = gradient[0] / len(t)
        of_y = -scale * (weight * t * _each(_inverse, y) - (1 - t) * _each(_inverse, 1 - y))
        of_t = -scale * (weight * _each(_safe_log, y) - _each(_safe_log, 1 - y))
        return [of_t, of_y], {}

    return np.array(reported), pull


@interprets(RobustFlickr)
def robust_flickr(layer: RobustFlickr, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    t, y = map(_rows, sources)
    difference = y - t

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_y = gradient[0] / len(t) * 2 * difference / (1 + difference**2)
        return [-of_y, of_y], {}

    return np.array([np.log(1 + difference**2).sum() / len(t)]), pull


@interprets(MultiSoftmax)
def multi_softmax(layer: MultiSoftmax, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Every set of setSize classes by itself."""
    labels, energies = sources[0].reshape(-1).astype(int), _rows(sources[1])
    cases, classes = energies.shape
    sets = [list(chosen) for chosen in combinations(range(classes), layer.set_size)]
    values, slopes = np.zeros(cases), np.zeros_like(energies)
    for n, label in enumerate(labels):
        sums = np.array([energies[n, chosen].sum() for chosen in sets])
        weights = np.exp(sums - sums.max())
        holds_label = np.array([label in chosen for chosen in sets])
        values[n] = -np.log(weights[holds_label].sum() / weights.sum())
        for i in range(classes):
            holds_i = np.array([i in chosen for chosen in sets])
            both = weights[holds_i & holds_label].sum() / weights[holds_label].sum()
            slopes[n, i] = weights[holds_i].sum() / weights.sum() - both

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        return [np.zeros_like(sources[0]), gradient[0] / cases * slopes], {}

    return np.array([values.mean(), *_errors(energies, labels, layer.set_size)]), pull


@interprets(SumOfSquares)
def sum_of_squares(layer: SumOfSquares, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    (x,) = sources
    return np.array([(x**2).sum() / len(x)]), lambda gradient: ([gradient[0] / len(x) * 2 * x], {})


@interprets(GatedSumOfSquares)
def gated_sum_of_squares(layer: GatedSumOfSquares, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    gate, x = map(_rows, sources)
    squares = (x**2).sum(1, keepdims=True)

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        scale = gradient[0] / len(x)
        return [scale * squares, scale * 2 * gate * x], {}

    return np.array([(gate * squares).mean()]), pull


@interprets(TopographicIca)
def topographic_ica(layer: TopographicIca, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Pixel by pixel: the energies of their windows, and each window's pull on the pixels in it."""
    x = as_maps(sources[0], layer.channels)
    value, slope = 0.0, np.zeros_like(x)
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            rows, columns = (
                slice(max(0, at - layer.size // 2), max(0, at - layer.size // 2 + layer.size)) for at in (row, column)
            )
            root = np.sqrt((x[:, :, rows, columns] ** 2).sum((2, 3), keepdims=True))
            value += root.sum() / len(x)
            slope[:, :, rows, columns] += x[:, :, rows, columns] / (GUARD + root)
    return np.array([value]), lambda gradient: ([gradient[0] / len(x) * slope], {})


def dense_credit(scores: Array, targets: Array) -> float:
    """1 in n of a case where n classes share the largest score and one of them has a target above 0."""
    first = [c for c in range(len(scores)) if scores[c] == scores.max()]
    return 1 / len(first) if any(targets[c] > 0 for c in first) else 0.0


def _rows(value: Array) -> Array:
    return value.reshape(len(value), -1)


def _each(function: Callable[[float], float], values: Array) -> Array:
    return np.array([function(value) for value in values.flat]).reshape(values.shape)


def _safe_log(x: float) -> float:
    return float(np.log(x)) if x > 0 else -50.0


def _inverse(x: float) -> float:
    """Slope of the logarithm above."""
    return 1 / x if x > 0 else 0.0


def _errors(scores: Array, labels: Array, k: int) -> list[float]:
    """Credits lost by the first guess, and by the first k."""
    return [
        float(1 - np.mean([_credit(row, label, best) for row, label in zip(scores, labels, strict=True)]))
        for best in (1, k)
    ]


def _credit(probabilities: Array, label: int, k: int) -> float:
    """1 if the label is among the k most probable; classes of equal probability share the places left to them."""
    slots = k - int((probabilities > probabilities[label]).sum())
    ties = int((probabilities == probabilities[label]).sum())
    return min(max(slots, 0) / ties, 1.0)

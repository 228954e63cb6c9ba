"""The costs by loops over cases and classes in plain Python floats: what `objectives` is judged by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

Rows = Sequence[Sequence[float]]


def safe_log(x: float) -> float:
    return math.log(x) if x > 0 else -50.0


def cross_entropy(probabilities: Rows, targets: Rows) -> float:
    total = 0.0
    for row, wanted in zip(probabilities, targets, strict=True):
        for p, t in zip(row, wanted, strict=True):
            total -= t * safe_log(p)
    return total / len(probabilities)


def binary_cross_entropy(probabilities: Rows, targets: Rows, weight: float = 1.0) -> float:
    total = 0.0
    for row, wanted in zip(probabilities, targets, strict=True):
        for p, t in zip(row, wanted, strict=True):
            total -= weight * t * safe_log(p) + (1 - t) * safe_log(1 - p)
    return total / len(probabilities)


def sum_of_squares(x: Rows) -> float:
    return sum(number * number for row in x for number in row) / len(x)


def gated_sum_of_squares(gate: Sequence[float], x: Rows) -> float:
    return sum(g * sum(number * number for number in row) for g, row in zip(gate, x, strict=True)) / len(x)


def log_square_error(predictions: Rows, targets: Rows) -> float:
    total = 0.0
    for row, wanted in zip(predictions, targets, strict=True):
        for y, t in zip(row, wanted, strict=True):
            total += math.log(1 + (y - t) * (y - t))
    return total / len(predictions)


def subset_cross_entropy(energies: Rows, labels: Sequence[int], size: int) -> float:
    """Every set by itself."""
    total = 0.0
    for row, label in zip(energies, labels, strict=True):
        sets = list(combinations(range(len(row)), size))
        sums = [sum(row[c] for c in chosen) for chosen in sets]
        weights = [math.exp(each - max(sums)) for each in sums]
        with_label = [weight for weight, chosen in zip(weights, sets, strict=True) if label in chosen]
        total -= math.log(sum(with_label) / sum(weights))
    return total / len(energies)


def topographic_energy(x: Sequence[Sequence[Rows]], size: int) -> float:
    """x: (N, C, H, W)."""
    total = 0.0
    for case in x:
        for plane in case:
            for row in range(len(plane)):
                for column in range(len(plane[0])):
                    total += math.sqrt(_energy_around(plane, row, column, size))
    return total / len(x)


def topographic_slope(plane: Rows, row: int, column: int, size: int, guard: float) -> float:
    """Slope of one pixel of one map: x times the sum of 1 / (guard + root) over the windows that hold it."""
    total = 0.0
    for y in range(len(plane)):
        for x in range(len(plane[0])):
            holds = all(at - size // 2 <= pixel < at - size // 2 + size for at, pixel in ((y, row), (x, column)))
            if holds:
                total += 1 / (guard + math.sqrt(_energy_around(plane, y, x, size)))
    return plane[row][column] * total


def _energy_around(plane: Rows, row: int, column: int, size: int) -> float:
    energy = 0.0
    for y in range(row - size // 2, row - size // 2 + size):
        for x in range(column - size // 2, column - size // 2 + size):
            if 0 <= y < len(plane) and 0 <= x < len(plane[0]):
                energy += plane[y][x] * plane[y][x]
    return energy

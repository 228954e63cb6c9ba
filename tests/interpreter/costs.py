"""Costs: each gives what it reports, its value first; a pullback's gradient is that of the value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convspec.layers.costs import LogisticRegression
from tests.interpreter.tape import Array, Pullback, Tape, interprets


@interprets(LogisticRegression)
def logistic_regression(layer: LogisticRegression, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Means over the cases of -log p of the label and of the credits lost; the gradient is that of the first."""
    labels, probabilities = sources[0].reshape(-1).astype(int), sources[1]
    cases = np.arange(len(labels))
    of_label = probabilities[cases, labels]
    errors = [
        1 - np.mean([_credit(p, label, k) for p, label in zip(probabilities, labels, strict=True)])
        for k in (1, layer.top_k)
    ]

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_probabilities = np.zeros_like(probabilities)
        of_probabilities[cases, labels] = -gradient[0] / (len(labels) * of_label)
        return [np.zeros_like(sources[0]), of_probabilities], {}

    return np.array([-np.log(of_label).mean(), *errors]), pull


def _credit(probabilities: Array, label: int, k: int) -> float:
    """1 if the label is among the k most probable; classes of equal probability share the places left to them."""
    slots = k - int((probabilities > probabilities[label]).sum())
    ties = int((probabilities == probabilities[label]).sum())
    return min(max(slots, 0) / ties, 1.0)

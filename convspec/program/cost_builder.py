"""The part of `Builder` that lowers costs: a method a cost, each of which returns its value's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convspec.program.collector import Collector
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
from convspec.program.shape import Shape


class CostBuilder(Collector):
    """`coefficient` and `children` of every method are those of `CostOperator`."""

    def negative_log_likelihood(
        self, labels: str, predictions: str, *, coefficient: float, top_k: int, children: Sequence[str] = ()
    ) -> str:
        inputs = [labels, predictions]
        return self._cost(NegativeLogLikelihood, inputs, coefficient, children, predictions=predictions, top_k=top_k)

    def cross_entropy(self, targets: str, predictions: str, *, coefficient: float, children: Sequence[str] = ()) -> str:
        return self._cost(CrossEntropy, [targets, predictions], coefficient, children, predictions=predictions)

    def binary_cross_entropy(
        self,
        targets: str,
        predictions: str,
        *,
        coefficient: float,
        children: Sequence[str] = (),
        positive_weight: float = 1.0,
        counts_classes: bool = False,
        has_rates: bool = True,
    ) -> str:
        """has_rates: whether error rates are reported."""
        return self._cost(
            BinaryCrossEntropy,
            [targets, predictions],
            coefficient,
            children,
            predictions=predictions if has_rates else None,
            positive_weight=positive_weight,
            counts_classes=counts_classes,
        )

    def log_square_error(
        self, targets: str, predictions: str, *, coefficient: float, children: Sequence[str] = ()
    ) -> str:
        return self._cost(LogSquareError, [targets, predictions], coefficient, children)

    def subset_cross_entropy(
        self, labels: str, energies: str, *, coefficient: float, set_size: int, children: Sequence[str] = ()
    ) -> str:
        return self._cost(
            SubsetCrossEntropy, [labels, energies], coefficient, children, predictions=energies, set_size=set_size
        )

    def sum_of_squares(self, value: str, *, coefficient: float, children: Sequence[str] = ()) -> str:
        return self._cost(SumOfSquares, [value], coefficient, children)

    def gated_sum_of_squares(self, gate: str, value: str, *, coefficient: float, children: Sequence[str] = ()) -> str:
        return self._cost(GatedSumOfSquares, [gate, value], coefficient, children)

    def topographic_energy(self, value: str, *, coefficient: float, size: int, children: Sequence[str] = ()) -> str:
        """value: maps."""
        return self._cost(TopographicEnergy, [value], coefficient, children, size=size)

    def _cost(
        self,
        operator: type[Cost],
        inputs: Sequence[str],
        coefficient: float,
        children: Sequence[str],
        **attributes: Any,
    ) -> str:
        shape = Shape.of_vector(1)
        return self._add(operator, inputs, shape, coefficient=coefficient, children=tuple(children), **attributes)

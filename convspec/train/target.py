"""What a training is to reach: `train_error=0.25`."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from convspec.diagnostics import did_you_mean
from convspec.train.metrics import Point, Quantity


class Target(NamedTuple):
    """value: in (0, 1) for an error."""

    quantity: Quantity
    value: float

    @classmethod
    def parse(cls, text: str) -> Target:
        """`train_error=0.25`, `test_loss=0.5`; an error may be `25%`. Raises ValueError, which says what to write."""
        name, equals, number = (part.strip() for part in text.partition("="))
        names = [quantity.value for quantity in Quantity]
        if name not in names:
            hint = did_you_mean(name, names) or f"write one of {', '.join(names)}, as in train_error=0.25"
            raise ValueError(f"there is no '{name}' to reach: {hint}")
        quantity = Quantity(name)
        value = _number(number) if equals else None
        if value is None or not isfinite(value):
            raise ValueError(f"'{number}' is no number to reach: write {name}={0.25 if quantity.is_error else 0.5}")
        if quantity.is_error and not 0 < value < 1:
            raise ValueError(f"an error is above 0 and below 1, and {number} is not: write {name}=0.25 or {name}=25%")
        return cls(quantity, value)

    def reached(self, points: Sequence[Point]) -> int | None:
        """The first step at which a curve is at the value or below; None where it never is."""
        return next((point.step for point in points if point.value <= self.value), None)

    def __str__(self) -> str:
        """`25% training error`, `a training loss of 0.5`."""
        return self.text(self.value)

    def text(self, value: float) -> str:
        """Another value of the quantity, likewise."""
        title = self.quantity.title
        return f"{100 * value:.4g}% {title}" if self.quantity.is_error else f"a {title} of {value:.4g}"


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None

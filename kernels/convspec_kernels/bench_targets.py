"""A row of the GPU benchmark, and what the rows are to reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

BATCH, DTYPES = 128, ("float32", "bfloat16")
"""Of the rows that count for the fused operator."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Ratios are how many times longer the other takes; None where it was not measured."""

    operator: str
    shape: str
    dtype: str
    format: str
    microseconds: float
    megabytes: float
    of_copy: float
    eager: float | None = None
    compiled: float | None = None

    @property
    def counts(self) -> bool:
        return self.operator == "augment" or (f" {BATCH}x" in self.shape and self.dtype in DTYPES)


@dataclass(frozen=True, slots=True)
class Target:
    """What each row of an operator must have at least in a column."""

    operator: str
    column: Literal["of_copy", "eager", "compiled"]
    least: float

    def value(self, row: Row) -> float | None:
        match self.column:
            case "of_copy":
                return row.of_copy
            case "eager":
                return row.eager
            case "compiled":
                return row.compiled

    def text(self, value: float) -> str:
        return f"{value:.0%} of a copy" if self.column == "of_copy" else f"{value:.1f}x {self.column}"


TARGETS = (
    Target("forward", "of_copy", 0.85),
    Target("backward", "of_copy", 0.75),
    Target("both", "eager", 8.0),
    Target("both", "compiled", 1.5),
    Target("augment", "of_copy", 0.8),
)


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Of each target and memory format whether the worst row that counts meets it."""
    yield f"targets, by the worst of the rows at batch {BATCH} in {' and '.join(DTYPES)}, and of `augment`:"
    for target in TARGETS:
        for memory_format in ("NHWC",) if target.operator == "augment" else ("NHWC", "NCHW"):
            found = [
                (value, row)
                for row in rows
                if row.operator == target.operator and row.format == memory_format and row.counts
                if (value := target.value(row)) is not None
            ]
            name = f"{target.operator:<9}{memory_format:<5} at least {target.text(target.least):<16}"
            if not found:
                yield f"{name} not measured"
                continue
            value, row = min(found, key=lambda pair: pair[0])
            verdict = "met" if value >= target.least else "MISSED"
            yield f"{name} {verdict:<7}{target.text(value)}: {row.shape}, {row.dtype}"

"""Learning rates as functions of progress through training (cuda-convnet2 src/lr.cu:43-113).

Progress p runs from 0 to 1 over the whole run. With base b and target factor T, a rate falls from b to b/T:

    const   b
    linear  b (1 - p) + (b / T) p
    exp     b T^-p
    dexp    n equal steps: the i-th rate is b T^(-i/(n-1)), and the last is b / T; one step is b / T throughout
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, assert_never


class ScheduleKind(Enum):
    CONST = "const"
    LINEAR = "linear"
    EXP = "exp"
    DEXP = "dexp"


class Schedule(NamedTuple):
    """A learning rate over a run.

    base: rate at progress 0, at least 0; 0 freezes what it belongs to, decay included.
    target_factor: the rate is divided by this at progress 1; above 0.
    steps: number of equal steps of `dexp`; at least 1.
    """

    kind: ScheduleKind
    base: float
    target_factor: float = 1.0
    steps: int = 1

    @classmethod
    def constant(cls, base: float) -> Schedule:
        return cls(ScheduleKind.CONST, base)

    @property
    def is_frozen(self) -> bool:
        return self.base == 0

    def rate(self, progress: float) -> float:
        """Rate at `progress` in [0, 1]."""
        final = self.base / self.target_factor
        match self.kind:
            case ScheduleKind.CONST:
                return self.base
            case ScheduleKind.LINEAR:
                return self.base * (1 - progress) + final * progress
            case ScheduleKind.EXP:
                return float(self.base * self.target_factor**-progress)
            case ScheduleKind.DEXP:
                for i in range(self.steps - 1):
                    if progress <= (i + 1) / self.steps:
                        return float(self.base * self.target_factor ** (-i / (self.steps - 1)))
                return final
            case _:
                assert_never(self.kind)

    def __str__(self) -> str:
        match self.kind:
            case ScheduleKind.CONST:
                return f"{self.base:g}"
            case ScheduleKind.DEXP:
                return f"dexp[base={self.base:g};tgtFactor={self.target_factor:g};numSteps={self.steps}]"
            case _:
                return f"{self.kind.value}[base={self.base:g};tgtFactor={self.target_factor:g}]"

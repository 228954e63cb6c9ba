"""Learning rates as functions of progress through training.

Progress p runs from 0 to 1 over the whole run. With base b and target factor T, a rate falls from b to b/T
(cuda-convnet2 src/lr.cu:43-113, the 2012 code lr.cu:85-186):

    const   b
    linear  b (1 - p) + (b / T) p
    exp     b T^-p
    dexp    n equal steps: the i-th rate is b T^(-i/(n-1)), and the last is b / T; one step, or none, is b / T throughout
    jdexp   as dexp, but in the second half of a step, for 0.2 < p < 0.9, the geometric mean with the rate before it

The 2012 code computes exp as b^(1 + p (log(b/T)/log b - 1)), which is the same except that a base of exactly 1 stays 1.
That was a mistake, and is not repeated here.

Where T is not above 0, which the programs did not refuse, what their arithmetic leaves undefined is no number (nan).

A rate may be noisy (lr.cu:43-62): each use of it is multiplied by 1 + |z| noise, with a new z ~ N(0,1).
"""

from __future__ import annotations

from enum import Enum
from math import inf, nan, sqrt
from typing import NamedTuple, assert_never


class ScheduleKind(Enum):
    CONST = "const"
    LINEAR = "linear"
    EXP = "exp"
    DEXP = "dexp"
    JDEXP = "jdexp"


class Schedule(NamedTuple):
    """A learning rate over a run.

    base: rate at progress 0; one that is not above 0 freezes what it belongs to, decay and constraints included.
    target_factor: the rate is divided by this at progress 1; above 0, if it is to make sense.
    steps: number of equal steps of `dexp` and `jdexp`; 1 and less are one.
    noise: deviation of the noise, as a share of the rate; at least 0, if it is to make sense.
    """

    kind: ScheduleKind
    base: float
    target_factor: float = 1.0
    steps: int = 1
    noise: float = 0.0

    @classmethod
    def constant(cls, base: float) -> Schedule:
        return cls(ScheduleKind.CONST, base)

    @property
    def is_frozen(self) -> bool:
        return self.base <= 0

    def rate(self, progress: float) -> float:
        """Rate at `progress` in [0, 1], without its noise."""
        match self.kind:
            case ScheduleKind.CONST:
                return self.base
            case ScheduleKind.LINEAR:
                return self.base * (1 - progress) + self._last * progress
            case ScheduleKind.EXP:
                return self._divided(progress)
            case ScheduleKind.DEXP:
                return self._rate_of_step(self._step(progress))
            case ScheduleKind.JDEXP:
                step = self._step(progress)
                is_second_half = step > 0 and 0.2 < progress < 0.9 and progress > (step + 0.5) / self.steps
                rate = self._rate_of_step(step)
                return sqrt(rate * self._rate_of_step(step - 1)) if is_second_half else rate
            case _:
                assert_never(self.kind)

    def _step(self, progress: float) -> int:
        """Which of the equal steps `progress` is in, from 0; a border belongs to the step before it."""
        near = max(0, min(self.steps - 1, int(progress * self.steps)))
        return near - 1 if near and progress <= near / self.steps else near

    def _rate_of_step(self, step: int) -> float:
        return self._last if step >= self.steps - 1 else self._divided(step / (self.steps - 1))

    @property
    def _last(self) -> float:
        return self.base / self.target_factor if self.target_factor else nan

    def _divided(self, power: float) -> float:
        """The base divided by a power of the factor."""
        try:
            return float(self.base * self.target_factor**-power) if self.target_factor > 0 else nan
        except OverflowError:
            return inf

    def __str__(self) -> str:
        if self.kind is ScheduleKind.CONST:
            return f"{self.base:g}"
        steps = f";numSteps={self.steps}" if self.kind in (ScheduleKind.DEXP, ScheduleKind.JDEXP) else ""
        noise = f";noiseStdev={self.noise:g}" if self.noise else ""
        return f"{self.kind.value}[base={self.base:g};tgtFactor={self.target_factor:g}{noise}{steps}]"

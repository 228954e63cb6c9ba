"""Progress through a run, and the heuristic of the paper that divides the rates when the validation error stalls."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf
from typing import Any


def progress_at(step: int, total_steps: int) -> float:
    """Share of the run that lies behind before step `step` (from 0), in [0, 1]; cuda-convnet2 gpumodel.py:293-295."""
    return min(1.0, max(0.0, step / total_steps)) if total_steps else 0.0


@dataclass(slots=True)
class Plateau:
    """Divide all rates by `factor` when the error has not improved for `patience` validations, at most `drops` times.

    "The heuristic which we followed was to divide the learning rate by 10 when the validation error rate stopped
    improving with the current learning rate. ... reduced three times prior to termination" (paper, section 5).
    `best` is over the whole run; each drop starts the count anew.
    """

    factor: float = 10.0
    patience: int = 3
    drops: int = 3
    best: float = inf
    stalled: int = 0
    dropped: int = 0
    is_finished: bool = False

    @property
    def scale(self) -> float:
        """What the rates of the spec are multiplied by now."""
        return float(self.factor**-self.dropped)

    def update(self, error: float) -> None:
        """Take in the error of one validation; lower is better, and an equal one is no improvement."""
        if error < self.best:
            self.best, self.stalled = error, 0
            return
        self.stalled += 1
        if self.stalled < self.patience:
            return
        self.stalled = 0
        if self.dropped < self.drops:
            self.dropped += 1
        else:
            self.is_finished = True

    def text(self) -> str:
        """`rates divided by 10, time 1 of 3`, of the last drop."""
        return f"rates divided by {self.factor:g}, time {self.dropped} of {self.drops}"

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON; `best` is None before the first validation."""
        state = asdict(self)
        return {
            "best": None if self.best == inf else self.best,
            **{key: state[key] for key in ("stalled", "dropped", "is_finished")},
        }

    def load(self, state: dict[str, Any]) -> None:
        self.best = inf if state["best"] is None else float(state["best"])
        self.stalled, self.dropped, self.is_finished = state["stalled"], state["dropped"], state["is_finished"]

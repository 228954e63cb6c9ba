"""What is told of a run while it goes on: a line of metrics.jsonl for some steps and for each validation, and the same for
TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from convspec.data.dataset import Notify
from convspec.program.program import Program
from convspec.train.device import peak_memory
from convspec.train.epoch import EpochSums
from convspec.train.evaluate import Validation
from convspec.train.metrics_log import MetricsLog
from convspec.train.optimizer import PaperSGD
from convspec.train.state import Position
from convspec.train.team import ALONE, Losses, Team
from convspec.train.tensorboard import TensorBoardLog

LOGGED_STEPS = 100
"""About this many steps of an epoch stand in metrics.jsonl."""

WEIGHED = 10
"""At one in this many of them, the weights are measured as well."""


class Records:
    """What is recorded. All processes of a run make a record, because each has a part of what stands in it; the one that has
    called `open` writes it."""

    def __init__(
        self,
        program: Program,
        optimizer: PaperSGD,
        sums: EpochSums,
        position: Position,
        devices: tuple[torch.device, ...],
        *,
        every: int | None,
        team: Team = ALONE,
    ) -> None:
        """every: the first step of an epoch is recorded, and each that many after it; None for about `LOGGED_STEPS`."""
        self._program, self._optimizer, self._sums, self._position = program, optimizer, sums, position
        self._devices, self._team = devices, team
        self._every = every or max(1, position.steps // LOGGED_STEPS)
        self._metrics: MetricsLog | None = None
        self._tensorboard: TensorBoardLog | None = None
        self._began = time.perf_counter()
        self.data_wait = 0.0
        """Seconds that steps waited for their pictures since the last that was recorded."""

    def open(self, run: Path, *, keep_lines: int, tensorboard: bool, notify: Notify) -> None:
        """Go on after the first `keep_lines` lines in the folder of a run, from its position."""
        self._metrics = MetricsLog(run / "metrics.jsonl", keep_lines=keep_lines, notify=notify)
        if tensorboard:
            self._tensorboard = TensorBoardLog(run, self._position.steps_done)

    @property
    def lines(self) -> int:
        """Of metrics.jsonl."""
        return 0 if self._metrics is None else self._metrics.lines

    def step(self, losses: Losses, speed: float) -> None:
        """Record the step that was done last, if it is one of those that are. speed: images/s."""
        step = self._position.step - 1
        if step % self._every == 0:
            self._record_step(losses, speed)
        if step % (self._every * WEIGHED) == 0:
            self._record_weights()

    def validation(self, trained: dict[str, Any], validation: Validation, rates_divided: int) -> None:
        """trained: means over the epoch that ends with it."""
        record = {"train": trained, "test": validation.record(), "rates_divided": rates_divided}
        self._write("validation", record, wall={})

    def sync(self) -> None:
        """Make what was written last, before a checkpoint counts on it."""
        for log in (self._metrics, self._tensorboard):
            if log is not None:
                log.sync()

    def close(self) -> None:
        for log in (self._metrics, self._tensorboard):
            if log is not None:
                log.close()

    def _record_step(self, losses: Losses, speed: float) -> None:
        so_far = self._sums.means()
        del so_far["costs"]
        record = {
            "loss": losses.objective(),
            "costs": {cost.name: losses.of_cost(cost.name) for cost in self._program.costs},
            "so_far": so_far,
            "rate": next(iter(self._optimizer.rates().values()), 0.0),
        }
        own = self._team.all_do(lambda: peak_memory(self._devices))
        taken = [of_process for of_process in own if of_process is not None]
        wall = {
            "images_per_second": round(speed, 1),
            "data_wait": round(self.data_wait, 4),
            "memory": sum(taken) or None,
        }
        self._write("step", record, wall={name: value for name, value in wall.items() if value is not None})
        self.data_wait = 0.0

    def _record_weights(self) -> None:
        rates = self._optimizer.rates()
        parameters = self._team.union(
            {
                name: {"weight": size.weight, "step": size.step, "rate": rates[name]}
                for name, size in self._optimizer.sizes().items()
            }
        )
        self._write("weights", {"parameters": parameters}, wall={})

    def _write(self, event: str, record: dict[str, Any], wall: dict[str, float]) -> None:
        """All that depends on the clock stays under "wall"."""
        if self._metrics is None:
            return
        seconds = round(time.perf_counter() - self._began, 3)
        place = {"event": event, "epoch": self._position.epoch + 1, "step": self._position.steps_done}
        record = {**place, **record, "wall": {"seconds": seconds, **wall}}
        self._metrics.write(record)
        if self._tensorboard is not None:
            self._tensorboard.take(record)

"""What metrics.jsonl tells of a run: the error and the loss, on training and on test pictures, as curves over its steps.

A training curve is a running mean: at a step it is the mean over the training pictures of one epoch's length before it, as
the network was when it saw each of them, or over all since the beginning where there were fewer. So at the end of an epoch
it is the mean of that epoch. It lags behind the network by half an epoch or so, and alike for all networks.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from convspec.diagnostics import Diagnostic, DiagnosticError

Record = Mapping[str, Any]
T = TypeVar("T")

MOST_POINTS = 400
"""Of a curve that is drawn or written to JSON; of more, this many are taken, evenly spaced."""

_TOO_LARGE = 1e100


class Quantity(Enum):
    """A curve: of which pictures, and what of them. Those of the cost that steers the schedule, see `trained_cost`."""

    TRAIN_ERROR = "train_error"
    TRAIN_LOSS = "train_loss"
    TEST_ERROR = "test_error"
    TEST_LOSS = "test_loss"

    @property
    def is_error(self) -> bool:
        """Whether it is a share of mistakes, in [0, 1]."""
        return self.value.endswith("error")

    @property
    def title(self) -> str:
        """`training error`."""
        pictures, _, what = self.value.partition("_")
        return f"{'training' if pictures == 'train' else 'test'} {what}"


class Point(NamedTuple):
    """The value of a curve after `step` steps of the run."""

    step: int
    value: float


class _Increment(NamedTuple):
    """What came since the record before: cases, and the sum over them."""

    step: int
    cases: int
    total: float


def read_metrics(run: Path, *, lines: int | None = None) -> list[Record]:
    """The records of a run, the first `lines` of them. A last line that was cut short is none.

    Raises DiagnosticError CS708 where a line is not what the trainer writes.
    """
    path = run / "metrics.jsonl"
    records: list[Record] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(islice(file, lines), 1):
                if not line.endswith(b"\n"):
                    break
                records.append(_record(line, path, number))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DiagnosticError(Diagnostic("CS708", f"{path} cannot be read: {error.strerror}")) from error
    return records


def _record(line: bytes, path: Path, number: int) -> Record:
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        if isinstance(record, dict) and _is_written(record):
            return record
    message = f"line {number} of {path} is not a record of a training"
    raise DiagnosticError(Diagnostic("CS708", message, help="delete that run, or go on with its checkpoints elsewhere"))


def _is_written(record: Record) -> bool:
    """Whether the trainer writes such a record: what is read of it is there, and numbers are numbers. Older versions wrote
    fewer of them."""
    match record:
        case {"event": "step", "epoch": int(), "step": int(), "rate": rate, "wall": {"images_per_second": _, **wall}}:
            return _are_numbers(rate, *wall.values(), record["wall"]["images_per_second"]) and (
                "so_far" not in record or _are_means(record["so_far"])
            )
        case {"event": "weights", "step": int(), "parameters": dict(parameters)}:
            return all(map(_are_sizes, parameters.values()))
        case {
            "event": "validation",
            "epoch": int(),
            "step": int(),
            "train": train,
            "test": {"costs": dict(costs)} as test,
        }:
            return _are_means(train) and _are_means(test) and bool(costs) and all(map(_is_cost, costs.values()))
        case _:
            return False


def _are_means(means: Any) -> bool:
    match means:
        case {"cases": int(), "loss": loss}:
            return _are_numbers(means["cases"], loss, means.get("error"))
        case _:
            return False


def _are_sizes(entry: Any) -> bool:
    match entry:
        case {"weight": weight, "step": step, "rate": rate}:
            return _are_numbers(weight, step, rate)
        case _:
            return False


def _is_cost(cost: Any) -> bool:
    match cost:
        case {"loss": loss}:
            return _are_numbers(loss, cost.get("error"), cost.get("topk_error"), cost.get("k"))
        case _:
            return False


def _are_numbers(*values: Any) -> bool:
    """What is not finite stands there as null, and no float32 is as large as what is refused here."""
    return all(value is None or (isinstance(value, int | float) and abs(value) < _TOO_LARGE) for value in values)


def curve(records: Sequence[Record], quantity: Quantity, steps_per_epoch: int) -> list[Point]:
    """A curve of a run; empty where its records have no such quantity.

    Of test pictures a point a validation; of training pictures a point a record, in steps that rise.
    """
    key = "error" if quantity.is_error else "loss"
    if quantity in (Quantity.TRAIN_ERROR, Quantity.TRAIN_LOSS):
        return list(_running_means(_increments(records, key), steps_per_epoch))
    tests = [record for record in records if record["event"] == "validation"]
    # a loss that is not finite stands there as null
    values = ((record["step"], record["test"].get(key)) for record in tests)
    return [Point(step, value) for step, value in values if value is not None]


def thinned(points: Sequence[T]) -> Sequence[T]:
    """At most `MOST_POINTS` of them, evenly spaced, the first and the last among these."""
    if len(points) <= MOST_POINTS:
        return points
    last = len(points) - 1
    return [points[round(i * last / (MOST_POINTS - 1))] for i in range(MOST_POINTS)]


def _increments(records: Sequence[Record], key: str) -> Iterator[_Increment]:
    """The sums of each epoch grow from record to record, and begin anew with the next one."""
    epoch, cases, total = 0, 0, 0.0
    for record in records:
        means = record.get("so_far") if record["event"] == "step" else record.get("train")
        if means is None or means.get(key) is None:
            continue
        if record["epoch"] != epoch:
            epoch, cases, total = record["epoch"], 0, 0.0
        now = means["cases"], means[key] * means["cases"]
        if now[0] > cases:
            yield _Increment(record["step"], now[0] - cases, now[1] - total)
        cases, total = now


def _running_means(increments: Iterator[_Increment], window: int) -> Iterator[Point]:
    """Means over what came in the last `window` steps."""
    recent: deque[_Increment] = deque()
    for increment in increments:
        recent.append(increment)
        while recent[0].step <= increment.step - window:
            recent.popleft()
        # summed anew, so that no rounding of a difference builds up
        yield Point(increment.step, sum(i.total for i in recent) / sum(i.cases for i in recent))

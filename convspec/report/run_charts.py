"""What the records of a run tell, as charts and as a table of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convspec.report.curves import Chart, Series
from convspec.report.page import Spark, Table
from convspec.train.metrics import Point, Quantity, Record, curve, thinned


def charts_of(records: Sequence[Record], steps_per_epoch: int, data: str) -> Iterator[Chart]:
    """Errors, loss and the learning rate against epochs; those of which there are records."""
    pairs = ((Quantity.TRAIN_ERROR, Quantity.TEST_ERROR), (Quantity.TRAIN_LOSS, Quantity.TEST_LOSS))
    for train, test in pairs:
        lines = {
            "training": curve(records, train, steps_per_epoch),
            "test": curve(records, test, steps_per_epoch),
        }
        series = [_series(name, points, steps_per_epoch) for name, points in lines.items() if len(points) > 1]
        if series:
            what = "error" if train.is_error else "loss"
            yield Chart(f"{what.capitalize()} on {data}", "epochs", what, series, is_share=train.is_error)
    steps = (record for record in records if record["event"] == "step" and record["rate"] is not None)
    rates = [Point(record["step"], record["rate"]) for record in steps]
    if len(rates) > 1:
        yield Chart("Learning rate", "epochs", "rate", [_series("of the first weights", rates, steps_per_epoch)])


def weights_table(records: Sequence[Record]) -> Table | None:
    """The newest sizes of weights and of their steps, a row a parameter, and the ratio's way there; None without records."""
    weighed = [record["parameters"] for record in records if record["event"] == "weights"]
    if not weighed:
        return None
    rows = []
    for name, now in weighed[-1].items():
        ratios = [ratio(record.get(name)) for record in weighed]
        last = ratios[-1]
        cells = (
            name,
            _shown(now["weight"], ".4g"),
            _shown(now["step"], ".3g"),
            _shown(last, ".2e"),
            Spark(thinned(ratios)),
            _shown(now["rate"], ".4g"),
        )
        rows.append(cells)
    headings = ("parameter", "mean |w|", "mean |Δw|", "|Δw| / |w|", "over the run", "rate")
    return Table(headings, rows, frozenset({"mean |w|", "mean |Δw|", "|Δw| / |w|", "rate"}))


def ratio(entry: Mapping[str, Any] | None) -> float | None:
    """Mean |Δw| / mean |w|; None where there are no weights, all are 0, or one of the means is not finite."""
    is_known = entry is not None and entry["weight"] and entry["step"] is not None
    return entry["step"] / entry["weight"] if entry is not None and is_known else None


def _shown(value: float | None, form: str) -> str:
    """Nothing for what was not finite, and stands in the records as null."""
    return "" if value is None else format(value, form)


def _series(label: str, points: Sequence[Point], steps_per_epoch: int) -> Series:
    return Series(label, [[(step / steps_per_epoch, value) for step, value in thinned(points)]])

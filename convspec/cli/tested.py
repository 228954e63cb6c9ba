"""The result of `convspec test`, as a table for people and as JSON for programs."""

from __future__ import annotations

from math import isfinite

from convspec.cli.columns import aligned
from convspec.diagnostics.visible import visible
from convspec.train.confusion import Confusion
from convspec.train.member import TOP
from convspec.train.scores import CostResult
from convspec.train.testing import Result

SHOWN_MISTAKES = 10
TOGETHER = "all together"


def table(result: Result) -> str:
    """A row a run, then one of their average; other costs; what the test was; the most frequent mistakes."""
    names = {outcome.validation.steering for outcome in result.runs}
    loss = names.pop() if len(names) == 1 else "cost"
    rows = [
        {
            "run": visible(str(o.run)),
            "checkpoint": o.checkpoint,
            **_rates(o.validation.costs[o.validation.steering], o.top5, loss),
        }
        for o in result.runs
    ]
    if result.together is not None:
        rows.append({"run": TOGETHER, **_rates(result.together.cost, result.together.top5, loss)})
    lines = _aligned(rows)
    for outcome in result.runs:
        before = f"{visible(str(outcome.run))}: " if len(result.runs) > 1 else ""
        others = [
            cost.text(name) for name, cost in outcome.validation.costs.items() if name != outcome.validation.steering
        ]
        lines += [f"{before}{text}" for text in others]
        lines += [f"{before}{line.strip()}" for line in outcome.validation.class_lines(result.classes)]
    lines.append(_what(result))
    if result.confusion is not None:
        lines += _mistakes(result.confusion)
    return "\n".join(lines)


def _rates(cost: CostResult, top5: float | None, loss: str) -> dict[str, str]:
    """Columns by their headings."""
    cells: dict[str, str] = {}
    if cost.error is not None:
        cells["error" if cost.k is None else "top-1 error"] = f"{cost.error:.2%}"
    if top5 is not None:
        cells[f"top-{TOP} error"] = f"{top5:.2%}"
    if cost.k is not None and cost.topk_error is not None and cost.k != 1:
        cells[f"top-{cost.k} error"] = f"{cost.topk_error:.2%}"
    if cost.output_error is not None:
        cells["wrong outputs"] = f"{cost.output_error:.2%}"
    cells[loss] = f"{cost.loss:.4f}"
    if cost.total is not None:
        cells["with its children"] = f"{cost.total:.4f}"
    return cells


def _aligned(rows: list[dict[str, str]]) -> list[str]:
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    cells = [headings, *([row.get(heading, "") for heading in headings] for row in rows)]
    return aligned(cells, left=[headings.index(heading) for heading in ("run", "checkpoint")])


def _what(result: Result) -> str:
    views = {outcome.views for outcome in result.runs}
    named = {1: "one view of each, its middle", 2: "each and its mirror image", 10: "ten views of each"}
    text = f"{result.pictures:,} pictures of {visible(result.data)}; {' or '.join(named[count] for count in sorted(views))}"
    return text if views == {1} and result.together is None else f"{text}; predictions averaged after the softmax"


def _mistakes(confusion: Confusion) -> list[str]:
    found = confusion.mistakes()
    if not found:
        return []
    rows = [
        {
            "most often": visible(confusion.classes[mistake.label]),
            "taken for": visible(confusion.classes[mistake.prediction]),
            "pictures": f"{mistake.pictures:.6g} of {mistake.total}",
        }
        for mistake in found[:SHOWN_MISTAKES]
    ]
    return ["", *aligned([list(rows[0]), *(list(row.values()) for row in rows)], left=range(len(rows[0])))]


def as_data(result: Result) -> dict[str, object]:
    """For `--format json`; docs/testing.md describes it."""
    runs = [
        {
            "run": str(outcome.run),
            "checkpoint": outcome.checkpoint,
            "views": outcome.views,
            "cost": outcome.validation.steering,
            "top5_error": _number(outcome.top5),
            "costs": {name: _record(cost) for name, cost in outcome.validation.costs.items()},
        }
        for outcome in result.runs
    ]
    together = result.together and {"top5_error": _number(result.together.top5), **_record(result.together.cost)}
    confused = None
    if result.confusion is not None:
        confused = [
            {
                "class": result.classes[mistake.label],
                "taken_for": result.classes[mistake.prediction],
                "pictures": mistake.pictures,
                "of": mistake.total,
            }
            for mistake in result.confusion.mistakes()[:SHOWN_MISTAKES]
        ]
    return {"data": result.data, "pictures": result.pictures, "runs": runs, "together": together, "confused": confused}


def _record(cost: CostResult) -> dict[str, object]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in cost.record().items()}


def _number(value: float | None) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if value is not None and isfinite(value) else None

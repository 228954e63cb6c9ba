"""The table of an ablation: its cells, and all of it as Markdown and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from convspec.diagnostics.visible import visible
from convspec.train.ablation import Ablation, summary

_NONE = "-"


def markdown(ablation: Ablation) -> str:
    """A row a network, and below it what the figures are of."""
    heads, rows = cells_of(ablation)
    lines = [_piped(heads), _piped(["---", *["---:"] * (len(heads) - 3), "---", "---"]), *map(_piped, rows)]
    notes = [f"- {line}" for line in notes_on(ablation)]
    return "\n".join([f"# {visible(Path(ablation.spec).name)}, its choices one by one", "", *lines, "", *notes]) + "\n"


def as_csv(ablation: Ablation) -> str:
    """A line a network: all figures as shares, a column for each seed."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    seeds = list(ablation.seeds)
    heads = ["name", "spec", "parameters"]
    for what in ("error", "topk_error"):
        heads += [f"{what}_seed{seed}" for seed in seeds]
        heads += [f"{what}_{column}" for column in ("mean", "deviation", "change", "change_deviation")]
    writer.writerow([*heads, "section", "paper", "trouble"])
    for row in ablation.rows:
        cells: list[object] = [row.name, row.file, row.parameters]
        for what in ("error", "topk_error"):
            values = row.values(what)
            changes = [] if row is ablation.rows[0] else row.changes(ablation.rows[0], what)
            cells += [values.get(seed) for seed in seeds]
            cells += [*summary(list(values.values())).values(), *summary(changes).values()]
        writer.writerow([*cells, row.section, row.paper, row.trouble])
    return out.getvalue()


def notes_on(ablation: Ablation) -> list[str]:
    """What is missing and why; what was measured, on what, by what."""
    return [*_troubles(ablation), *_about(ablation)]


def _about(ablation: Ablation) -> list[str]:
    settings, machine = ablation.settings, ablation.machine
    seeds = ", ".join(map(str, ablation.seeds))
    several = len(ablation.seeds) > 1
    spread = ", mean ± standard deviation over the seeds; changes are differences at equal seeds" if several else ""
    threads = machine.get("threads", 1)
    pictures = f"{settings['train_pictures']:,} training pictures of {visible(settings['data'])}"
    return [
        f"measured: error on {settings['test_pictures']:,} test pictures after the last epoch, one view (the middle){spread}",
        f"on: {pictures}, {ablation.epochs} epochs at most, minibatches of {ablation.batch}, seeds {seeds}",
        f"by: torch {machine.get('torch', '')}, {machine.get('device', '')}, {threads} thread{'s' if threads != 1 else ''}",
        "the paper: changes of top-1 and top-5 test errors of ILSVRC-2010, percentage points, ten views; no figure here is of ImageNet",
    ]


def cells_of(ablation: Ablation) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row a network: its name first, where the paper says what it is worth last, and numbers between."""
    base = ablation.rows[0]
    heads = ["network", "parameters", "top-1 error", "change"]
    shown = ["error"]
    if ablation.k is not None and ablation.k > 1:
        heads += [f"top-{ablation.k} error", "change"]
        shown.append("topk_error")
    rows = []
    for row in ablation.rows:
        cells = [row.title, _NONE if row.parameters is None else f"{row.parameters:,}"]
        for what in shown:
            changes = [] if row is base else row.changes(base, what)
            cells += [_percent(list(row.values(what).values())), _percent(changes, sign="+")]
        rows.append([*cells, row.section, row.paper])
    return [*heads, "section", "the paper"], rows


def _percent(values: Sequence[float], sign: str = "") -> str:
    found = summary([100 * value for value in values])
    if found["mean"] is None:
        return _NONE
    deviation = "" if found["deviation"] is None else f" ± {found['deviation']:.1f}"
    return f"{found['mean']:{sign}.1f}{deviation}"


def _troubles(ablation: Ablation) -> list[str]:
    missing = [row for row in ablation.rows if row.trouble]
    short = [row for row in ablation.rows if not row.trouble and 0 < len(row.scores) < len(ablation.seeds)]
    lines = [f"{row.title}: {visible(row.trouble)}" for row in missing]
    return lines + [f"{row.title}: {len(row.scores)} of {len(ablation.seeds)} seeds so far" for row in short]


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

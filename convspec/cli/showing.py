"""What `convspec data show` does once NumPy and Pillow are known to be there."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import click

from convspec.cli.guard import refuse_what_is_read
from convspec.cli.messages import STARTS_ANEW, interrupted_saying, print_diagnostics
from convspec.cli.write import create_file, replace_file
from convspec.data.dataset import Split
from convspec.data.glance import class_counts, some_of_each
from convspec.data.sources import Choice, Source, open_source
from convspec.diagnostics import Diagnostic, Severity
from convspec.diagnostics.visible import visible
from convspec.report.contact_sheet import COLUMNS, Row, draw_sheet


@interrupted_saying(STARTS_ANEW)
def run_show(data: str, *, output: str | None, split_name: str, classes: int) -> int:
    """Print how many pictures each class has, and draw some; returns the exit code."""
    warnings.filterwarnings("ignore", module="PIL")
    refuse_what_is_read(output, data)
    source = open_source(data, Choice(), lambda diagnostic: print_diagnostics([diagnostic]))
    split = Split(split_name)
    counts = class_counts(source)
    click.echo("\n".join(_table(source, counts)))
    shown = min(classes, len(source.classes))
    pictures = some_of_each(source, split, shown, COLUMNS, _tell_broken)
    rows = [Row(source.classes[i], counts[split][i], pictures[i]) for i in range(shown)]
    title = f"{source.name}: {sum(counts[split]):,} pictures for {split.value}ing, {len(source.classes)} classes"
    if shown < len(source.classes):
        title += f", the first {shown} drawn"
    content = BytesIO()
    draw_sheet(title, rows).save(content, format="PNG")
    if output is not None:
        replace_file(output, content.getvalue(), help="name a file with -o")
    else:
        output = f"{visible(source.name)}-{split.value}.png"
        create_file(Path(output), content.getvalue())
    of = "" if shown == len(source.classes) else f"the first {shown} classes "
    click.echo(visible(f"{of}drawn in {output}"))
    return 0


def _table(source: Source, counts: dict[Split, list[int]]) -> list[str]:
    names = [visible(name) for name in source.classes]
    total = f"{len(names)} classes"
    width = max(map(len, [*names, total]))
    rows = [*zip(names, counts[Split.TRAIN], counts[Split.TEST], strict=True)]
    rows.append((total, sum(counts[Split.TRAIN]), sum(counts[Split.TEST])))
    lines = [f"{'class':{width}}  {'train':>9}  {'test':>9}"]
    lines += [f"{name:{width}}  {train:9,}  {test:9,}" for name, train, test in rows]
    if source.refused:
        lines.append(f"{len(source.refused)} files are no pictures")
    return lines


def _tell_broken(name: str, why: str) -> None:
    print_diagnostics([Diagnostic("CS703", f"{name}: {why}", severity=Severity.WARNING)])

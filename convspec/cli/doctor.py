"""`convspec doctor`: what this installation and this machine can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from convspec.cli.memory import use_huge_pages
from convspec.cli.options import format_option, named
from convspec.diagnostics.visible import visible

if TYPE_CHECKING:
    from convspec.train.doctor import Finding


@click.command(short_help="Whether training can run here, and what falls back.")
@click.option("--runs", type=named, default="runs", metavar="DIR", help="Folder that runs would be made in.")
@format_option
def command(runs: str, form: str) -> int:
    """Look at versions, processor, GPUs, kernels and disks, and say what to type about what is amiss.

    Exits with 0 if training can run, with 1 if not.

    \b
    convspec doctor
    convspec doctor --format json
    """
    use_huge_pages()
    from convspec.train.doctor import can_train, examine

    findings = examine(Path(runs))
    is_able = can_train(findings)
    click.echo(_as_json(findings, is_able=is_able) if form == "json" else _as_text(findings, is_able=is_able))
    return 0 if is_able else 1


def _as_json(findings: list[Finding], *, is_able: bool) -> str:
    import json

    keys = ("group", "name", "value", "why", "help")
    rows = [{**{key: getattr(f, key) for key in keys}, "grade": f.grade.value} for f in findings]
    return json.dumps({"can_train": is_able, "findings": rows}, indent=2)


def _as_text(findings: list[Finding], *, is_able: bool) -> str:
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines += ["", group] if lines else [group]
        lines.append(visible(f"  {finding.name:<{width}}  {finding.value}"))
        if finding.why:
            lines.append(f"  {'':<{width}}  {finding.grade.value}: {visible(finding.why)}")
        if finding.help:
            lines.append(f"  {'':<{width}}  type: {visible(finding.help)}")
    return "\n".join([*lines, "", "training can run" if is_able else "training cannot run"])

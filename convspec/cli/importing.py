"""What `convspec import` does once torch is known to be there."""

from __future__ import annotations

import click

from convspec.cli.messages import print_diagnostics
from convspec.diagnostics.visible import visible
from convspec.train.imported import Imported, import_checkpoint


def run_import(checkpoint: str, run_dir: str, overrides: tuple[str, ...]) -> int:
    """Import and print what came of it; returns the exit code."""
    imported = import_checkpoint(
        checkpoint, run_dir, overrides=overrides, notify=lambda diagnostic: print_diagnostics([diagnostic])
    )
    click.echo(_summary(imported))
    return 0


def _summary(imported: Imported) -> str:
    epochs = f"{imported.epochs + imported.share:g} epochs"
    lines = [f"{imported.program}: {imported.layers} layers, {imported.numbers:,} numbers, after {epochs}"]
    if imported.is_finished:
        lines.append("all its epochs are done: for more, import it again with --set @train.epochs=N")
    lines.append(f"run in {imported.run_dir}; go on with convspec train --resume {imported.run_dir} --data DATA")
    return "\n".join(map(visible, lines))

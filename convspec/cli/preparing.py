"""What `convspec data prepare` and `verify` do once NumPy is known to be there."""

from __future__ import annotations

import warnings
from contextlib import closing
from pathlib import Path

import click

from convspec.cli.messages import GOES_ON, STARTS_ANEW, interrupted_saying
from convspec.data.dataset import Split
from convspec.data.filling import Options, Stopped
from convspec.data.integrity import check
from convspec.data.manifest import MANIFEST, Manifest
from convspec.data.prepare import prepare
from convspec.data.shards import is_prepared, manifest_of
from convspec.data.sources import Choice, open_source
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.diagnostics.visible import visible
from convspec.machine import usable_cores
from convspec.train.display import as_line, open_display
from convspec.train.signals import Interrupted, StopSignals


def run_prepare(
    source: str,
    target: str,
    *,
    size: int | None,
    channels: int | None,
    test_share: float,
    shard_size: int | None,
    jobs: int | None,
    limit_broken: int | None,
) -> int:
    """Prepare and print what came of it; returns the exit code."""
    # what Pillow thinks of a picture that it reads all the same
    warnings.filterwarnings("ignore", module="PIL")
    root = Path(target).expanduser()
    options = Options(shard_size, jobs or usable_cores(), limit_broken, {"test_share": test_share})
    with closing(open_display(unit="picture")) as display:

        def notify(diagnostic: Diagnostic) -> None:
            display.line(as_line(diagnostic))

        with interrupted_saying(GOES_ON):
            found = open_source(source, Choice(size, channels, test_share), notify)
        try:
            with StopSignals("this picture") as signals:
                manifest = prepare(
                    found, root, options, progress=display, notify=notify, is_stopped=lambda: signals.received
                )
        except Stopped as stop:
            display.line(str(stop))
            return Interrupted.EXIT_CODE
    click.echo(_summary(manifest, target))
    return 0


def run_verify(folder: str, *, jobs: int | None) -> int:
    """Hash everything and print what came of it; returns the exit code."""
    root = Path(folder).expanduser()
    _check_is_prepared(root)
    entries = list(manifest_of(folder).files())
    with closing(open_display(unit="file")) as display:
        display.start("verifying", len(entries), 0)
        with interrupted_saying(STARTS_ANEW):
            check(root, entries, jobs=jobs or usable_cores(), advance=lambda entry: display.advance(entry.name))
    size = sum(entry.bytes for entry in entries)
    click.echo(f"{visible(folder)}: {len(entries)} files, {_bytes(size)}, all as they were written")
    return 0


def _check_is_prepared(root: Path) -> None:
    """Raises DiagnosticError CS701 for a folder that is not there, or that `data prepare` has not begun."""
    if is_prepared(root):
        return
    if not root.is_dir():
        message = f"{root} is a file, not a folder" if root.exists() else f"there is no folder {root}"
    elif (root / MANIFEST).is_file():
        return  # of something else, or damaged: `read_manifest` says which
    else:
        message = f"{root} is not a folder that data prepare made: it has no {MANIFEST}"
    help = f"make one with convspec data prepare {root} NEW, and verify that" if root.is_dir() else None
    raise DiagnosticError(
        Diagnostic("CS701", message, help=help or "name a folder that data prepare made, such as imagenet-256")
    )


def _summary(manifest: Manifest, target: str) -> str:
    counts = {split: manifest.splits[split].pictures for split in Split}
    shards = sum(len(split.shards) for split in manifest.splits.values())
    height, width, _ = manifest.shape
    size = sum(entry.bytes for entry in manifest.files())
    pictures = f"{counts[Split.TRAIN]:,} pictures for training and {counts[Split.TEST]:,} for testing"
    lines = [
        f"{target}: {pictures}, {len(manifest.classes)} classes, {height}x{width}, {shards} shards, {_bytes(size)}"
    ]
    if manifest.broken:
        lines.append(f"{manifest.broken} files were left out: {Path(target) / manifest.report.name} names them")
    lines.append(f"train on it with convspec train SPEC --data {target}")
    return "\n".join(map(visible, lines))


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1000:.1f} kB"

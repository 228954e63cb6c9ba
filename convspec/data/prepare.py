"""`convspec data prepare`: pictures of any source to shards of squares, with the mean and the colours of all of them.

Threads read, decode and resize, which run beside each other in C; one thread writes the pictures in their order. A shard
that is full is read once more, for its checksum and its sums, while the next one fills. What goes into which shard is
decided before any picture is read: the bytes depend neither on the number of threads nor on interruptions.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from convspec.data.dataset import Notify, Split
from convspec.data.durable import replace_file
from convspec.data.filling import Filling, Options, Progress
from convspec.data.integrity import find_damage, raise_damage, remember, unchecked
from convspec.data.layout import no_pictures
from convspec.data.manifest import (
    MANIFEST,
    WORK,
    FileEntry,
    Manifest,
    ShardEntry,
    SplitEntry,
    damaged,
    read_manifest,
)
from convspec.data.pictures import reused_memory
from convspec.data.shard_writer import npy_bytes, shard_name, sums_file
from convspec.data.sources import Source
from convspec.data.statistics import Sums
from convspec.data.target import OTHER_SOURCE, Done, Target, begun_with, refused, reporting
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.diagnostics.visible import visible

SHARD_BYTES = 512 << 20
"""Of a shard, unless it is said how many pictures: a few hundred of them hold ImageNet, and one is soon done."""

REPORT = "broken.txt"
_MEAN = "mean.npy"

_Fill = Callable[[Target], None]


def prepare(
    source: Source,
    root: Path,
    options: Options,
    *,
    progress: Progress,
    notify: Notify,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Write the pictures of `source` into the folder `root`, or go on with it, and return what is in it. Of a folder that is
    prepared already, shards that were damaged are made again.

    Raises DiagnosticError: CS702 a split without a good picture, CS703 more broken files than `limit_broken`, CS711 and CS726
    where `root` cannot take them, CS724 where it is damaged beyond its shards; and `Stopped`.
    """
    per_shard = options.shard_pictures or max(1, SHARD_BYTES // int(np.prod(source.shape)))
    if source.folder is not None and root.resolve().is_relative_to(source.folder.resolve()):
        help = "name a folder beside it"
        raise DiagnosticError(Diagnostic("CS726", f"{root} lies inside {source.folder}, which is read", help=help))

    def fill(target: Target) -> None:
        Filling(source, target, per_shard, options, progress, notify, is_stopped).run()

    manifest = read_manifest(root) if (root / MANIFEST).is_file() else None
    plan = _plan(source, per_shard, options, begun_with(root) if manifest is None else manifest.prepared)
    with reporting(root), reused_memory(options.jobs):
        if manifest is not None:
            _check_plan(root, manifest, plan)
            to_repair = _damaged_shards(root, manifest, options.jobs, notify)
            # work may have been left by a kill, between the manifest and the end
            shutil.rmtree(root / WORK, ignore_errors=True)
            if not to_repair:
                return manifest
            (root / WORK).mkdir()
        with closing(Target(root, plan)) as target:
            if manifest is not None:
                _repair(source, target, per_shard, to_repair, fill)
                return manifest
            fill(target)
            return _finish(source, target, plan)


def _plan(source: Source, per_shard: int, options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bytes that are written. before: the plan that is there; of the same source it keeps how that is told."""
    from PIL import __version__ as pillow

    digest = before.get("digest")
    return {
        "source": source.kind,
        "name": visible(source.name),
        **options.settings,
        "shape": list(source.shape),
        "shard_pictures": per_shard,
        "resampling": "the middle square, bicubic, antialiased",
        "pillow": pillow,
        "digest": digest if source.is_that_of(digest) else source.digest,
    }


def _check_plan(root: Path, manifest: Manifest, plan: dict[str, Any]) -> None:
    """Raises CS726 where a prepared folder is not what was asked for."""
    different = [key for key in plan if key != "pillow" and manifest.prepared.get(key) != plan[key]]
    if different:
        key = different[0]
        what = OTHER_SOURCE if key == "digest" else f"with {key} {manifest.prepared.get(key)}, not {plan[key]}"
        raise refused(f"{root} was prepared {what}", root)


def _damaged_shards(root: Path, manifest: Manifest, jobs: int, notify: Notify) -> list[FileEntry]:
    """Shards that are not as they were written, each told. Raises CS724 where other files are damaged."""
    shards = {shard.file for split in manifest.splits.values() for shard in split.shards}
    wrong = find_damage(root, unchecked(root, manifest.files()), jobs=jobs)
    raise_damage(root, [(entry, why) for entry, why in wrong if entry not in shards])
    for entry, why in wrong:
        message = f"{root / entry.name} is damaged: {why}; it is made again"
        notify(Diagnostic("CS724", message, severity=Severity.WARNING))
    return [entry for entry, _ in wrong]


def _repair(source: Source, target: Target, per_shard: int, damaged_shards: list[FileEntry], fill: _Fill) -> None:
    """Make shards again, which must get the bytes that they had. Raises CS724 where they do not."""
    names = {entry.name: entry for entry in damaged_shards}
    keys = {
        shard_name(split, number): (split, number)
        for split in Split
        for number in range(-(-len(source.labels[split]) // per_shard))
    }
    target.done = {key: Done(*key, None, (), ()) for name, key in keys.items() if name not in names}
    fill(target)
    for name, entry in names.items():
        if target.done[keys[name]].entry != entry:
            message = (
                f"{target.root / name} was made again, and is not what it was: the pictures of {source.name} changed"
            )
            raise damaged(message, help=f"delete {target.root} and prepare the pictures again")
    target.abandon()
    remember(target.root, damaged_shards)


def _finish(source: Source, target: Target, plan: dict[str, Any]) -> Manifest:
    """Labels, mean, report and manifest, of shards that are all there."""
    done = [target.done[key] for key in sorted(target.done, key=lambda key: (key[0].value, key[1]))]
    sums = Sums(source.shape)
    for each in done:
        if each.split is Split.TRAIN and each.entry is not None:
            sums.add_numbers(np.load(sums_file(target.root, each.number)))
    splits = {split: _finish_split(target, [each for each in done if each.split is split], split) for split in Split}
    statistics = sums.statistics()
    broken = [*source.refused, *(each for one in done for each in one.broken)]
    report = "".join(f"{visible(name)}\t{visible(why)}\n" for name, why in broken)
    manifest = Manifest(
        shape=source.shape,
        classes=source.classes,
        splits=splits,
        mean=_write(target.root, _MEAN, npy_bytes(statistics.mean.astype(np.float32))),
        color_pca=statistics.color_pca,
        broken=len(broken),
        report=_write(target.root, REPORT, report.encode()),
        prepared=plan,
    )
    target.finish(manifest.to_bytes())
    remember(target.root, manifest.files())
    return manifest


def _finish_split(target: Target, done: list[Done], split: Split) -> SplitEntry:
    shards = tuple(ShardEntry(each.entry, len(each.labels)) for each in done if each.entry is not None)
    if not shards:
        raise no_pictures(f"no picture of the {split.value} split can be read")
    labels = np.array([label for each in done for label in each.labels], np.int64)
    return SplitEntry(_write(target.root, f"{split.value}-labels.npy", npy_bytes(labels)), shards)


def _write(root: Path, name: str, content: bytes) -> FileEntry:
    replace_file(root / name, content)
    return FileEntry(name, len(content), hashlib.sha256(content).hexdigest())

"""`convspec data prepare`: pictures of any source to shards of squares, with the mean and the colours of all of them.

Threads read, decode and resize, which run beside each other in C; one thread writes the pictures in their order. A shard
that is full is read once more, for its checksum and its sums, while the next one fills. What goes into which shard is
decided before any picture is read: the bytes depend neither on the number of threads nor on interruptions.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from convspec.data.dataset import Notify, Pictures, Split
from convspec.data.durable import replace_file
from convspec.data.folder import BrokenFiles
from convspec.data.integrity import check_on_opening, remember
from convspec.data.layout import no_pictures
from convspec.data.manifest import MANIFEST, WORK, FileEntry, Manifest, ShardEntry, SplitEntry, read_manifest
from convspec.data.pictures import BrokenPicture, reused_memory
from convspec.data.shard_writer import OpenShard, npy_bytes, sums_file
from convspec.data.sources import Job, Source
from convspec.data.statistics import Sums
from convspec.data.target import Done, Target, refused, reporting
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.diagnostics.visible import visible

SHARD_BYTES = 512 << 20
"""Of a shard, unless it is said how many pictures: a few hundred of them hold ImageNet, and one is soon done."""

REPORT = "broken.txt"
_MEAN = "mean.npy"
_AHEAD = 4
"""Pictures in the making for each thread."""


class Progress(Protocol):
    def start(self, what: str, total: int, done: int) -> None: ...
    def advance(self, text: str) -> None: ...


class Stopped(Exception):
    """Preparation was asked to stop. done, total: pictures."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"stopped after {done:,} of {total:,} pictures; type the same command again to go on")
        self.done, self.total = done, total


@dataclass(frozen=True, slots=True)
class Options:
    """shard_pictures: in a shard; None for as many as fill `SHARD_BYTES`. jobs: threads. limit_broken: files that may be
    broken; None for one in a hundred, or 10 if that is more. settings: of the source, as the manifest tells them."""

    shard_pictures: int | None
    jobs: int
    limit_broken: int | None
    settings: dict[str, Any]


def prepare(
    source: Source,
    root: Path,
    options: Options,
    *,
    progress: Progress,
    notify: Notify,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Write the pictures of `source` into the folder `root`, or go on with it, and return what is in it.

    Raises DiagnosticError: CS702 a split without a good picture, CS703 more broken files than `limit_broken`, CS711 and CS726
    where `root` cannot take them; and `Stopped`.
    """
    per_shard = options.shard_pictures or max(1, SHARD_BYTES // int(np.prod(source.shape)))
    plan = _plan(source, per_shard, options)
    if source.folder is not None and root.resolve().is_relative_to(source.folder.resolve()):
        help = "name a folder beside it"
        raise DiagnosticError(Diagnostic("CS726", f"{root} lies inside {source.folder}, which is read", help=help))
    if (root / MANIFEST).is_file():
        return _finished(root, plan, notify)
    target = Target(root, plan)
    try:
        with reporting(root), reused_memory(options.jobs):
            _Preparation(source, target, per_shard, options, progress, notify, is_stopped).run()
            return _finish(source, target, plan)
    finally:
        target.close()


def _plan(source: Source, per_shard: int, options: Options) -> dict[str, Any]:
    """What decides the bytes that are written."""
    from PIL import __version__ as pillow

    return {
        "source": source.kind,
        "name": visible(source.name),
        **options.settings,
        "shape": list(source.shape),
        "shard_pictures": per_shard,
        "resampling": "the middle square, bicubic, antialiased",
        "pillow": pillow,
        "digest": source.digest,
    }


def _finished(root: Path, plan: dict[str, Any], notify: Notify) -> Manifest:
    """What is in a folder that is prepared already, if it is what was asked for. Raises CS724 and CS726."""
    manifest = read_manifest(root)
    different = [key for key in plan if key != "pillow" and manifest.prepared.get(key) != plan[key]]
    if different:
        key = different[0]
        what = "of another SRC" if key == "digest" else f"with {key} {manifest.prepared.get(key)}, not {plan[key]}"
        raise refused(f"{root} was prepared {what}", root)
    # a kill may have come between the manifest and the end
    with suppress(OSError):
        shutil.rmtree(root / WORK)
    check_on_opening(root, manifest, notify)
    return manifest


class _Preparation:
    """From the source to shards that are whole, those left out that are done."""

    def __init__(
        self,
        source: Source,
        target: Target,
        per_shard: int,
        options: Options,
        progress: Progress,
        notify: Notify,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._source, self._target, self._per_shard = source, target, per_shard
        self._progress, self._is_stopped = progress, is_stopped
        self._counts = {split: len(source.labels[split]) for split in Split}
        self._total = sum(self._counts.values())
        self._pool = ThreadPoolExecutor(options.jobs, thread_name_prefix="convspec-prepare")
        self._ahead = _AHEAD * options.jobs
        self._open: dict[Split, OpenShard] = {}
        self._sealing: deque[tuple[OpenShard, Future[Done]]] = deque()
        files = self._total + len(source.refused)
        help = "repair or remove the files that were named, or raise --limit-broken; the same command goes on"
        self._broken = BrokenFiles(source.name, files, notify, limit=options.limit_broken, help=help)

    def run(self) -> None:
        for done in self._target.done.values():
            for name, _ in done.broken:
                self._broken.recall(name)
        for name, why in self._source.refused:
            self._broken.add(name, why)
        before = sum(self._size(split, number) for split, number in self._target.done)
        self._check_space(before)
        self._progress.start("preparing", self._total, before)
        try:
            self._run(before)
            while self._sealing:
                self._record_next()
        finally:
            self._pool.shutdown(cancel_futures=True)
            # what is whole already need not be made again
            with suppress(CancelledError, Exception):
                while self._sealing:
                    self._record_next()
            for shard in (*self._open.values(), *(shard for shard, _ in self._sealing)):
                shard.close()

    def _record_next(self) -> None:
        """Wait for the shard that was begun first, and count on it."""
        _, sealed = self._sealing[0]
        self._target.record(sealed.result())
        self._sealing.popleft()

    def _run(self, before: int) -> None:
        began = time.perf_counter()
        jobs = self._source.jobs(lambda split, index: (split, index // self._per_shard) not in self._target.done)
        for count, (job, future) in enumerate(_in_order(self._pool, jobs, self._ahead), 1):
            self._take(job, future)
            self._progress.advance(f"{count / (time.perf_counter() - began):.0f} pictures/s")
            while self._sealing and self._sealing[0][1].done():
                self._record_next()
            if self._is_stopped():
                raise Stopped(before + count, self._total)

    def _take(self, job: Job, future: Future[Pictures]) -> None:
        number, place = divmod(job.index, self._per_shard)
        if place == 0:
            self._open[job.split] = OpenShard(
                self._target.root, job.split, number, self._size(job.split, number), self._source.shape
            )
        shard = self._open[job.split]
        try:
            picture = future.result()
        except (BrokenPicture, OSError) as error:
            why = str(error) if isinstance(error, BrokenPicture) else error.strerror or str(error)
            name = self._source.name_of(job.split, job.index)
            self._broken.add(name, why)
            shard.broken.append((name, why))
        else:
            shard.add(picture, int(self._source.labels[job.split][job.index]))
        if place == shard.planned - 1:
            del self._open[job.split]
            self._sealing.append((shard, self._pool.submit(shard.seal)))

    def _size(self, split: Split, number: int) -> int:
        """Pictures that are planned for a shard."""
        return min(self._per_shard, self._counts[split] - number * self._per_shard)

    def _check_space(self, before: int) -> None:
        needed = (self._total - before) * int(np.prod(self._source.shape))
        free = shutil.disk_usage(self._target.root).free
        if needed > free:
            message = (
                f"the pictures take {needed / 1e9:.1f} GB, and the disk of {self._target.root} has {free / 1e9:.1f}"
            )
            help = "free some space, name a folder on another disk, or lower --size"
            raise DiagnosticError(Diagnostic("CS711", message, help=help))


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


def _in_order(pool: ThreadPoolExecutor, jobs: Iterator[Job], ahead: int) -> Iterator[tuple[Job, Future[Pictures]]]:
    """The jobs in their order, each once it is done or will be soon, with `ahead` of them under way."""
    waiting: deque[tuple[Job, Future[Pictures]]] = deque()
    for job in jobs:
        waiting.append((job, pool.submit(job.read)))
        if len(waiting) >= ahead:
            yield waiting.popleft()
    yield from waiting


def _write(root: Path, name: str, content: bytes) -> FileEntry:
    replace_file(root / name, content)
    return FileEntry(name, len(content), hashlib.sha256(content).hexdigest())

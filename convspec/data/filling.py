"""Shards are filled: threads make the pictures that are wanted, which are written in their order and sealed beside that."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from convspec.data.dataset import Notify, Pictures, Split
from convspec.data.folder import BrokenFiles
from convspec.data.pictures import BrokenPicture
from convspec.data.shard_writer import OpenShard
from convspec.data.sources import Job, Source
from convspec.data.target import Done, Target
from convspec.diagnostics import Diagnostic, DiagnosticError

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


class Filling:
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


def _in_order(pool: ThreadPoolExecutor, jobs: Iterator[Job], ahead: int) -> Iterator[tuple[Job, Future[Pictures]]]:
    """The jobs in their order, each once it is done or will be soon, with `ahead` of them under way."""
    waiting: deque[tuple[Job, Future[Pictures]]] = deque()
    for job in jobs:
        waiting.append((job, pool.submit(job.read)))
        if len(waiting) >= ahead:
            yield waiting.popleft()
    yield from waiting

"""Batches in the order and with the crops that (seed, epoch) gives, assembled by threads that run ahead (see `readers`).

All random numbers of a batch are drawn at once; its pictures are read in parts, by whichever thread is free. What comes
out is a function of (seed, epoch, index), whatever the number of threads. Pixels stay bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from convspec.data import draws
from convspec.data.augmentation import Augmentation
from convspec.data.colors import ColorNoise
from convspec.data.dataset import Dataset, Pictures, Split
from convspec.data.draws import Indices, Stream
from convspec.data.readers import Readers, Work
from convspec.machine import usable_cores

BUFFERS = 4
"""Batches in the air: one with the reader, the others ready or in the making."""

PART_BYTES = 1 << 20
"""Stored pictures of about this many bytes are read by one thread at a time: they stay in its core's cache."""

MOST_READERS = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """images: uint8 (N, H, W, C) of the network's input size, or, with `where`, stored pictures that are still to be cut.
    labels: int64 (N,). sets: uint8 (N, classes), 1 for each label of a picture, where a picture may have several.
    shifts: float32 (N, 3), what is added to the colours of each picture once its mean is subtracted, in grey levels; None
    for nothing. scale: a factor over all that.

    All are valid until the next batch is asked for.
    """

    images: Pictures
    labels: Indices
    sets: NDArray[np.uint8] | None = None
    shifts: NDArray[np.float32] | None = None
    scale: float = 1.0
    where: Augmentation | None = None


def allocate_bytes(shape: tuple[int, ...]) -> Pictures:
    return np.empty(shape, np.uint8)


class BatchStream(Iterator[Batch]):
    """The batches of one epoch of one split, from batch `start` on. Close it, or use it in a `with`."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        *,
        batch_size: int,
        crop: tuple[int, int],
        is_centered: bool = False,
        mirror: bool = False,
        colors: ColorNoise | None = None,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        share: tuple[int, int] = (0, 1),
        readers: int | None = None,
        stored: bool = False,
        allocate: Callable[[tuple[int, ...]], Pictures] = allocate_bytes,
        on_wait: Callable[[float], None] = lambda seconds: None,
        on_return: Callable[[], None] = lambda: None,
    ) -> None:
        """crop: (height, width) of the network's input, at most the stored size of the pictures.

        is_centered, mirror, colors: of training pictures alone.
        share: (r, R): of each batch of n pictures only those from r ceil(n/R) on, at most ceil(n/R), as replica r of R
            trains on them; together and in order the shares are the batch. Of a short batch a share may be empty.
        readers: threads, at most; None for a thread a core.
        stored: hand over whole pictures and where to cut them, for whoever does it in one pass with the rest.
        allocate: gives the memory that batches are made in.
        on_wait, on_return: see `Readers`.
        """
        self._dataset, self._split, self._crop = dataset, split, crop
        self._is_centered = is_centered
        self._mirror, self._colors = mirror, colors if split is Split.TRAIN else None
        self._seed, self._epoch = seed, epoch
        self._batch_size, self._start, self._share = batch_size, start, share
        self._room = dataset.shape[0] - crop[0], dataset.shape[1] - crop[1]
        self._is_stored = stored
        size = _share_of(min(batch_size, dataset.count(split)), share[1])
        self._part = max(1, PART_BYTES // int(np.prod(dataset.shape)))
        buffers = [allocate((size, *(dataset.shape[:2] if stored else crop), dataset.shape[2])) for _ in range(BUFFERS)]
        self._readers: Readers[Pictures, Batch] = Readers(
            (partial(self._plan, indices) for indices in self._batches_of_indices()),
            buffers,
            threads=min(readers or min(usable_cores(), MOST_READERS), BUFFERS * -(-size // self._part)),
            on_wait=on_wait,
            on_return=on_return,
        )

    def __next__(self) -> Batch:
        return next(self._readers)

    @property
    def waited(self) -> float:
        """Seconds that the last batch was waited for."""
        return self._readers.waited

    def close(self) -> None:
        """Stop the threads and wait until they have left the dataset; one that hangs is left behind after a while."""
        self._readers.close()

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batches_of_indices(self) -> Iterator[Indices]:
        count = self._dataset.count(self._split)
        order = np.arange(count, dtype=np.int64)
        if self._split is Split.TRAIN:
            order = draws.permutation(count, self._seed, self._epoch, Stream.ORDER)
        rank, ranks = self._share
        for first in range(self._start * self._batch_size, count, self._batch_size):
            batch = order[first : first + self._batch_size]
            each = _share_of(len(batch), ranks)
            yield batch[rank * each : (rank + 1) * each]

    def _plan(self, indices: Indices, buffer: Pictures) -> Work[Batch]:
        """A part is a run of pictures; the last to be done makes the batch."""
        images, labels = buffer[: len(indices)], np.empty(len(indices), np.int64)
        where = None
        if self._room != (0, 0) or (self._mirror and self._split is Split.TRAIN):
            where = Augmentation.of(
                self._split,
                indices,
                self._room,
                mirror=self._mirror,
                seed=self._seed,
                epoch=self._epoch,
                is_centered=self._is_centered,
            )
        shifts = None if self._colors is None else self._colors.shifts(indices, seed=self._seed, epoch=self._epoch)
        scale = 1.0 if self._colors is None else self._colors.scale
        parts = [slice(first, first + self._part) for first in range(0, max(1, len(indices)), self._part)]

        def read(part: slice) -> None:
            if not len(indices[part]):
                return
            which = self._split, indices[part]
            if where is None or self._is_stored:
                labels[part] = self._dataset.read(*which, epoch=self._epoch, out=images[part])
            else:
                labels[part] = self._dataset.read_crops(*which, where[part], epoch=self._epoch, out=images[part])

        def finish() -> Batch:
            sets = self._dataset.label_sets(self._split, indices)
            return Batch(images, labels, sets, shifts, scale, where if self._is_stored else None)

        return Work([partial(read, part) for part in parts], finish)


def steps_per_epoch(dataset: Dataset, split: Split, batch_size: int) -> int:
    """Batches in an epoch; the last may be short, as in the originals."""
    return steps_of(dataset.count(split), batch_size)


def steps_of(pictures: int, batch_size: int) -> int:
    """Batches that so many pictures make."""
    return -(-pictures // batch_size)


def _share_of(count: int, ranks: int) -> int:
    """How many of `count` pictures each of so many replicas has, but for the last."""
    return -(-count // ranks)

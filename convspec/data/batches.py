"""Batches in the order and with the crops that (seed, epoch) gives, assembled by a thread that runs ahead.

The thread works on uint8 alone and hands over crops of the input size. A fixed number of buffers goes round between it
and the reader: that bounds how far it runs ahead, and no batch allocates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from queue import Queue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from convspec.data import draws
from convspec.data.colors import ColorNoise
from convspec.data.dataset import Dataset, Pictures, Split
from convspec.data.draws import Indices, Stream

BUFFERS = 4
"""Batches in the air: one with the reader, the others ready or in the making."""


@dataclass(frozen=True, slots=True)
class Batch:
    """images: uint8 (N, H, W, C) of the network's input size. labels: int64 (N,). sets: uint8 (N, classes), 1 for each
    label of a picture, where a picture may have several. shifts: float32 (N, 3), what is added to the colours of each
    picture once its mean is subtracted, in grey levels; None for nothing. scale: a factor over all that.

    All are valid until the next batch is asked for.
    """

    images: Pictures
    labels: Indices
    sets: NDArray[np.uint8] | None = None
    shifts: NDArray[np.float32] | None = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Where each picture of a batch is cropped, and whether it is mirrored; three of (N,)."""

    tops: Indices
    lefts: Indices
    mirrored: Indices

    @classmethod
    def of(
        cls, split: Split, indices: Indices, room: tuple[int, int], *, mirror: bool, seed: int, epoch: int
    ) -> Augmentation:
        """Random for training; the middle, unmirrored, for testing. `room`: how far a crop can move down and right."""
        if split is Split.TEST:
            zeros = np.zeros(len(indices), np.int64)
            return cls(zeros + room[0] // 2, zeros + room[1] // 2, zeros)
        return cls(
            draws.integers(indices, room[0] + 1, seed, epoch, Stream.CROP_ROW),
            draws.integers(indices, room[1] + 1, seed, epoch, Stream.CROP_COLUMN),
            draws.integers(indices, 2 if mirror else 1, seed, epoch, Stream.MIRROR),
        )


class BatchStream(Iterator[Batch]):
    """The batches of one epoch of one split, from batch `start` on. Close it, or use it in a `with`."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        *,
        batch_size: int,
        crop: tuple[int, int],
        mirror: bool = False,
        colors: ColorNoise | None = None,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
    ) -> None:
        """crop: (height, width) of the network's input, at most the stored size of the pictures.

        mirror, colors: of training pictures alone.
        """
        self._dataset, self._split, self._crop = dataset, split, crop
        self._mirror, self._colors = mirror, colors if split is Split.TRAIN else None
        self._seed, self._epoch = seed, epoch
        self._batch_size, self._start = batch_size, start
        self._free: Queue[_Buffer | None] = Queue()
        self._ready: Queue[tuple[_Buffer, Batch] | BaseException | None] = Queue()
        self._lent: _Buffer | None = None
        self._done = False
        size = min(batch_size, dataset.count(split))
        for _ in range(BUFFERS):
            self._free.put(_Buffer.for_crops(size, crop, dataset.shape[2]))
        self._thread = Thread(target=self._fill, name="convspec-batches", daemon=True)
        self._thread.start()

    def __next__(self) -> Batch:
        if self._done:
            raise StopIteration
        if self._lent is not None:
            self._free.put(self._lent)
            self._lent = None
        match self._ready.get():
            case (buffer, batch):
                self._lent = buffer
                return batch
            case BaseException() as error:
                self.close()
                raise error
            case _:
                self.close()
                raise StopIteration

    def close(self) -> None:
        """Stop the thread and wait until it has left the dataset."""
        self._done = True
        self._free.put(None)
        self._thread.join()

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fill(self) -> None:
        try:
            for indices in self._batches_of_indices():
                buffer = self._free.get()
                if buffer is None or self._done:
                    return
                self._ready.put((buffer, self._assemble(indices, buffer)))
            self._ready.put(None)
        except BaseException as error:
            self._ready.put(error)

    def _batches_of_indices(self) -> Iterator[Indices]:
        count = self._dataset.count(self._split)
        order = np.arange(count, dtype=np.int64)
        if self._split is Split.TRAIN:
            order = draws.permutation(count, self._seed, self._epoch, Stream.ORDER)
        for first in range(self._start * self._batch_size, count, self._batch_size):
            yield order[first : first + self._batch_size]

    def _assemble(self, indices: Indices, buffer: _Buffer) -> Batch:
        height, width = self._crop
        room = self._dataset.shape[0] - height, self._dataset.shape[1] - width
        images = buffer.crops[: len(indices)]
        if room == (0, 0) and not self._mirror:
            return self._labelled(
                indices, images, self._dataset.read(self._split, indices, epoch=self._epoch, out=images)
            )
        stored = buffer.stored(len(indices), self._dataset.shape)
        labels = self._dataset.read(self._split, indices, epoch=self._epoch, out=stored)
        where = Augmentation.of(self._split, indices, room, mirror=self._mirror, seed=self._seed, epoch=self._epoch)
        rows = zip(where.tops.tolist(), where.lefts.tolist(), where.mirrored.tolist(), strict=True)
        for i, (top, left, mirrored) in enumerate(rows):
            crop = stored[i, top : top + height, left : left + width]
            images[i] = crop[:, ::-1] if mirrored else crop
        return self._labelled(indices, images, labels)

    def _labelled(self, indices: Indices, images: Pictures, labels: Indices) -> Batch:
        sets = self._dataset.label_sets(self._split, indices)
        if self._colors is None:
            return Batch(images, labels, sets)
        shifts = self._colors.shifts(indices, seed=self._seed, epoch=self._epoch)
        return Batch(images, labels, sets, shifts, self._colors.scale)


class _Buffer:
    """Room for the crops of one batch, and, once it is needed, for the pictures that they are cut from."""

    def __init__(self, crops: Pictures) -> None:
        self.crops = crops
        self._stored: Pictures | None = None

    @classmethod
    def for_crops(cls, count: int, crop: tuple[int, int], channels: int) -> _Buffer:
        return cls(np.empty((count, *crop, channels), np.uint8))

    def stored(self, count: int, shape: tuple[int, int, int]) -> Pictures:
        if self._stored is None:
            self._stored = np.empty((len(self.crops), *shape), np.uint8)
        return self._stored[:count]


def steps_per_epoch(dataset: Dataset, split: Split, batch_size: int) -> int:
    """Batches in an epoch; the last may be short, as in the originals."""
    return -(-dataset.count(split) // batch_size)

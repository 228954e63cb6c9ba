"""Where each picture of a batch is cut, and whether it is mirrored: random in training (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from convspec.data import draws
from convspec.data.dataset import Pictures, Split
from convspec.data.draws import Indices, Stream


class Place(NamedTuple):
    """First row and column of the crop of a picture, and whether it is mirrored, left to right."""

    top: int
    left: int
    is_mirrored: bool


@dataclass(frozen=True, slots=True)
class Augmentation:
    """tops, lefts: first row and column of each crop. mirrored: 1 or 0. Three of (N,)."""

    tops: Indices
    lefts: Indices
    mirrored: Indices

    @classmethod
    def of(
        cls,
        split: Split,
        indices: Indices,
        room: tuple[int, int],
        *,
        mirror: bool,
        seed: int,
        epoch: int,
        is_centered: bool = False,
    ) -> Augmentation:
        """Random for training; the middle, unmirrored, for testing. `room`: how far a crop can move down and right.

        is_centered: training crops are of the middle as well.
        """
        zeros = np.zeros(len(indices), np.int64)
        middle = cls(zeros + room[0] // 2, zeros + room[1] // 2, zeros)
        if split is Split.TEST:
            return middle
        mirrored = draws.integers(indices, 2 if mirror else 1, seed, epoch, Stream.MIRROR)
        if is_centered:
            return replace(middle, mirrored=mirrored)
        return cls(
            draws.integers(indices, room[0] + 1, seed, epoch, Stream.CROP_ROW),
            draws.integers(indices, room[1] + 1, seed, epoch, Stream.CROP_COLUMN),
            mirrored,
        )

    def __getitem__(self, part: slice) -> Augmentation:
        """Of some of the pictures."""
        return Augmentation(self.tops[part], self.lefts[part], self.mirrored[part])

    def places(self) -> Iterator[Place]:
        """Picture by picture."""
        rows = zip(self.tops.tolist(), self.lefts.tolist(), self.mirrored.tolist(), strict=True)
        return (Place(top, left, bool(mirrored)) for top, left, mirrored in rows)

    def cut(self, stored: Pictures, out: Pictures) -> None:
        """Write the crops of pictures, (N, H, W, C), into `out`, (N, height, width, C)."""
        height, width = out.shape[1:3]
        for picture, crop, place in zip(stored, out, self.places(), strict=True):
            pixels = picture[place.top : place.top + height, place.left : place.left + width]
            copy_crop(pixels, crop, is_mirrored=place.is_mirrored)


def copy_crop(pixels: Pictures, out: Pictures, *, is_mirrored: bool) -> None:
    """Write pixels, (H, W, C), into `out`, from right to left if asked."""
    if not is_mirrored:
        out[...] = pixels
        return
    # by channel: NumPy turns a row of single bytes several times faster than one of pixels
    for channel in range(out.shape[2]):
        out[..., channel] = pixels[:, ::-1, channel]

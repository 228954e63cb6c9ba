"""A dataset whose pixels say which picture they are of, and where in it they are."""

from __future__ import annotations

import numpy as np

from convspec.data import Dataset, Split
from convspec.data.dataset import Pictures
from convspec.data.draws import Indices


class Numbered(Dataset):
    """Picture i is i everywhere in channel 0; channels 1 and 2 are the row and the column. Its label is i."""

    name = "numbered"
    classes = ("a", "b")
    fingerprint = "n"

    def __init__(self, count: int = 50, side: int = 12, fail_at: int | None = None) -> None:
        self.shape = (side, side, 3)
        self.total, self.fail_at, self.reads = count, fail_at, 0

    def count(self, split: Split) -> int:
        return self.total

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        self.reads += 1
        if self.fail_at == self.reads:
            raise ValueError("the disk went away")
        out[..., 0] = indices[:, None, None]
        out[..., 1] = np.arange(self.shape[0])[:, None]
        out[..., 2] = np.arange(self.shape[1])
        return indices

"""Random numbers that are functions of a key and an index, so that any one of them can be drawn again alone.

A sequential generator would tie the crop of one picture to how many were drawn before it, and thereby to the size of
the batch and to where a run was resumed. Here each number is a hash (the finaliser of SplitMix64, Steele et al. 2014)
of (key, index): a whole batch is one vectorised expression, and no library can change what it gives.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


TEST_SEED = 20120930
"""What is drawn of test pictures does not depend on the seed of the run, so that runs can be compared."""


class Stream(IntEnum):
    """What a number is drawn for; each use has a stream of its own. The values are part of what a seed means."""

    ORDER = 1
    CROP_ROW = 2
    CROP_COLUMN = 3
    MIRROR = 4
    REGION_ROW = 5
    REGION_COLUMN = 6
    RATE_NOISE = 7
    LABEL = 8
    COLOR = 9


def bits(indices: Indices, *key: int) -> NDArray[np.uint64]:
    """64 random bits for each index, (N,)."""
    state = 0
    for part in key:
        state = _mix_integer(((state ^ (part & _MASK)) + _GAMMA) & _MASK)
    z = np.uint64(state) + (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(_GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def integers(indices: Indices, bound: int | Indices, *key: int) -> Indices:
    """A whole number in [0, bound) for each index, (N,); `bound` is at least 1 and may differ by index."""
    unit = (bits(indices, *key) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (unit * bound).astype(np.int64)


def normals(indices: Indices, *key: int) -> NDArray[np.float64]:
    """A number from N(0, 1) for each index, (N,), by the transform of Box and Muller."""
    first, second = ((bits(indices, *key, half) >> np.uint64(11)).astype(np.float64) * 2.0**-53 for half in (0, 1))
    return np.asarray(np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second))


def permutation(count: int, *key: int) -> Indices:
    """The numbers 0 to count - 1 in random order."""
    return np.argsort(bits(np.arange(count, dtype=np.int64), *key), kind="stable").astype(np.int64)


def _mix_integer(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)

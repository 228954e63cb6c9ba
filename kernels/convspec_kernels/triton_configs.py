"""How the Triton kernels cut up the maps: strips, tile sizes and warps by shape. Arithmetic alone, no Triton.

It is a rule for each design (`choose_walk` for lanes, `triton_planes.rule`, `choose` for tiles). What was measured on a device
goes before it (`triton_tables`); nothing is tuned while a program runs, so that the first call costs one compilation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from convspec_kernels.layout import memory_format
from convspec_kernels.options import FusedOptions, Pool

WIDEST = 512
"""Channels of a tile at most, unless the window of a normalisation needs more."""

NARROWEST = 8
"""Channels of a tile at least."""

ELEMENTS = 2048
"""Of a tile: 8 a thread."""

ALIGNMENT = 8
"""Channels to which the border of a tile is rounded: 16 bytes of the narrowest type, so that loads stay wide."""


class Direction(Enum):
    FORWARD = "forward"
    BACKWARD = "backward"


class Problem(NamedTuple):
    """What a configuration is chosen for.

    shape: (N, C, H, W) of the maps. size, groups: of the normalisation; without one a window of 1 in one group.
    pool: None for single pixels.
    """

    direction: Direction
    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    channels_last: bool
    size: int
    groups: int
    pool: Pool | None

    @classmethod
    def of(cls, direction: Direction, x: Tensor, options: FusedOptions) -> Problem:
        size, groups = (options.lrn.size, options.lrn.groups) if options.lrn else (1, 1)
        shape = (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
        return cls(direction, shape, x.dtype, memory_format(x) is torch.channels_last, size, groups, options.pool)

    @property
    def group(self) -> int:
        """Channels of a group."""
        return self.shape[1] // self.groups

    @property
    def below(self) -> int:
        """Channels before one that its window has; within a group there are no more."""
        return min(self.size // 2, self.group - 1)

    @property
    def above(self) -> int:
        """Channels behind it."""
        return min((self.size - 1) // 2, self.group - 1)

    @property
    def windows(self) -> Pool:
        """The pool, if there is none that of single pixels."""
        return self.pool or Pool(1, 1, 0, self.shape[2], self.shape[3])


@dataclass(frozen=True, slots=True)
class Config:
    """One way to run a kernel.

    block_pixels, block_channels: powers of two. warps: of a program, a power of two. rounds: tiles that a backward
    program goes through, one after the other; each program writes one row of partial sums for the bias.
    """

    block_pixels: int
    block_channels: int
    warps: int = 8
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the channels of a group lie in tiles: tile i owns channels [i*step, (i+1)*step) and sees `border` on each side.

    One tile that holds a whole group needs no border.
    """

    block_channels: int
    border: int
    count: int

    @property
    def step(self) -> int:
        return self.block_channels - 2 * self.border

    @classmethod
    def of(cls, channels: int, reach: int, block_channels: int) -> Tiling:
        """Tiles of `block_channels` for a group of `channels`, of which each needs `reach` neighbours on both sides."""
        if channels <= block_channels:
            return cls(block_channels, 0, 1)
        border = -(-reach // ALIGNMENT) * ALIGNMENT
        if 2 * border >= block_channels:
            raise ValueError(f"tiles of {block_channels} channels have no room for {border} neighbours on each side")
        return cls(block_channels, border, -(-channels // (block_channels - 2 * border)))


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number`, which is at least 1."""
    return 1 << (number - 1).bit_length()


def choose(direction: Direction, channels: int, reach: int) -> Config:
    """The configuration for groups of `channels` channels that need `reach` neighbours each."""
    block_channels = min(power_of_two(channels), WIDEST)
    if block_channels < channels:  # four times the border: at least half of each tile is its own
        block_channels = max(block_channels, power_of_two(4 * (reach + ALIGNMENT)))
    block_channels = max(min(block_channels, power_of_two(channels)), NARROWEST)
    block_pixels = max(ELEMENTS // block_channels, 1)
    rounds = max(32 // block_pixels, 1) if direction is Direction.BACKWARD else 1
    return Config(block_pixels, block_channels, rounds=rounds)


MOST_WARPS = 16
"""Of a program: 1024 lanes on AMD."""

WIDEST_STRIP = 8
"""Windows or blocks side by side that a lane can have: each is code of its own."""

MOST_COLUMNS = 4
"""Windows or blocks side by side that the rule gives a lane at most."""

MOST_COLUMNS_ON_AMD = 2
"""The same where each comparison takes two of a hundred scalar registers."""

ROOM = 48
"""Elements that a lane of the forward kernel may carry from one row of windows to the next, with their taps as many again;
so that sixteen warps of such lanes find room on a multiprocessor, or twelve of the widest."""

ROOM_BACKWARD = 16
"""Elements in a row of pixels that a lane of the backward kernel has at most, unless one block has more: there are as many
rows of them as the stride says, and each is code of its own."""

ENOUGH_WARPS = 1300
"""About ten for each multiprocessor of a large GPU, if the maps give as many."""


@dataclass(frozen=True, slots=True)
class Walk:
    """One way to run a kernel of lanes: a lane has `columns` windows side by side (forward) or blocks of stride x stride
    pixels (backward), and goes through `rows` rows of them. warps: 32 lanes each, of a program; a power of two. With one,
    multiprocessors have the most even shares of what there are some dozens for each."""

    columns: int
    rows: int
    warps: int = 1

    def within(self, height: int, width: int) -> Walk:
        """The same where there are no more than `height` x `width` windows."""
        return Walk(min(self.columns, width), min(self.rows, height), self.warps)


@dataclass(frozen=True, slots=True)
class Climb:
    """One way to run a kernel of planes: a lane has `rows` windows (forward) or blocks of stride x stride pixels (backward)
    below one another, and goes through `channels` channels of a group. warps: as of a `Walk`."""

    rows: int
    channels: int
    warps: int = 1


Configuration = Config | Walk | Climb
"""Its type says which kernels it is for."""


def choose_walk(
    direction: Direction,
    kernel_size: int,
    stride: int,
    run: int,
    height: int,
    width: int,
    *,
    warps_a_place: float,
    most_columns: int,
) -> Walk:
    """The walk through maps of `height` x `width` windows or blocks, with lanes of `run` channels.

    warps_a_place: warps that it takes to be at one place of all maps. The columns are those for which the fewest pixels
    are seen twice, and so are the rows, among those for which there are enough warps.
    """
    if kernel_size == stride == 1:
        columns = min(most_columns, width)
    elif direction is Direction.FORWARD:
        most = max(1, min(most_columns, width, ROOM // (ceil(kernel_size / stride) * run)))
        columns = min(range(1, most + 1), key=lambda n: _pixels(width, n, kernel_size, stride))
    else:
        columns = max(1, min(ROOM_BACKWARD // stride, 8) // run)
        kernel_size = stride  # blocks do not overlap
    fewest = min(ceil(ENOUGH_WARPS / max(1.0, warps_a_place * ceil(width / columns))), height)
    segments = range(fewest, min(ceil(1.5 * fewest), height) + 1)
    rows = min((ceil(height / n) for n in segments), key=lambda n: _pixels(height, n, kernel_size, stride))
    return Walk(columns, rows)


def _pixels(length: int, windows: int, kernel_size: int, stride: int) -> int:
    """Pixels that are seen along an axis of `length` windows, if so many at a time are."""
    return ceil(length / windows) * ((windows - 1) * stride + kernel_size)

"""How the Triton kernels cut up the maps: tile sizes and warps by shape. Arithmetic alone, no Triton.

A table holds what was chosen for common shapes, a rule gives the rest; nothing is tuned while a program runs, so that
the first call costs one compilation. A tile is `block_pixels` pixels times `block_channels` channels of one group.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

WIDEST = 512
"""Channels of a tile at most, unless the window of a normalisation needs more."""

NARROWEST = 8
"""Channels of a tile at least."""

ALIGNMENT = 8
"""Channels to which the border of a tile is rounded: 16 bytes of the narrowest type, so that loads stay wide."""


class Direction(Enum):
    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class Config:
    """One way to run a kernel.

    block_pixels, block_channels: powers of two. warps: of a program, a power of two. rounds: tiles that a backward
    program goes through, one after the other; each program writes one row of partial sums for the bias.
    """

    block_pixels: int
    block_channels: int
    warps: int = 4
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


# (direction, channels last, channels of a tile, bytes of an element). Chosen by what compiled code shows, on no GPU yet:
# no spills, few registers. Channels last, a thread holds the 16 bytes of one load, and nothing but the ends of such runs
# travels between threads; with more than that, tiles are laid out again in shared memory between loads and stores.
TABLE = {
    (Direction.FORWARD, True, 64, 4): Config(8, 64),
    (Direction.FORWARD, True, 64, 2): Config(16, 64),
    (Direction.FORWARD, True, 128, 4): Config(4, 128),
    (Direction.FORWARD, True, 128, 2): Config(8, 128),
    (Direction.FORWARD, False, 64, 4): Config(32, 64, warps=8),
    (Direction.FORWARD, False, 128, 4): Config(16, 128, warps=8),
    (Direction.BACKWARD, True, 64, 4): Config(8, 64, rounds=8),
    (Direction.BACKWARD, True, 64, 2): Config(16, 64, rounds=4),
    (Direction.BACKWARD, True, 128, 4): Config(4, 128, rounds=8),
    (Direction.BACKWARD, True, 128, 2): Config(8, 128, rounds=4),
    (Direction.BACKWARD, False, 64, 4): Config(32, 64, warps=8, rounds=2),
    (Direction.BACKWARD, False, 128, 4): Config(8, 128, warps=8, rounds=4),
}


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number`, which is at least 1."""
    return 1 << (number - 1).bit_length()


def choose(direction: Direction, channels: int, reach: int, itemsize: int, *, channels_last: bool) -> Config:
    """The configuration for groups of `channels` channels of `itemsize` bytes that need `reach` neighbours each."""
    block_channels = min(power_of_two(channels), WIDEST)
    if block_channels < channels:  # four times the border: at least half of each tile is its own
        block_channels = max(block_channels, power_of_two(4 * (reach + ALIGNMENT)))
    block_channels = max(min(block_channels, power_of_two(channels)), NARROWEST)
    chosen = TABLE.get((direction, channels_last, block_channels, itemsize))
    return chosen or fallback(direction, block_channels, itemsize, channels_last=channels_last)


def fallback(direction: Direction, block_channels: int, itemsize: int, *, channels_last: bool) -> Config:
    """A configuration for any number of channels: channels last 16 bytes a thread, otherwise 8 elements."""
    warps = 4 if channels_last and block_channels <= 512 else 8
    block_pixels = max(32 * warps * (16 // itemsize if channels_last else 8) // block_channels, 1)
    rounds = max(32 // block_pixels, 1) if direction is Direction.BACKWARD else 1
    return Config(block_pixels, block_channels, warps, rounds)

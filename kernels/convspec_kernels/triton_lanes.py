"""Launches of the kernels of lanes: maps in channels last, pools of few pixels, windows of channels of a few.

A lane is a thread with a run of channels, the 16 bytes of one load; it walks down a strip of the map (`Walk`). Lanes of
one pixel are neighbours in a warp, and as many pixels share a warp as fit: three groups of ten lanes leave two over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convspec_kernels.options import FusedOptions, Pool
from convspec_kernels.triton_configs import (
    MOST_COLUMNS,
    MOST_COLUMNS_ON_AMD,
    MOST_WARPS,
    WIDEST_STRIP,
    Direction,
    Problem,
    Walk,
    choose_walk,
)
from convspec_kernels.triton_lanes_backward import backward_kernel
from convspec_kernels.triton_lanes_forward import forward_kernel
from convspec_kernels.triton_launch import Arguments, Constants, Launch, normalisation, operator

WARP = 32
AMD_WARPS = 2
"""Of 32 lanes, in one of AMD's warps of 64."""

BYTES_OF_A_RUN = 16
SHORTEST_RUN = 4
REGISTERS, MOST_REGISTERS = 2048, 255
"""Of a multiprocessor for each of 32 lanes, and of a lane at most. The backward kernel needs 80 to 200, and has about a
dozen warps for each multiprocessor."""

LARGEST_KERNEL = 4
"""Pixels of a pool along an axis, and from one to the next: each pixel of a window is code of its own."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """How the maps are cut up: `programs` programs of `walk.warps` warps, 32 lanes of which have `per_warp` places.

    pool: a pool of single pixels, if there is none. strips, segments: places beside and above one another in a map.
    """

    pool: Pool
    walk: Walk
    constants: Constants
    per_warp: int
    strips: int
    segments: int
    places: int
    programs: int
    blocks: int

    @property
    def arguments(self) -> Arguments:
        return {
            "places": self.places,
            "strips": self.strips,
            "segments": self.segments,
            "rows": self.walk.rows,
            "start": self.pool.start,
            "out_height": self.pool.out_height,
            "out_width": self.pool.out_width,
        }


def walks(problem: Problem) -> bool:
    """Whether these kernels take the maps."""
    cases, _, height, width = problem.shape
    pool = problem.windows
    return (
        problem.channels_last
        and max(pool.kernel_size, pool.stride) <= LARGEST_KERNEL
        and problem.below <= _run(problem)
        and cases * height * width < 2**31 - 2**24  # places are counted in 32 bits
    )


def rule(problem: Problem) -> Walk:
    """The walk where nothing was measured."""
    lanes, pool = _Lanes.of(problem), problem.windows
    height, width = extent(problem)
    return choose_walk(
        problem.direction,
        pool.kernel_size,
        pool.stride,
        lanes.run,
        height,
        width,
        warps_a_place=problem.shape[0] * lanes.blocks / lanes.per_warp,
        most_columns=MOST_COLUMNS_ON_AMD if torch.version.hip else MOST_COLUMNS,
    )


def misfit(problem: Problem, walk: Walk) -> str | None:
    """Why the maps cannot be walked so, in a clause; None if they can."""
    if not walks(problem):
        return "these maps are not walked"
    height, width = extent(problem)
    if not (1 <= walk.columns <= min(WIDEST_STRIP, width) and 1 <= walk.rows <= height):
        return f"columns must be from 1 to {min(WIDEST_STRIP, width)}, rows from 1 to {height}"
    if walk.warps not in (1, 2, 4, 8, MOST_WARPS):
        return f"warps must be a power of two up to {MOST_WARPS}"
    return None


def forward_launch(
    x: Tensor, bias: Tensor | None, y: Tensor, argmax: Tensor | None, options: FusedOptions, walk: Walk
) -> Launch:
    """Writes y, and an argmax of y's strides."""
    cut = _cut(Direction.FORWARD, x, options, walk)
    pool = cut.pool
    ends = (
        pool.start + (outputs - 1) * pool.stride + pool.kernel_size <= pixels
        for outputs, pixels in zip((pool.out_height, pool.out_width), x.shape[2:], strict=True)
    )
    arguments: Arguments = {
        "x": x,
        "bias": bias,
        "y": y,
        "argmax": argmax,
        "height": x.shape[2],
        "width": x.shape[3],
        **cut.arguments,
        "x_case": x.stride(0),
        "x_row": x.stride(2),
        "y_case": y.stride(0),
        "y_row": y.stride(2),
        **normalisation(options),
    }
    constants = cut.constants | {
        "EDGES": pool.start < 0 or not all(ends),
        "X_COLUMN": x.stride(3),
        "Y_CHANNEL": y.stride(1),
        "Y_COLUMN": y.stride(3),
    }
    return Launch(forward_kernel, cut.programs, arguments, constants, cut.walk.warps, x.device)


def backward_launch(
    grad_y: Tensor,
    x: Tensor,
    bias: Tensor | None,
    argmax: Tensor | None,
    grad_x: Tensor,
    options: FusedOptions,
    walk: Walk,
) -> Launch:
    """The same. `arguments["grad_bias"]`, if there is a bias, has a row of sums for each place of a warp."""
    cut = _cut(Direction.BACKWARD, x, options, walk)
    lrn, winners = options.lrn, grad_y if argmax is None else argmax
    grad_bias = None
    if bias is not None:
        rows = cut.programs // cut.blocks * cut.per_warp
        grad_bias = torch.empty((rows, x.shape[1]), dtype=torch.float32, device=x.device)
    arguments: Arguments = {
        "grad_y": grad_y,
        "x": x,
        "bias": bias,
        "argmax": argmax,
        "grad_x": grad_x,
        "grad_bias": grad_bias,
        "channel_count": x.shape[1],
        "height": x.shape[2],
        "width": x.shape[3],
        **cut.arguments,
        "first_block": _first_block(cut.pool),
        "x_case": x.stride(0),
        "x_row": x.stride(2),
        "g_case": grad_y.stride(0),
        "g_row": grad_y.stride(2),
        "m_case": winners.stride(0),
        "m_row": winners.stride(2),
        "d_case": grad_x.stride(0),
        "d_row": grad_x.stride(2),
        **normalisation(options),
    }
    constants = cut.constants | {
        "GUARD": lrn is not None and not (lrn.k > 0 and lrn.alpha >= 0),
        "X_COLUMN": x.stride(3),
        "G_CHANNEL": grad_y.stride(1),
        "G_COLUMN": grad_y.stride(3),
        "M_CHANNEL": winners.stride(1),
        "M_COLUMN": winners.stride(3),
        "D_CHANNEL": grad_x.stride(1),
        "D_COLUMN": grad_x.stride(3),
    }
    registers = min(REGISTERS // walk.warps, MOST_REGISTERS)
    return Launch(backward_kernel, cut.programs, arguments, constants, walk.warps, x.device, registers)


def _run(problem: Problem) -> int:
    """Channels of a lane. Where they do not fill runs of 16 bytes, each is loaded for itself: eight would spill backward."""
    run = BYTES_OF_A_RUN // problem.dtype.itemsize
    return run if problem.group % run == 0 else SHORTEST_RUN


def _first_block(pool: Pool) -> int:
    """The block, counted in strides from the first window, that has the first pixel."""
    return -pool.start // pool.stride


def extent(problem: Problem) -> tuple[int, int]:
    """Windows (forward) or blocks of stride x stride pixels (backward) below and beside one another in a map."""
    pool = problem.windows
    if problem.direction is Direction.FORWARD:
        return pool.out_height, pool.out_width
    height, width = ((n - 1 - pool.start) // pool.stride - _first_block(pool) + 1 for n in problem.shape[2:])
    return height, width


@dataclass(frozen=True, slots=True)
class _Lanes:
    """How a group's channels lie in lanes: `tiles` tiles of `runs` runs of `run` channels, of which each tile sees
    `border` at either end that are its neighbour's. blocks: tiles of all groups."""

    run: int
    runs: int
    tiles: int
    border: int
    blocks: int

    @property
    def per_warp(self) -> int:
        return WARP // self.runs

    @classmethod
    def of(cls, problem: Problem) -> _Lanes:
        run, below, above = _run(problem), problem.below, problem.above
        runs = -(-problem.group // run)
        tiles, border = 1, 0
        if runs > WARP:
            # Backward, the windows that hold a channel reach as far again.
            reach = max(below, above) if problem.direction is Direction.FORWARD else below + above
            border = -(-reach // run)
            tiles = -(-runs // (WARP - 2 * border))
        return cls(run, min(runs, WARP), tiles, border, problem.groups * tiles)


def _cut(direction: Direction, x: Tensor, options: FusedOptions, walk: Walk) -> _Cut:
    problem = Problem.of(direction, x, options)
    lanes, pool, (height, width) = _Lanes.of(problem), problem.windows, extent(problem)
    walk = walk.within(height, width) if direction is Direction.FORWARD else walk
    strips, segments = -(-width // walk.columns), -(-height // walk.rows)
    places = x.shape[0] * strips * segments
    warps_of_lanes = walk.warps * (AMD_WARPS if torch.version.hip else 1)
    parts = -(-places // (warps_of_lanes * lanes.per_warp))
    constants = operator(options, problem) | {
        "GROUP": problem.group,
        "BLOCKS": lanes.blocks,
        "TILES": lanes.tiles,
        "BORDER": lanes.border,
        "WHOLE": lanes.tiles == 1 and problem.group % lanes.run == 0,
        "RUNS": lanes.runs,
        "RUN": lanes.run,
        "PER_WARP": lanes.per_warp,
        "COLUMNS": walk.columns,
        "LANES": WARP * warps_of_lanes,
    }
    programs = parts * lanes.blocks if x.numel() else 0
    return _Cut(pool, walk, constants, lanes.per_warp, strips, segments, places, programs, lanes.blocks)

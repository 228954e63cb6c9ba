"""Launches of the kernels of planes: NCHW maps, pools of few pixels, windows of few channels.

A lane is a thread with a block of pixels; it goes up through the channels (`Climb`), each of which is a plane of its own in
memory. Neighbouring lanes have neighbouring blocks, so that a warp reads and writes runs of a row.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from convspec_kernels.options import FusedOptions, Pool
from convspec_kernels.triton_configs import ENOUGH_WARPS, MOST_WARPS, Climb, Direction, Problem
from convspec_kernels.triton_launch import Arguments, Constants, Launch, normalisation, operator
from convspec_kernels.triton_planes_backward import backward_kernel
from convspec_kernels.triton_planes_forward import forward_kernel

WARP, AMD_WARPS = 32, 2
UNROLL = 2
"""Channels of one turn of the loop. In each, what a lane holds of a window moves on by so many channels in its registers;
with as many as a window has it need not move at all, but Triton then takes three times as long to compile."""

LARGEST_KERNEL = 4
LARGEST_WINDOW = 9
LARGEST_STACK = 48
"""Pixels that a lane holds backward, in the channels of a window, if its blocks are no higher than one: with 80 it spills."""

ROOM = {Direction.FORWARD: 70, Direction.BACKWARD: 55}
"""Pixels of channels that a lane may hold, so that a dozen warps find room on a multiprocessor."""

MOST_ROWS = 3
FEWEST_CHANNELS = 8
"""Windows of a program's channels, which all reach beyond them, are not longer than what it writes."""


def climbs(problem: Problem) -> bool:
    """Whether these kernels take the maps."""
    cases, _, height, width = problem.shape
    pool = problem.windows
    return (
        not problem.channels_last
        and max(pool.kernel_size, pool.stride) <= LARGEST_KERNEL
        and problem.below + 1 + problem.above <= min(LARGEST_WINDOW, LARGEST_STACK // pool.stride**2)
        and cases * height * width < 2**31 - 2**24  # places are counted in 32 bits
    )


def rule(problem: Problem) -> Climb:
    """The climb where nothing was measured: as many rows as there is room for, and as few parts of the channels as give
    enough warps, for each part reads the channels beside it as well."""
    pool, (height, width) = problem.windows, extent(problem)
    size = problem.below + 1 + problem.above
    held = size * min(pool.stride, pool.kernel_size)
    if problem.direction is Direction.FORWARD:
        rows = (ROOM[Direction.FORWARD] // held - pool.kernel_size) // pool.stride + 1
    else:
        rows = ROOM[Direction.BACKWARD] // (held * pool.stride)
    rows = max(1, min(rows, MOST_ROWS, height))
    warps = problem.shape[0] * problem.groups * ceil(height / rows) * width / WARP
    parts = max(1, min(ceil(ENOUGH_WARPS / max(1.0, warps)), problem.group // FEWEST_CHANNELS))
    return Climb(rows, ceil(problem.group / parts))


def misfit(problem: Problem, climb: Climb) -> str | None:
    """Why the maps cannot be climbed so, in a clause; None if they can."""
    if not climbs(problem):
        return "these maps are not climbed"
    height, _ = extent(problem)
    if not (1 <= climb.rows <= min(8, height) and 1 <= climb.channels <= problem.group):
        return f"rows must be from 1 to {min(8, height)}, channels from 1 to {problem.group}"
    if climb.warps not in (1, 2, 4, 8, MOST_WARPS):
        return f"warps must be a power of two up to {MOST_WARPS}"
    return None


def extent(problem: Problem) -> tuple[int, int]:
    """Windows (forward) or blocks of stride x stride pixels (backward) below one another, and lanes for a row of them."""
    pool = problem.windows
    if problem.direction is Direction.FORWARD:
        return pool.out_height, pool.out_width + _helpers(pool)
    height, width = ((n - 1 - pool.start) // pool.stride - _first_block(pool) + 1 for n in problem.shape[2:])
    return height, width


def forward_launch(
    x: Tensor, bias: Tensor | None, y: Tensor, argmax: Tensor | None, options: FusedOptions, climb: Climb
) -> Launch:
    """Writes y, and an argmax of y's strides."""
    problem = Problem.of(Direction.FORWARD, x, options)
    pool = problem.windows
    arguments, constants, parts = _cut(problem, options, climb, WARP - _helpers(pool))
    ends = (
        pool.start + (outputs - 1) * pool.stride + pool.kernel_size <= pixels
        for outputs, pixels in zip((pool.out_height, pool.out_width), x.shape[2:], strict=True)
    )
    arguments |= {
        "x": x,
        "bias": bias,
        "y": y,
        "argmax": argmax,
        "x_case": x.stride(0),
        "x_channel": x.stride(1),
        "y_case": y.stride(0),
        "y_channel": y.stride(1),
    }
    constants |= {
        "EDGES": pool.start < 0 or not all(ends),
        **_rows_and_columns("X", x),
        **_rows_and_columns("Y", y),
    }
    programs = parts * int(constants["BLOCKS"]) if x.numel() else 0
    return Launch(forward_kernel, programs, arguments, constants, climb.warps, x.device)


def backward_launch(
    grad_y: Tensor,
    x: Tensor,
    bias: Tensor | None,
    argmax: Tensor | None,
    grad_x: Tensor,
    options: FusedOptions,
    climb: Climb,
) -> Launch:
    """The same. `arguments["grad_bias"]`, if there is a bias, has a row of sums a program."""
    problem = Problem.of(Direction.BACKWARD, x, options)
    arguments, constants, parts = _cut(problem, options, climb, WARP)
    lrn, winners = options.lrn, grad_y if argmax is None else argmax
    grad_bias = None
    if bias is not None:
        grad_bias = torch.empty((parts, x.shape[1]), dtype=torch.float32, device=x.device)
    arguments |= {
        "grad_y": grad_y,
        "x": x,
        "bias": bias,
        "argmax": argmax,
        "grad_x": grad_x,
        "grad_bias": grad_bias,
        "channel_count": x.shape[1],
        "first_block": _first_block(problem.windows),
        "x_case": x.stride(0),
        "x_channel": x.stride(1),
        "g_case": grad_y.stride(0),
        "g_channel": grad_y.stride(1),
        "m_case": winners.stride(0),
        "m_channel": winners.stride(1),
        "d_case": grad_x.stride(0),
        "d_channel": grad_x.stride(1),
    }
    constants |= {
        "GUARD": lrn is not None and not (lrn.k > 0 and lrn.alpha >= 0),
        **_rows_and_columns("X", x),
        **_rows_and_columns("G", grad_y),
        **_rows_and_columns("M", winners),
        **_rows_and_columns("D", grad_x),
    }
    programs = parts * int(constants["BLOCKS"]) if x.numel() else 0
    return Launch(backward_kernel, programs, arguments, constants, climb.warps, x.device)


def _cut(problem: Problem, options: FusedOptions, climb: Climb, per_warp: int) -> tuple[Arguments, Constants, int]:
    """What either kernel is told of how the maps are cut up, and into how many programs the places are: a warp's 32 lanes
    have `per_warp` places."""
    pool, (height, strips) = problem.windows, extent(problem)
    segments = -(-height // climb.rows)
    places = problem.shape[0] * strips * segments
    warps = climb.warps * (AMD_WARPS if torch.version.hip else 1)
    tiles = -(-problem.group // climb.channels)
    arguments: Arguments = {
        "places": places,
        "strips": strips,
        "segments": segments,
        "channels": climb.channels,
        "height": problem.shape[2],
        "width": problem.shape[3],
        "out_height": pool.out_height,
        "out_width": pool.out_width,
        "start": pool.start,
        **normalisation(options),
    }
    constants = operator(options, problem) | {
        "GROUP": problem.group,
        "BLOCKS": problem.groups * tiles,
        "TILES": tiles,
        "ROWS": climb.rows,
        "LANES": WARP * warps,
        "UNROLL": UNROLL,
    }
    return arguments, constants, -(-places // (per_warp * warps))


def _helpers(pool: Pool) -> int:
    """Lanes behind those of a row's windows, and at the end of a warp, whose pixels the windows before them reach."""
    return (pool.kernel_size - 1) // pool.stride


def _first_block(pool: Pool) -> int:
    """The block, counted in strides from the first window, that has the first pixel."""
    return -pool.start // pool.stride


def _rows_and_columns(name: str, tensor: Tensor) -> Constants:
    return {f"{name}_ROW": tensor.stride(2), f"{name}_COLUMN": tensor.stride(3)}

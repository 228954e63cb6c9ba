"""Launches of the kernels of lanes: maps in channels last, pools of few pixels, windows of channels of a few.

A lane is a thread with a run of channels, the 16 bytes of one load; it walks down a strip of the map (`Walk`). Lanes of
one pixel are neighbours in a warp, and as many pixels share a warp as fit: three groups of ten lanes leave two over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convspec_kernels.layout import memory_format
from convspec_kernels.options import FusedOptions, Pool
from convspec_kernels.triton_configs import MOST_COLUMNS, MOST_COLUMNS_ON_AMD, Direction, Walk, choose_walk
from convspec_kernels.triton_lanes_backward import backward_kernel
from convspec_kernels.triton_lanes_forward import forward_kernel
from convspec_kernels.triton_launch import Arguments, Constants, Launch, normalisation, operator

WARP = 32
AMD_WARPS = 2
"""Of 32 lanes, in one of AMD's warps of 64."""

BYTES_OF_A_RUN = 16
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


def walks(x: Tensor, options: FusedOptions) -> bool:
    """Whether these kernels take the maps."""
    pool, lrn = options.pool, options.lrn
    if pool is not None and max(pool.kernel_size, pool.stride) > LARGEST_KERNEL:
        return False
    if lrn is not None and min(lrn.size // 2, x.shape[1] // lrn.groups - 1) > _run(x):
        return False
    pixels = x.shape[0] * x.shape[2] * x.shape[3]  # places are counted in 32 bits
    return memory_format(x) is torch.channels_last and pixels < 2**31 - 2**24


def forward_launch(
    x: Tensor, bias: Tensor | None, y: Tensor, argmax: Tensor | None, options: FusedOptions, walk: Walk | None
) -> Launch:
    """Without a `walk`, the one for this shape. argmax has y's strides."""
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
    walk: Walk | None,
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
    return Launch(backward_kernel, cut.programs, arguments, constants, cut.walk.warps, x.device)


def _run(x: Tensor) -> int:
    """Channels of a lane."""
    return BYTES_OF_A_RUN // x.element_size()


def _first_block(pool: Pool) -> int:
    """The block, counted in strides from the first window, that has the first pixel."""
    return -pool.start // pool.stride


def _cut(direction: Direction, x: Tensor, options: FusedOptions, walk: Walk | None) -> _Cut:
    pool = options.pool or Pool(1, 1, 0, x.shape[2], x.shape[3])
    groups = options.lrn.groups if options.lrn else 1
    group, run = x.shape[1] // groups, _run(x)
    constants = operator(options, group)
    below, above = int(constants["BELOW"]), int(constants["ABOVE"])
    runs = -(-group // run)
    tiles, border = 1, 0
    if runs > WARP:
        # Backward, the windows that hold a channel reach as far again.
        border = -(-max(below, above) // run) if direction is Direction.FORWARD else -(-(below + above) // run)
        tiles = -(-runs // (WARP - 2 * border))
    whole = tiles == 1 and group % run == 0
    runs = min(runs, WARP)
    per_warp, blocks = WARP // runs, groups * tiles
    if direction is Direction.FORWARD:
        height, width = pool.out_height, pool.out_width
    else:
        height, width = ((n - 1 - pool.start) // pool.stride - _first_block(pool) + 1 for n in x.shape[2:])
    walk = walk or choose_walk(
        direction,
        pool.kernel_size,
        pool.stride,
        run,
        height,
        width,
        warps_a_place=x.shape[0] * blocks / per_warp,
        most_columns=MOST_COLUMNS_ON_AMD if torch.version.hip else MOST_COLUMNS,
    )
    walk = walk.within(height, width) if direction is Direction.FORWARD else walk
    strips, segments = -(-width // walk.columns), -(-height // walk.rows)
    places = x.shape[0] * strips * segments
    warps_of_lanes = walk.warps * (AMD_WARPS if torch.version.hip else 1)
    parts = -(-places // (warps_of_lanes * per_warp))
    constants |= {
        "GROUP": group,
        "BLOCKS": blocks,
        "TILES": tiles,
        "BORDER": border,
        "WHOLE": whole,
        "RUNS": runs,
        "RUN": run,
        "PER_WARP": per_warp,
        "COLUMNS": walk.columns,
        "LANES": WARP * warps_of_lanes,
    }
    return _Cut(pool, walk, constants, per_warp, strips, segments, places, parts * blocks if x.numel() else 0, blocks)

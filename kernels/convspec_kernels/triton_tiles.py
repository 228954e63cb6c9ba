"""Launches of the kernels of tiles, for any maps and any pool.

A program handles a tile: some pixels, numbered through all maps, times the channels of one group, or a part of them with a
border (`triton_configs.Tiling`). Each window of the pool reads all its pixels, and the window over the channels gathers
every neighbour from the lanes beside.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convspec_kernels.options import FusedOptions
from convspec_kernels.triton_configs import MOST_WARPS, Config, Direction, Problem, Tiling, choose, power_of_two
from convspec_kernels.triton_launch import Arguments, Constants, Launch, normalisation, operator
from convspec_kernels.triton_tiles_backward import backward_kernel
from convspec_kernels.triton_tiles_forward import forward_kernel

UNROLLED_WINDOWS = 4
UNROLLED_NEIGHBOURS = 16
LARGEST_TILE = 8192
"""Elements: 32 KiB of shared memory while windows over channels are summed."""


def rule(problem: Problem) -> Config:
    """The configuration where nothing was measured."""
    return choose(problem.direction, problem.group, _reach(problem))


def misfit(problem: Problem, config: Config) -> str | None:
    """Why the maps cannot be cut up so, in a clause; None if they can."""
    sizes = (config.block_pixels, config.block_channels, config.warps, config.rounds)
    if any(n < 1 or power_of_two(n) != n for n in sizes):
        return "all numbers must be powers of two"
    if config.block_pixels * config.block_channels > LARGEST_TILE or config.warps > MOST_WARPS:
        return f"a tile must have at most {LARGEST_TILE} elements and {MOST_WARPS} warps"
    try:
        Tiling.of(problem.group, _reach(problem), config.block_channels)
    except ValueError as error:
        return str(error)
    return None


def forward_launch(
    x: Tensor, bias: Tensor | None, y: Tensor, argmax: Tensor | None, options: FusedOptions, config: Config
) -> Launch:
    """Writes y, and an argmax of y's strides."""
    constants, blocks = _cut(Direction.FORWARD, x, options, config)
    arguments: Arguments = {
        "x": x,
        "bias": bias,
        "y": y,
        "argmax": argmax,
        **_geometry(x, y, options),
        **_strides("x", x),
        **_strides("y", y),
        **normalisation(options),
    }
    pixels = y.shape[0] * y.shape[2] * y.shape[3]
    programs = -(-pixels // config.block_pixels) * blocks
    arguments["pixels"] = pixels
    constants["WIDE"] = _wide(x, y)
    return Launch(forward_kernel, programs if x.numel() else 0, arguments, constants, config.warps, x.device)


def backward_launch(
    grad_y: Tensor,
    x: Tensor,
    bias: Tensor | None,
    argmax: Tensor | None,
    grad_x: Tensor,
    options: FusedOptions,
    config: Config,
) -> Launch:
    """The same. `arguments["grad_bias"]`, if there is a bias, has a row of sums a program."""
    constants, blocks = _cut(Direction.BACKWARD, x, options, config)
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    parts = -(-pixels // (config.block_pixels * config.rounds))
    grad_bias = None
    if bias is not None:
        grad_bias = torch.empty((parts, x.shape[1]), dtype=torch.float32, device=x.device)
    arguments: Arguments = {
        "grad_y": grad_y,
        "x": x,
        "bias": bias,
        "argmax": argmax,
        "grad_x": grad_x,
        "grad_bias": grad_bias,
        **_geometry(x, grad_y, options),
        **_strides("x", x),
        **_strides("g", grad_y),
        **_strides("m", argmax if argmax is not None else grad_y),
        **_strides("d", grad_x),
        **normalisation(options),
    }
    arguments["pixels"] = pixels
    arguments["channel_count"] = x.shape[1]
    size, stride = constants["KERNEL_SIZE"], constants["STRIDE"]
    constants["UNROLL_WINDOWS"] = (-(-size // stride)) ** 2 <= UNROLLED_WINDOWS
    constants["ROUNDS"] = config.rounds
    constants["WIDE"] = _wide(x, grad_y, grad_x, *([] if grad_bias is None else [grad_bias]))
    return Launch(backward_kernel, parts * blocks if x.numel() else 0, arguments, constants, config.warps, x.device)


def _reach(problem: Problem) -> int:
    """Channels beside one that a tile must see: backward, the windows that hold a channel reach as far again."""
    below, above = problem.below, problem.above
    return max(below, above) if problem.direction is Direction.FORWARD else below + above


def _cut(direction: Direction, x: Tensor, options: FusedOptions, config: Config) -> tuple[Constants, int]:
    """What the kernel is compiled for, and into how many tiles all channels are cut."""
    problem = Problem.of(direction, x, options)
    tiling = Tiling.of(problem.group, _reach(problem), config.block_channels)
    blocks = problem.groups * tiling.count
    constants = operator(options, problem) | {
        "UNROLL": problem.below + problem.above <= UNROLLED_NEIGHBOURS,
        "GROUP": problem.group,
        "BLOCKS": blocks,
        "TILES": tiling.count,
        "BORDER": tiling.border,
        "CHANNEL_AXIS": int(problem.channels_last),
        "BLOCK_PIXELS": config.block_pixels,
        "BLOCK_CHANNELS": config.block_channels,
    }
    return constants, blocks


def _wide(*tensors: Tensor) -> bool:
    """Whether some offset, or the number of a pixel in the last tile, may need more than 31 bits."""
    room = 2**31 - 2**24
    return any(sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True)) >= room for t in tensors)


def _geometry(x: Tensor, y: Tensor, options: FusedOptions) -> Arguments:
    return {
        "height": x.shape[2],
        "width": x.shape[3],
        "out_height": y.shape[2],
        "out_width": y.shape[3],
        "start": options.pool.start if options.pool else 0,
    }


def _strides(name: str, tensor: Tensor) -> Arguments:
    axes = ("case", "channel", "row", "column")
    return {f"{name}_{axis}": stride for axis, stride in zip(axes, tensor.stride(), strict=True)}

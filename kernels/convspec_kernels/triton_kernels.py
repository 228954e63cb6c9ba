"""Bias, ReLU, local response normalisation and max pooling in Triton: one launch a direction.

Forward reads the maps once and writes the pooled maps and a uint8 argmax. Backward gathers: each pixel asks the windows
that hold it for the gradients it won, computes the denominators again, and writes once; without atomics, so that equal
inputs give equal bits. What an operator leaves out (bias, ReLU, normalisation, pool) is left out when the kernel is
compiled; no pool is a pool of single pixels. Everything is computed in float32.

A program handles a tile: some pixels, numbered through all maps, times the channels of one group (or a part of them
with a border, see `triton_configs.Tiling`). Channels last, the window over the channels is summed within the run of 16
bytes that a thread loads, and the ends of runs come from the next thread by `tl.gather`, a shuffle: an eighth to a
quarter of the shuffles that gathering every neighbour takes, which is what happens in NCHW and for wide windows. A band
matrix for the tensor cores takes twice the registers; reloading shifted tiles takes many times the loads. The taps of a
pool are a loop that is not unrolled: unrolled, all their loads come first and spill.

The formulas, with `a` the maps after bias and ReLU, and window' the channels whose windows hold f:

    d[f] = k + alpha/size * sum of a[h]**2 for h in window(f)           y[f] = a[f] * d[f]**-beta
    dx[f] = g[f] * d[f]**-beta - 2*alpha/size*beta * a[f] * sum of g[h] * a[h] * d[h]**(-beta-1) for h in window'(f)
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from shutil import which
from typing import Any

import torch
import triton
from torch import Tensor

from convspec_kernels.layout import memory_format, result_shape
from convspec_kernels.options import FusedOptions, Pool, Ties
from convspec_kernels.triton_backward import backward_kernel
from convspec_kernels.triton_configs import Config, Direction, Tiling, choose
from convspec_kernels.triton_forward import forward_kernel

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MOST_TAPS = 256
UNROLLED_WINDOWS = 4
UNROLLED_NEIGHBOURS = 16
EXACT_POWERS = (0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel and all that it is called with; `run` calls it. Launches can also be compiled where there is no GPU."""

    kernel: Any
    programs: int
    arguments: dict[str, Tensor | int | float | None]
    constants: dict[str, int | float | bool]
    config: Config
    device: torch.device

    def run(self) -> None:
        if self.programs == 0:
            return
        on: AbstractContextManager[object] = (
            torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
        )
        with on:
            self.kernel[(self.programs,)](**self.arguments, **self.constants, num_warps=self.config.warps)


def unsupported(x: Tensor, options: FusedOptions) -> str | None:
    """Why these kernels cannot take the maps, in one clause; None if they can."""
    if x.dtype not in DTYPES:
        return f"Triton kernels take float32, float16 and bfloat16, not {str(x.dtype).removeprefix('torch.')}"
    if x.device.type != "cuda" and not triton.knobs.runtime.interpret:
        return f"Triton kernels run on a GPU, the maps are on the {x.device.type}"
    if x.device.type == "cuda" and not _has_compiler():
        return "Triton needs a C compiler for its launchers: gcc, clang, or one that the variable CC names"
    if options.pool is None:
        return None
    if options.pool.ties is Ties.ALL:
        return "Triton kernels give the gradient of a window to one pixel, not to all that are equal"
    if options.pool.kernel_size**2 > MOST_TAPS:
        return f"the argmax of {options.pool.kernel_size}x{options.pool.kernel_size} pixels does not fit into a byte"
    return None


@cache
def _has_compiler() -> bool:
    return "CC" in os.environ or any(map(which, ("gcc", "clang")))


def fused_forward(x: Tensor, bias: Tensor | None, options: FusedOptions) -> tuple[Tensor, Tensor | None]:
    """Maps (N, C, H, W) and bias (C,) to y and argmax (N, C, outputs along H, along W), both in x's memory format."""
    y, argmax = empty_outputs(x, options)
    forward_launch(x, bias, y, argmax, options).run()
    return y, argmax


def fused_backward(
    grad_y: Tensor, x: Tensor, bias: Tensor | None, argmax: Tensor | None, options: FusedOptions
) -> tuple[Tensor, Tensor | None]:
    """The gradients of x and bias, from that of y (any strides) and from what `fused_forward` took and gave.

    The bias's is a sum of one row a program, in a fixed order.
    """
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    launch = backward_launch(grad_y, x, bias, argmax, grad_x, options)
    launch.run()
    if bias is None:
        return grad_x, None
    partial = launch.arguments["grad_bias"]
    assert isinstance(partial, Tensor)
    return grad_x, partial.sum(0).to(bias.dtype)


def empty_outputs(x: Tensor, options: FusedOptions) -> tuple[Tensor, Tensor | None]:
    """Room for y and, if there is a pool, for its argmax, of y's strides: the kernel computes one offset for both."""
    y = torch.empty(result_shape(x, options), dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    return y, torch.empty_like(y, dtype=torch.uint8) if options.pool else None


def forward_launch(
    x: Tensor,
    bias: Tensor | None,
    y: Tensor,
    argmax: Tensor | None,
    options: FusedOptions,
    config: Config | None = None,
) -> Launch:
    """What `fused_forward` runs. Without a `config`, the one for this shape."""
    config, constants, blocks = _cut(Direction.FORWARD, x, options, config)
    arguments = {
        "x": x,
        "bias": bias,
        "y": y,
        "argmax": argmax,
        **_geometry(x, y, options),
        **_strides("x", x),
        **_strides("y", y),
        **_normalisation(options),
    }
    pixels = y.shape[0] * y.shape[2] * y.shape[3]
    programs = -(-pixels // config.block_pixels) * blocks
    arguments["pixels"] = pixels
    constants["WIDE"] = _wide(x, y)
    return Launch(forward_kernel, programs if x.numel() else 0, arguments, constants, config, x.device)


def backward_launch(
    grad_y: Tensor,
    x: Tensor,
    bias: Tensor | None,
    argmax: Tensor | None,
    grad_x: Tensor,
    options: FusedOptions,
    config: Config | None = None,
) -> Launch:
    """What `fused_backward` runs. `arguments["grad_bias"]` is there if there is a bias: float32, to be summed over rows."""
    config, constants, blocks = _cut(Direction.BACKWARD, x, options, config)
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    parts = -(-pixels // (config.block_pixels * config.rounds))
    grad_bias = None
    if bias is not None:
        grad_bias = torch.empty((parts, x.shape[1]), dtype=torch.float32, device=x.device)
    arguments = {
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
        **_normalisation(options),
    }
    arguments["pixels"] = pixels
    arguments["channel_count"] = x.shape[1]
    size, stride = constants["KERNEL_SIZE"], constants["STRIDE"]
    constants["UNROLL_WINDOWS"] = (-(-size // stride)) ** 2 <= UNROLLED_WINDOWS
    constants["ROUNDS"] = config.rounds
    constants["WIDE"] = _wide(x, grad_y, grad_x, *([] if grad_bias is None else [grad_bias]))
    return Launch(backward_kernel, parts * blocks if x.numel() else 0, arguments, constants, config, x.device)


def _cut(
    direction: Direction, x: Tensor, options: FusedOptions, config: Config | None
) -> tuple[Config, dict[str, int | float | bool], int]:
    """The configuration, what the kernel is compiled for, and into how many tiles all channels are cut."""
    lrn, pool = options.lrn, options.pool or Pool(1, 1, 0, x.shape[2], x.shape[3])
    groups = lrn.groups if lrn else 1
    group = x.shape[1] // groups
    below, above = (lrn.size // 2, (lrn.size - 1) // 2) if lrn else (0, 0)
    # Backward, the windows that hold a channel reach as far again.
    reach = max(below, above) if direction is Direction.FORWARD else below + above
    channels_last = memory_format(x) is torch.channels_last
    config = config or choose(direction, group, reach, x.element_size(), channels_last=channels_last)
    tiling = Tiling.of(group, reach, config.block_channels)
    blocks = groups * tiling.count
    run = _run(x.element_size(), min(max(below, above), group - 1), config) if channels_last else 1
    constants: dict[str, int | float | bool] = {
        "RELU_BEFORE": options.relu_before,
        "RELU_AFTER": options.relu_after,
        "BELOW": min(below, group - 1),
        "ABOVE": min(above, group - 1),
        "RUN": run,
        "UNROLL": below + above <= UNROLLED_NEIGHBOURS,
        "NORMALISE": lrn is not None,
        "POWER": lrn.beta if lrn and lrn.beta in EXACT_POWERS else 0.0,
        "KERNEL_SIZE": pool.kernel_size,
        "STRIDE": pool.stride,
        "GROUP": group,
        "BLOCKS": blocks,
        "TILES": tiling.count,
        "BORDER": tiling.border,
        "CHANNEL_AXIS": int(channels_last),
        "BLOCK_PIXELS": config.block_pixels,
        "BLOCK_CHANNELS": config.block_channels,
    }
    return config, constants, blocks


def _run(itemsize: int, reach: int, config: Config) -> int:
    """How many channels of a pixel a thread loads at once, 16 bytes; 1 where a window reaches further than the next run."""
    run = 16 // itemsize
    return run if 0 < reach <= run < config.block_channels else 1


def _wide(*tensors: Tensor) -> bool:
    """Whether some offset, or the number of a pixel in the last tile, may need more than 31 bits."""
    room = 2**31 - 2**24
    return any(sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True)) >= room for t in tensors)


def _geometry(x: Tensor, y: Tensor, options: FusedOptions) -> dict[str, Tensor | int | float | None]:
    return {
        "height": x.shape[2],
        "width": x.shape[3],
        "out_height": y.shape[2],
        "out_width": y.shape[3],
        "start": options.pool.start if options.pool else 0,
    }


def _strides(name: str, tensor: Tensor) -> dict[str, Tensor | int | float | None]:
    axes = ("case", "channel", "row", "column")
    return {f"{name}_{axis}": stride for axis, stride in zip(axes, tensor.stride(), strict=True)}


def _normalisation(options: FusedOptions) -> dict[str, Tensor | int | float | None]:
    lrn = options.lrn
    if lrn is None:
        return {"scale": 0.0, "beta": 0.0, "k": 1.0}
    return {"scale": lrn.alpha / lrn.size, "beta": lrn.beta, "k": lrn.k}

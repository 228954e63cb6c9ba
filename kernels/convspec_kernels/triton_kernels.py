"""Bias, ReLU, local response normalisation and max pooling in Triton: one launch a direction.

Forward reads the maps once and writes the pooled maps and a uint8 argmax. Backward gathers: each pixel asks the windows
that hold it for the gradients it won, computes the denominators again, and writes once; without atomics, so that equal
inputs give equal bits. What an operator leaves out (bias, ReLU, normalisation, pool) is left out when the kernel is
compiled; no pool is a pool of single pixels. Everything is computed in float32.

Copies run as fast as memory, and what decides is the number of instructions for an element. So there is a design for each
order in memory, in which no pixel's normalisation is computed for each window that holds it: kernels of lanes
(`triton_lanes`) walk down strips of channels-last maps with a run of channels a thread, kernels of planes (`triton_planes`)
go up through the channels of NCHW maps with a block of pixels a thread. Kernels of tiles (`triton_tiles`) take large pools
and wide windows over the channels, in either order, with three times the instructions. Each reads the others' argmax.

The formulas, with `a` the maps after bias and ReLU, and window' the channels whose windows hold f:

    d[f] = k + alpha/size * sum of a[h]**2 for h in window(f)           y[f] = a[f] * d[f]**-beta
    dx[f] = g[f] * d[f]**-beta - 2*alpha/size*beta * a[f] * sum of g[h] * a[h] * d[h]**(-beta-1) for h in window'(f)
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from shutil import which

import torch
import triton
from torch import Tensor

from convspec_kernels import triton_lanes, triton_planes, triton_tables, triton_tiles
from convspec_kernels.layout import memory_format, result_shape
from convspec_kernels.options import FusedOptions, Ties
from convspec_kernels.triton_configs import Climb, Configuration, Direction, Problem, Walk
from convspec_kernels.triton_launch import Launch

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MOST_TAPS = 256


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
    config: Configuration | None = None,
) -> Launch:
    """What `fused_forward` runs. Without a `config`, the one for this shape; its type is the design."""
    config = config or configuration(Problem.of(Direction.FORWARD, x, options), x.device)
    if isinstance(config, Walk):
        return triton_lanes.forward_launch(x, bias, y, argmax, options, config)
    if isinstance(config, Climb):
        return triton_planes.forward_launch(x, bias, y, argmax, options, config)
    return triton_tiles.forward_launch(x, bias, y, argmax, options, config)


def backward_launch(
    grad_y: Tensor,
    x: Tensor,
    bias: Tensor | None,
    argmax: Tensor | None,
    grad_x: Tensor,
    options: FusedOptions,
    config: Configuration | None = None,
) -> Launch:
    """What `fused_backward` runs. `arguments["grad_bias"]` is there if there is a bias: float32, to be summed over rows."""
    config = config or configuration(Problem.of(Direction.BACKWARD, x, options), x.device)
    if isinstance(config, Walk):
        return triton_lanes.backward_launch(grad_y, x, bias, argmax, grad_x, options, config)
    if isinstance(config, Climb):
        return triton_planes.backward_launch(grad_y, x, bias, argmax, grad_x, options, config)
    return triton_tiles.backward_launch(grad_y, x, bias, argmax, grad_x, options, config)


@lru_cache(maxsize=1024)
def configuration(problem: Problem, device: torch.device) -> Configuration:
    """What was measured for the problem on such a device (`triton_tables`), or the rule's."""
    return triton_tables.measured(device).get(problem) or rule(problem)


def rule(problem: Problem) -> Configuration:
    """The configuration where nothing was measured."""
    if triton_lanes.walks(problem):
        return triton_lanes.rule(problem)
    return triton_planes.rule(problem) if triton_planes.climbs(problem) else triton_tiles.rule(problem)

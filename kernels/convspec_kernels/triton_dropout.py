"""Dropout in one Triton kernel: each number read and written once, its random bits hashed where it is.

The composition of `noise` takes some fifty launches for a dropout of two layers: at AlexNet's sizes these last longer than the
products of matrices around it. The gradient is this kernel again, so that no mask is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from convspec_kernels.layout import memory_format
from convspec_kernels.noise import bound_of, empty_result, factor_of, stream_of
from convspec_kernels.triton_launch import Launch

BLOCK = 1024
WARPS = 4

_GAMMA: tl.constexpr = tl.constexpr(0x9E3779B97F4A7C15)
_FIRST: tl.constexpr = tl.constexpr(0xBF58476D1CE4E5B9)
_SECOND: tl.constexpr = tl.constexpr(0x94D049BB133111EB)


@triton.jit
def mixed(z):
    """The finaliser of SplitMix64, of uint64."""
    z = (z ^ (z >> 30)) * _FIRST
    z = (z ^ (z >> 27)) * _SECOND
    return z ^ (z >> 31)


@triton.jit(do_not_specialize=["seed", "first_case", "bound"])
def dropout_kernel(
    x,
    y,
    seed,
    streams,
    first_case,
    bound,
    factor,
    pixels,
    CHANNELS: tl.constexpr,
    LAYERS: tl.constexpr,
    LAST: tl.constexpr,
    RUNS: tl.constexpr,
    IS_ON_HOST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """BLOCK units of one layer in one case, of which a layer has CHANNELS times `pixels`; that is RUNS programs.

    seed: a number, or where it lies. LAST: channels are neighbours in memory.
    """
    layer = tl.program_id(0) // RUNS % LAYERS
    case = tl.program_id(0) // (RUNS * LAYERS)
    units = pixels * CHANNELS
    element = tl.program_id(0) % RUNS * BLOCK + tl.arange(0, BLOCK)
    exists = element < units
    unit, place = element, layer * units + element
    if LAST:
        pixel, channel = element // CHANNELS, element % CHANNELS
        unit, place = channel * pixels + pixel, (pixel * LAYERS + layer) * CHANNELS + channel
    step = seed if IS_ON_HOST else tl.load(seed)
    key = mixed((step ^ tl.load(streams + layer)).to(tl.uint64, bitcast=True))
    start = mixed(key + (first_case.to(tl.int64) + case).to(tl.uint64) * _GAMMA)
    bits = mixed(start + (unit + 1).to(tl.uint64) * _GAMMA).to(tl.int64, bitcast=True)
    place += case.to(tl.int64) * LAYERS * units
    kept = tl.where(bits < bound, factor, 0.0)
    value = tl.load(x + place, mask=exists, other=0.0).to(tl.float32)
    tl.store(y + place, (value * kept).to(y.dtype.element_ty), mask=exists)


def dropout(x: Tensor, seed: Tensor, first_case: int, layers: Sequence[str], p: float) -> Tensor:
    """What `convspec_kernels.dropout` computes in training."""
    x = x.contiguous(memory_format=memory_format(x) if x.ndim == 4 else torch.contiguous_format)
    y = empty_result(x)
    dropout_launch(x, y, seed, first_case, layers, p).run()
    return y


def dropout_launch(
    x: Tensor, y: Tensor, seed: Tensor, first_case: int, layers: Sequence[str], p: float, block: int = BLOCK
) -> Launch:
    """What `dropout` runs: x and y are dense, in one memory format. `block` units a program, a power of two.

    A seed on the CPU goes along with the launch; one on the device is read when the kernel runs, also from a graph.
    """
    cases, channels, pixels = x.shape[0], x.shape[1] // len(layers), prod(x.shape[2:])
    runs = -(-channels * pixels // block)
    is_on_host = seed.device != x.device
    arguments: dict[str, Tensor | int | float | None] = {
        "x": x,
        "y": y,
        "seed": int(seed) if is_on_host else seed,
        "streams": _streams(tuple(layers), x.device),
        "first_case": first_case,
        "bound": bound_of(p),
        "factor": factor_of(p, x.dtype),
        "pixels": pixels,
    }
    constants = {
        "CHANNELS": channels,
        "LAYERS": len(layers),
        "LAST": x.ndim == 4 and memory_format(x) is torch.channels_last,
        "RUNS": runs,
        "IS_ON_HOST": is_on_host,
        "BLOCK": block,
    }
    return Launch(dropout_kernel, cases * len(layers) * runs, arguments, dict(constants), WARPS, x.device)


@cache
def _streams(layers: tuple[str, ...], device: torch.device) -> Tensor:
    """On its way there; nothing waits for the device."""
    streams = [stream_of("dropout", layer) for layer in layers]
    return torch.tensor(streams, pin_memory=device.type == "cuda").to(device, non_blocking=True)

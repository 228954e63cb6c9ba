"""Shapes and memory formats: results keep the format of their maps."""

from __future__ import annotations

import torch
from torch import Tensor

from convspec_kernels.options import FusedOptions, Pool
from convspec_kernels.windows import Windows


def memory_format(x: Tensor) -> torch.memory_format:
    """Channels last where neighbouring channels are neighbours in memory; slices of channels-last maps count. Of maps with
    a single pixel, which are contiguous in both ways, the stride of a pixel says in which they were made, as to torch."""
    channels = x.shape[1]
    channels_last = channels > 1 and x.stride(1) == 1 and (not x.is_contiguous() or x.stride(3) >= channels)
    return torch.channels_last if channels_last else torch.contiguous_format


def argmax_format(x: Tensor) -> torch.memory_format:
    """Of the argmax, which the kernels for the CPU keep in channels last whatever the maps are in."""
    return torch.channels_last if x.device.type == "cpu" else memory_format(x)


def result_shape(x: Tensor, options: FusedOptions) -> tuple[int, int, int, int]:
    cases, channels, height, width = x.shape
    if options.pool is None:
        return cases, channels, height, width
    return cases, channels, options.pool.out_height, options.pool.out_width


def windows(x: Tensor, pool: Pool) -> tuple[Windows, Windows]:
    """Along rows and columns."""
    return (
        Windows(x.shape[2], pool.kernel_size, pool.stride, pool.start, pool.out_height),
        Windows(x.shape[3], pool.kernel_size, pool.stride, pool.start, pool.out_width),
    )

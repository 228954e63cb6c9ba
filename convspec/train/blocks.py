"""Merged parameters and their canonical pieces: what a placement joined, a checkpoint keeps apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convspec.program.program import Block, Parameter


def split(parameter: Parameter, tensor: Tensor) -> dict[str, Tensor]:
    """The canonical blocks of `tensor`, laid out like `parameter`: contiguous copies by name."""
    return {
        block.name: tensor[region(block)].detach().clone(memory_format=torch.contiguous_format)
        for block in parameter.blocks
    }


def join(parameter: Parameter, blocks: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """The tensor that has these blocks, with the strides, type and device of `like`. KeyError for a missing one."""
    tensor = torch.zeros_like(like)
    for block in parameter.blocks:
        tensor[region(block)] = blocks[block.name].to(tensor.device, tensor.dtype)
    return tensor


def region(block: Block) -> tuple[slice, ...]:
    """Where a block lies in its parameter, as an index."""
    if block.rows is None:
        return ()
    rows = slice(*block.rows)
    return (rows,) if block.columns is None else (rows, slice(*block.columns))

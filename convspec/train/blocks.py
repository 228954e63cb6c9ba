"""Merged parameters and their canonical pieces: what a placement joined, a checkpoint keeps apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convspec.program.program import Block, Parameter


class Misfit(ValueError):
    """A tensor of a checkpoint that is none of this network's; the message says which, and why."""


def split(parameter: Parameter, tensor: Tensor) -> dict[str, Tensor]:
    """The canonical blocks of `tensor`, laid out like `parameter`: contiguous copies by name."""
    return {
        block.name: tensor[region(block)].detach().clone(memory_format=torch.contiguous_format)
        for block in parameter.blocks
    }


def join(parameter: Parameter, blocks: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """The tensor that has these blocks, with the strides, type and device of `like`. Raises KeyError for a missing one, and
    Misfit for one that is not of its shape, or has no real numbers."""
    tensor = torch.zeros_like(like)
    for block in parameter.blocks:
        place, piece = tensor[region(block)], blocks[block.name]
        if piece.shape != place.shape or not piece.is_floating_point():
            found, wanted = ("x".join(map(str, shape)) for shape in (piece.shape, place.shape))
            raise Misfit(
                f"what it keeps for {block.name} is {found} of {piece.dtype}, and not {wanted} of {like.dtype}"
            )
        place.copy_(piece)
    return tensor


def region(block: Block) -> tuple[slice, ...]:
    """Where a block lies in its parameter, as an index."""
    if block.rows is None:
        return ()
    rows = slice(*block.rows)
    return (rows,) if block.columns is None else (rows, slice(*block.columns))

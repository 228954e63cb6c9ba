"""First weights as functions of the seed and the canonical name of each piece: the same however layers were merged, and in
a process that has some of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convspec.program.parameter import Block, Buffer, Parameter, Permutations
from convspec.program.program import Program
from convspec.train.blocks import region
from convspec_kernels.noise import stream_of


@torch.no_grad()
def draw_weights(net: nn.Module, program: Program, seed: int) -> None:
    """Give parameters and drawn buffers of `net` their first values, over what it drew itself. program: that it was
    emitted from."""
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    for parameter in program.parameters:
        for block in parameter.blocks:
            parameters[parameter.name][region(block)] = _drawn(parameter, block, seed)
    for buffer in program.buffers:
        if isinstance(buffer.initial, Permutations):
            for block in buffer.blocks:
                buffers[buffer.name][region(block)] = _permutations(buffer, buffer.initial.length, block, seed)


def _drawn(parameter: Parameter, block: Block, seed: int) -> Tensor:
    """A piece, (rows, ...)."""
    std, constant, rows = parameter.initialization
    piece = torch.empty(block.shape_in(parameter.shape))
    if std:
        piece.normal_(constant, std, generator=_generator("weights", block, seed))
    else:
        piece.fill_(constant)
    if rows is not None and block.rows is not None:
        piece[max(0, rows - block.rows[0]) :] = 0
    return piece


def _permutations(buffer: Buffer, length: int, block: Block, seed: int) -> Tensor:
    shape = block.shape_in(buffer.shape)
    generator = _generator("connections", block, seed)
    count = torch.Size(shape).numel() // length
    return torch.cat([torch.randperm(length, generator=generator) for _ in range(count)]).view(shape)


def _generator(use: str, block: Block, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream_of(f"{use} {seed}", block.name))

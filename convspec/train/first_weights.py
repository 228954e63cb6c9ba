"""First weights as functions of the seed and the canonical name of each piece: the same however layers were merged, and in
a process that has some of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from convspec.program.parameter import Block, Buffer, Parameter, Permutations
from convspec.program.program import Program
from convspec.train.blocks import region
from convspec_kernels.noise import stream_of


def draw_weights(net: nn.Module, program: Program, seed: int) -> None:
    """Give parameters and drawn buffers of `net` their first values, over what it drew itself, several at a time. program:
    that it was emitted from."""
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())

    def draw(tensor: Parameter | Buffer, block: Block) -> None:
        with torch.no_grad():  # a thread's own affair
            if isinstance(tensor, Parameter):
                parameters[tensor.name][region(block)] = _drawn(tensor, block, seed)
            elif isinstance(tensor.initial, Permutations):
                buffers[tensor.name][region(block)] = _permutations(tensor, tensor.initial.length, block, seed)

    tensors: list[Parameter | Buffer] = [*program.parameters, *program.buffers]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = [pool.submit(draw, tensor, block) for tensor in tensors for block in tensor.blocks]
    for job in jobs:
        job.result()


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

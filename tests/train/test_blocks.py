"""Canonical pieces of merged parameters."""

from __future__ import annotations

import pytest
import torch

from convspec.program.program import Block
from convspec.train.blocks import join, split
from tests.train.tinynet import constant, parameter

FOUR = tuple(
    Block(f"conv3{tower}.weights.{source}", (2 * row, 2 * row + 2), (3 * source, 3 * source + 3))
    for row, tower in enumerate("ab")
    for source in range(2)
)


def test_split_and_join_are_inverse() -> None:
    whole = torch.arange(4 * 6 * 3 * 3.0).reshape(4, 6, 3, 3).contiguous(memory_format=torch.channels_last)
    merged = parameter("conv3.weight", (4, 6, 3, 3), constant(0.1), *FOUR)
    pieces = split(merged, whole)
    assert list(pieces) == [block.name for block in FOUR]
    assert torch.equal(pieces["conv3b.weights.0"], whole[2:4, 0:3])
    assert all(piece.is_contiguous() for piece in pieces.values())
    joined = join(merged, pieces, whole)
    assert torch.equal(joined, whole)
    assert joined.stride() == whole.stride()


def test_split_copies() -> None:
    bias = torch.zeros(3)
    piece = split(parameter("bias", (3,), constant(0.1)), bias)["bias"]
    bias += 1
    assert not piece.any()


def test_a_missing_block_is_an_error() -> None:
    merged = parameter("conv3.weight", (4, 6), constant(0.1), *FOUR)
    with pytest.raises(KeyError, match=r"conv3a\.weights\.0"):
        join(merged, {}, torch.zeros(4, 6))

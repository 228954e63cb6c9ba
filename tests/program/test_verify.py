"""`verify` names what is illegal in a program, and passes what is legal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import convspec
from convspec.program.features import Concat, Slice
from convspec.program.operators import Op
from convspec.program.parameter import Block
from convspec.program.program import Output, Program
from convspec.program.shape import Shape
from convspec.program.verify import InvalidProgramError, verify
from convspec.resources import spec_path
from tests.emit.comparison import UNFUSED, lowered, with_blocks
from tests.emit.small_specs import TWO_TOWERS


@pytest.fixture(scope="module")
def program() -> Program:
    return lowered(convspec.check(TWO_TOWERS), passes=UNFUSED)


def changed(program: Program, name: str, /, **attributes: Any) -> Program:
    """The program with attributes of one operator replaced."""
    assert name in program.values
    operators = [replace(op, **attributes) if op.name == name else op for op in program.operators]
    return replace(program, operators=tuple(operators))


def test_every_spec_is_legal_before_and_after_the_passes() -> None:
    for path in sorted(spec_path("alexnet.cfg").parent.glob("*.cfg")):
        checked = convspec.check(path)
        for passed in (lowered(checked, (), ()), lowered(checked)):
            assert verify(passed) is passed


def test_the_operators_that_are_broken_below_exist(program: Program) -> None:
    names = {"conv1a/0", "conv1/1", "conv1", "rnorm1", "pool1", "conv2/0", "fc4/0", "scores", "cost"}
    assert names <= {op.name for op in program.operators}


@pytest.mark.parametrize(
    ("name", "attributes", "problem"),
    [
        ("conv1", {"name": "conv1/1"}, "name of an earlier operator"),
        ("conv1", {"inputs": ("nowhere",)}, "reads nowhere, which is not defined before it"),
        ("conv1", {"inputs": ("probs",)}, "reads probs, which is not defined before it"),
        ("conv1", {"shape": Shape.of_maps(8, 9, 9)}, "has shape 8x9x9, but its inputs give 8x8x8"),
        ("conv1a/0", {"padding": (1, 1, 1, 1)}, "but its inputs give"),
        ("conv1/1", {"stride": (1, 1)}, "but its inputs give"),
        ("conv1/1", {"kernel_size": (2, 2)}, "another kernel size"),
        ("conv2/0", {"groups": 1}, "has a weight for 4 channels"),
        ("conv2/0", {"weight": "nowhere.weight"}, "nowhere"),
        ("rnorm1", {"shape": Shape.of_maps(4, 8, 8)}, "has shape 4x8x8"),
        ("pool1", {"start": (-3, -3)}, "has a window without pixels"),
        ("pool1", {"start": (5, 5)}, "has a window without pixels"),
        ("fc4/0", {"inputs": ("conv2",)}, "has a weight of another width"),
        ("scores", {"shape": Shape.of_vector(5)}, "has shape 5, but its inputs give 4"),
        ("cost", {"predictions": "nowhere"}, "judges nowhere, which is not defined"),
    ],
)
def test_operators(program: Program, name: str, attributes: dict[str, Any], problem: str) -> None:
    with pytest.raises((InvalidProgramError, KeyError), match=problem):
        verify(changed(program, name, **attributes))


def inserted(program: Program, op: Op) -> Program:
    return replace(program, operators=(*program.operators, op))


@pytest.mark.parametrize(
    ("op", "problem"),
    [
        (
            Slice(name="s", inputs=("conv1",), shape=Shape((4, 8, 8)), layers=(), start=6, stop=10),
            "takes 6:10 of 8x8x8",
        ),
        (Slice(name="s", inputs=("conv1",), shape=Shape((0, 8, 8)), layers=(), start=4, stop=4), "takes 4:4"),
        (Concat(name="c", inputs=("conv1", "conv2"), shape=Shape((16, 8, 8)), layers=()), "maps of different sizes"),
    ],
)
def test_operators_that_cut_and_join(program: Program, op: Op, problem: str) -> None:
    with pytest.raises(InvalidProgramError, match=problem):
        verify(inserted(program, op))


def test_an_output_that_nothing_defines(program: Program) -> None:
    outputs = (*program.outputs, Output("fc7", "fc7"))
    with pytest.raises(InvalidProgramError, match="the program gives fc7, which it does not define"):
        verify(replace(program, outputs=outputs))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda blocks: blocks[1:], "cover"),
        (
            lambda blocks: (*blocks[:-1], Block("conv3b.weights.0", (6, 13), (0, 4))),
            "lies outside parameter conv3.weight",
        ),
        (
            lambda blocks: (*blocks[:-1], Block("conv3b.weights.0", (6, 6), (0, 4))),
            "lies outside parameter conv3.weight",
        ),
    ],
    ids=["missing", "outside", "empty"],
)
def test_blocks(program: Program, change: Callable[[tuple[Block, ...]], tuple[Block, ...]], problem: str) -> None:
    assert len(program.parameter["conv3.weight"].blocks) == 4
    with pytest.raises(InvalidProgramError, match=problem):
        verify(with_blocks(program, "conv3.weight", change(program.parameter["conv3.weight"].blocks)))

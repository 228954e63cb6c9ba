"""`verify`, operator by operator: one that is legal, at the borders of what is, and each way in which it is not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from convspec.program.costs import SumOfSquares
from convspec.program.features import Add, Concat, Gather, Maximum, Reshape, Slice
from convspec.program.images import ColorSpace, ConvertColors, GaussianBlur, Pad, Pick2d, Resize
from convspec.program.moves import Input, JoinCases, Send, TakeCases, Transfer
from convspec.program.operator import Cases
from convspec.program.operators import Op
from convspec.program.parameter import Block, Buffer, Initialization, Parameter, Update
from convspec.program.program import Output, Program
from convspec.program.schedule import Schedule
from convspec.program.shape import Shape
from convspec.program.verify import InvalidProgramError, verify, verify_placed
from convspec.program.weighted import BatchNorm, Conv2d, Linear, LocallyConnected2d, TreeLinear
from convspec.program.windows import (
    AvgPool2d,
    ChannelPool,
    FusedLRNPool,
    MaxAbsPool2d,
    MaxPool2d,
    PoolWindow,
    Reduction,
)

Dims = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """An operator, what it reads and gives, the sizes of its parameters and buffers; `change` of any of them."""

    kind: type[Any]
    reads: tuple[Dims, ...]
    gives: Dims
    tensors: dict[str, Dims] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def program(self, change: dict[str, Any]) -> Program:
        reads = change.get("reads", self.reads)
        tensors = {**self.tensors, **{name: dims for name, dims in change.items() if name in self.tensors}}
        inputs: list[Op] = [
            Input(name=f"x{i}", inputs=(), shape=Shape(dims), layers=(f"x{i}",), data_index=i)
            for i, dims in enumerate(reads)
        ]
        shape = Shape(change.get("gives", self.gives))
        other = {key: value for key, value in change.items() if key not in ("reads", "gives", *self.tensors)}
        names = tuple(each.name for each in inputs)
        op = self.kind(name="y", inputs=names, shape=shape, layers=("y",), **{**self.attributes, **other})
        parameters = [tensor(name, dims) for name, dims in tensors.items() if name != "index"]
        buffers = [Buffer(name, dims, 0, (whole(name, dims),)) for name, dims in tensors.items() if name == "index"]
        return Program("one", (*inputs, op), tuple(parameters), (Output("y", "y"),), buffers=tuple(buffers))


def whole(name: str, dims: Dims) -> Block:
    return Block(name, (0, dims[0]), (0, dims[1]) if len(dims) > 1 else None)


def tensor(name: str, dims: Dims, *blocks: Block) -> Parameter:
    update = Update(Schedule.constant(0.1), 0.9)
    return Parameter(name, dims, Initialization(), update, blocks or (whole(name, dims),))


CONV = Case(
    Conv2d,
    ((6, 7, 6),),
    (4, 4, 5),
    {"w": (4, 3, 3, 2), "b": (4,)},
    {"weight": "w", "bias": "b", "kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "groups": 2},
)
LOCAL = Case(
    LocallyConnected2d,
    ((6, 7, 6),),
    (4, 4, 3),
    {"w": (4, 3, 3, 2, 4, 3), "b": (4, 4, 3)},
    {"weight": "w", "bias": "b", "stride": (2, 1), "padding": (1, 0), "groups": 2},
)
LINEAR = Case(Linear, ((2, 2, 3), (5,)), (4,), {"w": (4, 17)}, {"weight": "w", "bias": None})
TREE = Case(
    TreeLinear, ((5,),), (3,), {"w": (5, 5), "b": (3,)}, {"weight": "w", "bias": "b", "parents": (3, 3, 4, 4, -1)}
)
# windows of 2 rows from -1, -1 + 3 and -1 + 6 on, of 3 columns from 0 and 2 on
MAX = Case(MaxPool2d, ((4, 6, 4),), (4, 3, 2), {}, {"kernel_size": (2, 3), "stride": (3, 2), "start": (-1, 0)})
FUSED = Case(
    FusedLRNPool,
    MAX.reads,
    MAX.gives,
    {},
    {"bias": None, "relu_before": True, "relu_after": False, "norm": None, "pool": PoolWindow(**MAX.attributes)},
)
PICK = Case(Pick2d, ((4, 6, 5),), (4, 3, 2), {}, {"rows": (0, 6, 2), "columns": (1, 5, 3)})
CHANNELS = Case(
    ChannelPool, ((6, 2, 2),), (3, 2, 2), {}, {"reduction": Reduction.MAX, "size": 2, "stride": 3, "start": -1}
)
SUMS = Case(ChannelPool, ((6, 2, 2),), (3, 2, 2), {}, {"reduction": Reduction.SUM, "size": 2, "stride": 2})

LEGAL = [
    (CONV, {}),
    (CONV, {"b": (4, 4, 5)}),
    (CONV, {"bias": None}),
    (CONV, {"reads": ((5, 7, 6), (1, 7, 6))}),
    (LOCAL, {}),
    (LOCAL, {"bias": None}),
    (LINEAR, {}),
    (TREE, {}),
    (MAX, {}),
    (MAX, {"start": (-1, -2)}),
    (MAX, {"start": (-1, 1)}),
    (FUSED, {}),
    (FUSED, {"pool": None, "gives": (4, 6, 4)}),
    (PICK, {}),
    (CHANNELS, {}),
    (CHANNELS, {"start": -1, "stride": 1}),
    (SUMS, {}),
    (Case(ConvertColors, ((3, 2, 5),), (3, 2, 5), {}, {"space": ColorSpace.YUV}), {}),
    (Case(GaussianBlur, ((2, 2, 5),), (2, 2, 5), {}, {"size": 3, "stdev": 1.0}), {}),
    (Case(Resize, ((2, 4, 6),), (2, 2, 3), {}, {"scale": 2.0}), {}),
    (Case(Pad, ((2, 4, 6),), (2, 11, 9), {}, {"padding": (1, 2, 3, 4)}), {}),
    (Case(Reshape, ((2, 4, 6),), (48,)), {}),
    (Case(BatchNorm, ((2, 4, 6),), (2, 4, 6), {"w": (2,)}, {"weight": "w", "bias": "w", "statistics": ("w",) * 3, "eps": 1e-5, "momentum": 0.1}), {}),
    (Case(Concat, ((2, 4, 6), (3, 4, 6)), (5, 4, 6)), {}),
    (Case(Slice, ((5, 4, 6),), (5, 4, 6), {}, {"start": 0, "stop": 5}), {}),
    (Case(Slice, ((5, 4, 6),), (2, 4, 6), {}, {"start": 1, "stop": 3}), {}),
    (Case(Gather, ((5, 4, 6),), (7, 4, 6), {"index": (7,)}, {"index": "index"}), {}),
    (Case(Send, ((4,),), (4,), {}, {"peer": 1, "exchange": 0}), {}),
    (Case(Maximum, ((4, 2, 2), (4, 2, 2)), (4, 2, 2)), {}),
]  # fmt: skip

SHAPE = "but its inputs give"
ILLEGAL: list[tuple[Case, dict[str, Any], str]] = [
    (CONV, {"kernel_size": (2, 3)}, "another kernel size"),
    (CONV, {"groups": 1}, "a weight for 3 channels"),
    (CONV, {"reads": ((5, 7, 6),)}, "a weight for 6 channels"),
    (CONV, {"reads": ((6, 9, 6),)}, SHAPE),
    (CONV, {"stride": (1, 1)}, SHAPE),
    (CONV, {"stride": (2, 2)}, SHAPE),
    (CONV, {"padding": (0, 0)}, SHAPE),
    (CONV, {"padding": (1, 1)}, SHAPE),
    (CONV, {"w": (8, 3, 3, 2)}, "biases of another size"),
    (CONV, {"b": (4, 5, 4)}, "biases of another size"),
    (CONV, {"reads": ((3, 7, 6), (3, 7, 5))}, "maps of different sizes"),
    (CONV, {"reads": ((3, 7, 6), (3, 8, 6))}, "maps of different sizes"),
    (LOCAL, {"groups": 1}, "a weight for 3 channels"),
    (LOCAL, {"w": (4, 3, 3, 2, 3, 4)}, "biases of another size"),
    (LOCAL, {"w": (4, 3, 3, 2, 3, 4), "bias": None}, SHAPE),
    (LOCAL, {"w": (5, 3, 3, 2, 4, 3)}, "gives 5 channels in 2 groups"),
    (LOCAL, {"b": (4,)}, "biases of another size"),
    (LINEAR, {"reads": ((2, 2, 3), (4,))}, "a weight of another width"),
    (LINEAR, {"reads": ((2, 2, 3),)}, "a weight of another width"),
    (LINEAR, {"w": (5, 17)}, SHAPE),
    (TREE, {"reads": ((6,),)}, "a weight of another size"),
    (TREE, {"parents": (3, 3, 3, -1)}, "a weight of another size"),
    (TREE, {"parents": (1, 2, 3, 4, -1)}, SHAPE),
    (MAX, {"reads": ((5, 6, 4),)}, SHAPE),
    (MAX, {"start": (-2, 0)}, "a window without pixels"),
    (MAX, {"start": (-1, -3)}, "a window without pixels"),
    (MAX, {"start": (0, 0)}, "a window without pixels"),
    (MAX, {"start": (-1, 2)}, "a window without pixels"),
    (MAX, {"gives": (4, 4, 2)}, "a window without pixels"),
    (FUSED, {"pool": PoolWindow((2, 3), (3, 2), (-2, 0))}, "a window without pixels"),
    (FUSED, {"pool": None}, SHAPE),
    (PICK, {"rows": (-1, 6, 2)}, "takes -1:6:2 of 6 pixels"),
    (PICK, {"rows": (0, 7, 2)}, "takes 0:7:2 of 6 pixels"),
    (PICK, {"rows": (0, 6, 0)}, "takes 0:6:0 of 6 pixels"),
    (PICK, {"columns": (0, 6, 3)}, "takes 0:6:3 of 5 pixels"),
    (PICK, {"columns": (5, 5, 3)}, "takes 5:5:3 of 5 pixels"),
    (PICK, {"columns": (0, 5, 1)}, SHAPE),
    (PICK, {"reads": ((90,),)}, "reads 90 as maps"),
    (CHANNELS, {"start": -2}, "a window without channels"),
    (CHANNELS, {"start": 0}, "a window without channels"),
    (CHANNELS, {"stride": 4}, "a window without channels"),
    (CHANNELS, {"reduction": Reduction.SUM}, "do not part the channels"),
    (SUMS, {"start": -1}, "do not part the channels"),
    (SUMS, {"stride": 1}, "do not part the channels"),
    (SUMS, {"size": 1}, "do not part the channels"),
    (SUMS, {"size": 3}, "do not part the channels"),
    (SUMS, {"reads": ((7, 2, 2),)}, "do not part the channels"),
    (Case(ConvertColors, ((4, 2, 5),), (4, 2, 5), {}, {"space": ColorSpace.YUV}), {}, "as red, green and blue"),
    (Case(ConvertColors, ((3,),), (3,), {}, {"space": ColorSpace.YUV}), {}, "reads 3 as maps"),
    (Case(GaussianBlur, ((20,),), (20,), {}, {"size": 3, "stdev": 1.0}), {}, "reads 20 as maps"),
    (Case(Resize, ((48,),), (2, 2, 3), {}, {"scale": 2.0}), {}, "reads 48 as maps"),
    (Case(Resize, ((2, 4, 6),), (6,), {}, {"scale": 2.0}), {}, "reads 2x4x6 as maps"),
    (Case(Resize, ((2, 4, 6),), (3, 2, 3), {}, {"scale": 2.0}), {}, SHAPE),
    (Case(Pad, ((2, 4, 6),), (2, 9, 11), {}, {"padding": (1, 2, 3, 4)}), {}, SHAPE),
    (Case(Reshape, ((2, 4, 6),), (47,)), {}, "changes the features of 2x4x6"),
    (Case(BatchNorm, ((2, 4, 6),), (2, 4, 6), {"w": (4,)}, {"weight": "w", "bias": "w", "statistics": ("w",) * 3, "eps": 1e-5, "momentum": 0.1}), {}, "a weight of another width"),
    (Case(Concat, ((2, 4, 6), (3, 4, 6)), (6, 4, 6)), {}, SHAPE),
    (Case(Slice, ((5, 4, 6),), (6, 4, 6), {}, {"start": -1, "stop": 5}), {}, "takes -1:5"),
    (Case(Gather, ((5, 4, 6),), (7, 4, 6), {"index": (6,)}, {"index": "index"}), {}, "an index of another length"),
    (Case(Send, ((4,),), (5,), {}, {"peer": 1, "exchange": 0}), {}, SHAPE),
    (Case(JoinCases, ((4,), (5,)), (4,)), {}, "brings together values of different shapes"),
    (Case(Add, ((5,), (4,)), (5,)), {}, "adds values of different shapes"),
    (Case(Add, ((5,), (5,)), (5,), {}, {"coefficients": (1.0,)}), {}, "has 1 coefficients"),
    (Case(Maximum, ((5,), (4,)), (5,)), {}, "compares values of different shapes"),
    (Case(SumOfSquares, ((5,),), (1,), {}, {"coefficient": 1.0, "predictions": "z"}), {}, "judges z"),
    (Case(SumOfSquares, ((5,),), (5,), {}, {"coefficient": 1.0}), {}, SHAPE),
    (Case(Linear, ((5,),), (5,), {}, {"weight": "w", "bias": None}), {}, "reads w, which the program does not have"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "change"), LEGAL)
def test_legal(case: Case, change: dict[str, Any]) -> None:
    verify(case.program(change))
    for kind in (MaxAbsPool2d, AvgPool2d) if case is MAX else ():
        verify(replace(case, kind=kind).program(change))


@pytest.mark.parametrize(("case", "change", "problem"), ILLEGAL)
def test_illegal(case: Case, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidProgramError, match=f"^{case.kind.__name__} y .*{problem}"):
        verify(case.program(change))


@pytest.mark.parametrize(
    ("dims", "blocks", "problem"),
    [
        ((4, 3), [((0, 2), (0, 3)), ((2, 4), (0, 3))], None),
        ((4, 3), [((0, 4), (0, 1)), ((0, 4), (1, 3))], None),
        ((4,), [((0, 1), None), ((1, 4), None)], None),
        ((), [(None, None)], None),
        ((), [((0, 1), None)], "is a single number"),
        ((), [(None, None), ((0, 1), None)], "is a single number"),
        ((4, 3), [((0, 2), (0, 3))], "cover 6 of 12"),
        ((4, 3), [((0, 4), (0, 3)), ((0, 1), (0, 1))], "cover 13 of 12"),
        ((4,), [((0, 3), None)], "cover 3 of 4"),
        ((4, 3), [((-1, 3), (0, 3))], "lies outside"),
        ((4, 3), [((0, 5), (0, 3))], "lies outside"),
        ((4, 3), [((0, 4), (0, 3)), ((2, 2), (0, 3))], "lies outside"),
        ((4, 3), [((0, 4), (-1, 2))], "lies outside"),
        ((4, 3), [((0, 4), (0, 4))], "lies outside"),
        ((4, 3), [((0, 4), (0, 3)), ((0, 4), (1, 1))], "lies outside"),
        ((4,), [((0, 4), (0, 2))], "lies outside"),
        ((4,), [(None, None)], "lies outside"),
    ],
)
def test_blocks_tile(dims: Dims, blocks: list[tuple[Any, Any]], problem: str | None) -> None:
    pieces = tuple(Block(f"b{i}", rows, columns) for i, (rows, columns) in enumerate(blocks))
    for program in (
        Program("one", (), (tensor("w", dims, *pieces),), ()),
        Program("one", (), (), (), buffers=(Buffer("w", dims, 0, pieces),)),
    ):
        if problem is None:
            assert verify(program) is program
        else:
            with pytest.raises(InvalidProgramError, match=problem):
                verify(program)


def copied(kind: type[Any], name: str, *inputs: str, **attributes: Any) -> Op:
    op: Op = kind(name=name, inputs=inputs, shape=Shape((4,)), layers=("x",), **attributes)
    return op


X = copied(Input, "x", data_index=0)
HALVES = [copied(TakeCases, f"x/{i}", "x", cases=Cases(i, i + 1, 2)) for i in range(2)]
THIRDS = [copied(TakeCases, f"x/{i}", "x", cases=Cases(i, i + 1, 3)) for i in range(3)]
QUARTERS = [copied(TakeCases, f"x/{i}", "x", cases=Cases(i, i + 1, 4)) for i in range(4)]
APART = "reads other cases than it computes"


@pytest.mark.parametrize(
    ("operators", "problem"),
    [
        ([*HALVES, copied(JoinCases, "y", "x/0", "x/1")], None),
        ([*THIRDS, copied(JoinCases, "y", "x/0", "x/1", "x/2")], None),
        ([*THIRDS, copied(JoinCases, "y", "x/1", "x/2", cases=Cases(1, 3, 3))], None),
        ([*THIRDS, copied(JoinCases, "y", "x/0", "x/1", cases=Cases(0, 2, 3))], None),
        ([*HALVES, copied(Reshape, "y", "x/1", cases=Cases(1, 2, 2))], None),
        ([copied(TakeCases, "y", "x")], "takes cases of what has not all of them"),
        ([HALVES[0], copied(TakeCases, "y", "x/0", cases=Cases(0, 1, 2))], "takes cases of what has not all of them"),
        ([copied(JoinCases, "y", "x")], "joins no such parts"),
        ([*HALVES, copied(JoinCases, "y", "x/0", "x")], "joins no such parts"),
        ([HALVES[0], THIRDS[1], copied(JoinCases, "y", "x/0", "x/1")], "joins no such parts"),
        ([*HALVES, copied(JoinCases, "y", "x/1", "x/0")], "joins not what it gives"),
        ([*HALVES, copied(JoinCases, "y", "x/0")], "joins not what it gives"),
        ([*HALVES, copied(JoinCases, "y", "x/0", "x/1", cases=Cases(0, 1, 2))], "joins not what it gives"),
        ([*THIRDS, copied(JoinCases, "y", "x/0", "x/2")], "joins not what it gives"),
        ([*QUARTERS, copied(JoinCases, "y", "x/0", "x/1", "x/3")], "joins not what it gives"),
        ([*THIRDS, copied(JoinCases, "y", "x/1", "x/2")], "joins not what it gives"),
        ([*THIRDS, copied(JoinCases, "y", "x/0", "x/1", cases=Cases(1, 3, 3))], "joins not what it gives"),
        ([*HALVES, copied(Reshape, "y", "x/0")], APART),
        ([*HALVES, copied(Reshape, "y", "x", cases=Cases(0, 1, 2))], APART),
        ([*HALVES, copied(Add, "y", "x/0", "x/1", cases=Cases(0, 1, 2))], APART),
    ],
)
def test_parts_of_a_minibatch(operators: list[Op], problem: str | None) -> None:
    program = Program("parts", (X, *operators), (), (Output("y", "y"),))
    if problem is None:
        assert verify(program) is program
    else:
        with pytest.raises(InvalidProgramError, match=problem):
            verify(program)


MOVED = copied(Transfer, "t", "a", source=0, gpu=1)


@pytest.mark.parametrize(
    ("operators", "problem"),
    [
        ([copied(Transfer, "a", "x", source=None, gpu=0), MOVED, copied(Reshape, "y", "t", gpu=1)], None),
        ([copied(Reshape, "y", "x", gpu=0)], "is on GPU 0, and reads a value that is not there"),
        ([copied(Transfer, "y", "x", source=0, gpu=1)], "from GPU 0 that is not there"),
        ([copied(Transfer, "a", "x", source=None, gpu=0), replace(MOVED, gpu=0)], "to where it is"),
        ([copied(Transfer, "a", "x", source=None, gpu=0), replace(MOVED, gpu=None)], "to where it is"),
        ([copied(Reshape, "y", "x", replicas=(0, 1))], "has replicas"),
        ([copied(Reshape, "y", "x"), copied(Reshape, "x", "y")], "name of an earlier operator"),
    ],
)
def test_values_are_where_they_are_read(operators: list[Op], problem: str | None) -> None:
    program = Program("placed", (X, *operators), (), ())
    if problem is None:
        assert verify_placed(program) is program
    else:
        with pytest.raises(InvalidProgramError, match=problem):
            verify_placed(program)

"""Legality of a program: what every pass may rely on and must keep. A violation is a mistake of ours, never the user's.

The shape rules stand here a second time, in terms of operators, so that a pass that changes an operator without its
shape does not go unnoticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import assert_never

from convspec.program.costs import CostOperator
from convspec.program.features import Activation, Add, Concat, Dropout, Gather, Maximum, Reshape, Slice, Softmax
from convspec.program.images import ConvertColors, GaussianBlur, Pad, Pick2d, Resize
from convspec.program.moves import Input, JoinCases, Receive, Send, TakeCases, Transfer
from convspec.program.operator import Cases
from convspec.program.operators import Op, buffers_of, parameters_of
from convspec.program.program import Buffer, Parameter, Program
from convspec.program.shape import Shape
from convspec.program.weighted import BatchNorm, Conv2d, Linear, LocallyConnected2d, TreeLinear
from convspec.program.windows import (
    AvgPool2d,
    ChannelPool,
    ContrastNorm,
    FusedLRNPool,
    LocalResponseNorm,
    MaxAbsPool2d,
    MaxPool2d,
    PoolWindow,
    Reduction,
    ResponseNorm,
)


class InvalidProgramError(Exception):
    """A pass or a lowering broke a rule of the program."""


def verify(program: Program) -> Program:
    """The program itself. Raises InvalidProgramError."""
    shapes: dict[str, Shape] = {}
    known = program.parameter.keys() | program.buffer.keys()
    for op in program.operators:
        _require(op.name not in shapes, op, "has the name of an earlier operator")
        for name in op.inputs:
            _require(name in shapes, op, f"reads {name}, which is not defined before it")
        for name in (*parameters_of(op), *buffers_of(op)):
            _require(name in known, op, f"reads {name}, which the program does not have")
        inferred = _infer(op, [shapes[name] for name in op.inputs], program)
        _require(inferred == op.shape, op, f"has shape {op.shape}, but its inputs give {inferred}")
        shapes[op.name] = op.shape
        _verify_cases(op, [program.values[name] for name in op.inputs])
    for output in program.outputs:
        if output.value not in shapes:
            raise InvalidProgramError(f"the program gives {output.value}, which it does not define")
    for parameter in program.parameters:
        _verify_blocks(parameter)
    for buffer in program.buffers:
        _verify_blocks(buffer)
    return program


def verify_placed(program: Program) -> Program:
    """The program itself, as it is after `insert_transfers`: what an operator reads is where it is. Raises
    InvalidProgramError."""
    for op in program.operators:
        _require(not op.replicas, op, "has replicas that are no operators of their own")
        sources = {program.values[name].gpu for name in op.inputs}
        if isinstance(op, Transfer):
            _require(sources == {op.source}, op, f"takes a value from GPU {op.source} that is not there")
            _require(op.gpu not in (None, op.source), op, "takes a value to where it is")
        else:
            _require(sources <= {op.gpu}, op, f"is on GPU {op.gpu}, and reads a value that is not there")
    return verify(program)


def _verify_cases(op: Op, inputs: Sequence[Op]) -> None:
    """Values of different parts of the minibatch meet in no operator but those that part and join."""
    match op:
        case TakeCases(cases=cases):
            _require(inputs[0].cases is None and cases is not None, op, "takes cases of what has not all of them")
        case JoinCases(cases=cases):
            parts = [each.cases for each in inputs if each.cases is not None]
            _require(len(parts) == len(inputs) and len({part.total for part in parts}) == 1, op, "joins no such parts")
            is_run = all(part.stop == after.first for part, after in pairwise(parts))
            joined = Cases(parts[0].first, parts[-1].stop, parts[0].total)
            whole = Cases(0, joined.total, joined.total)
            _require(is_run and joined == (whole if cases is None else cases), op, "joins not what it gives")
        case _:
            _require({each.cases for each in inputs} <= {op.cases}, op, "reads other cases than it computes")


def _require(condition: bool, op: Op, problem: str) -> None:
    if not condition:
        raise InvalidProgramError(f"{type(op).__name__} {op.name} {problem}")


def _infer(op: Op, inputs: Sequence[Shape], program: Program) -> Shape:  # noqa: C901 - a case an operator
    match op:
        case Input() | Receive():
            return op.shape
        case Send():
            return inputs[0]
        case Transfer() | TakeCases() | JoinCases():
            _require(len(set(inputs)) == 1, op, "brings together values of different shapes")
            return inputs[0]
        case Activation() | LocalResponseNorm() | ResponseNorm() | ContrastNorm() | Dropout() | Softmax():
            return inputs[0]
        case GaussianBlur():
            return _maps(op, inputs[0])
        case ConvertColors():
            _require(_maps(op, inputs[0]).channels == 3, op, f"reads {inputs[0]} as red, green and blue")
            return inputs[0]
        case Resize():
            _maps(op, inputs[0])
            return op.shape.with_channels(inputs[0].channels)
        case Pick2d():
            return _infer_pick(op, _maps(op, inputs[0]))
        case ChannelPool():
            return _infer_channel_pool(op, inputs[0])
        case Reshape():
            _require(inputs[0].features == op.shape.features, op, f"changes the features of {inputs[0]}")
            return op.shape
        case Pad(padding=(left, right, top, bottom)):
            maps = inputs[0]
            return Shape.of_maps(maps.channels, maps.height + top + bottom, maps.width + left + right)
        case Conv2d():
            return _infer_conv(op, _joined(op, inputs), program)
        case LocallyConnected2d():
            return _infer_local(op, _joined(op, inputs), program)
        case Linear():
            rows, columns = program.parameter[op.weight].shape
            _require(columns == sum(shape.features for shape in inputs), op, "has a weight of another width")
            return Shape.of_vector(rows)
        case TreeLinear(parents=parents):
            rows, columns = program.parameter[op.weight].shape
            _require((rows, columns) == (len(parents), inputs[0].features), op, "has a weight of another size")
            return Shape.of_vector(len(parents) - len(set(parents) - {-1}))
        case BatchNorm(weight=weight):
            _require(program.parameter[weight].shape == (inputs[0].channels,), op, "has a weight of another width")
            return inputs[0]
        case MaxPool2d() | MaxAbsPool2d() | AvgPool2d():
            return _infer_pool(op, op, inputs[0])
        case FusedLRNPool(pool=pool):
            return inputs[0] if pool is None else _infer_pool(op, pool, inputs[0])
        case Concat():
            return _joined(op, inputs)
        case Slice(start=start, stop=stop):
            _require(0 <= start < stop <= inputs[0].channels, op, f"takes {start}:{stop} of {inputs[0]}")
            return inputs[0].with_channels(stop - start)
        case Gather(index=index):
            _require(program.buffer[index].shape == (op.shape.channels,), op, "has an index of another length")
            return inputs[0].with_channels(op.shape.channels)
        case Add(coefficients=coefficients):
            _require(len(set(inputs)) == 1, op, "adds values of different shapes")
            _require(len(coefficients) in (0, len(inputs)), op, f"has {len(coefficients)} coefficients")
            return inputs[0]
        case Maximum():
            _require(len(set(inputs)) == 1, op, "compares values of different shapes")
            return inputs[0]
        case CostOperator(predictions=predictions):
            is_known = predictions is None or predictions in program.values
            _require(is_known, op, f"judges {predictions}, which is not defined")
            return Shape.of_vector(1)
        case _:
            assert_never(op)


def _joined(op: Op, inputs: Sequence[Shape]) -> Shape:
    _require(len({shape.dims[1:] for shape in inputs}) == 1, op, "joins maps of different sizes")
    return inputs[0].with_channels(sum(shape.channels for shape in inputs))


def _infer_conv(op: Conv2d, maps: Shape, program: Program) -> Shape:
    out_channels, in_channels, *kernel = program.parameter[op.weight].shape
    _require(tuple(kernel) == op.kernel_size, op, "has a weight of another kernel size")
    _require(maps.channels == in_channels * op.groups, op, f"has a weight for {in_channels * op.groups} channels")
    sizes = zip(maps.dims[1:], op.kernel_size, op.stride, op.padding, strict=True)
    height, width = ((size + 2 * padding - kernel) // stride + 1 for size, kernel, stride, padding in sizes)
    shape = Shape.of_maps(out_channels, height, width)
    if op.bias is not None:
        bias = program.parameter[op.bias].shape
        _require(bias in ((out_channels,), shape.dims), op, f"has biases of another size, {bias}")
    return shape


def _infer_local(op: LocallyConnected2d, maps: Shape, program: Program) -> Shape:
    out_channels, in_channels, _, _, *windows = program.parameter[op.weight].shape
    shape = Shape((out_channels, *windows))
    _require(maps.channels == in_channels * op.groups, op, f"has a weight for {in_channels * op.groups} channels")
    _require(out_channels % op.groups == 0, op, f"gives {out_channels} channels in {op.groups} groups")
    if op.bias is not None:
        _require(program.parameter[op.bias].shape == shape.dims, op, "has biases of another size")
    return shape


def _infer_pool(op: Op, pool: MaxPool2d | MaxAbsPool2d | AvgPool2d | PoolWindow, maps: Shape) -> Shape:
    """The declared shape, once every window is known to hold a pixel."""
    axes = zip(maps.dims[1:], op.shape.dims[1:], pool.kernel_size, pool.stride, pool.start, strict=True)
    for size, count, kernel, stride, start in axes:
        last = start + (count - 1) * stride
        _require(start + kernel > 0 and last < size, op, "has a window without pixels")
    return op.shape.with_channels(maps.channels)


def _maps(op: Op, shape: Shape) -> Shape:
    _require(shape.is_map and op.shape.is_map, op, f"reads {shape} as maps")
    return shape


def _infer_pick(op: Pick2d, maps: Shape) -> Shape:
    for (start, stop, step), size in ((op.rows, maps.height), (op.columns, maps.width)):
        _require(0 <= start < stop <= size and step > 0, op, f"takes {start}:{stop}:{step} of {size} pixels")
    return Shape.of_maps(maps.channels, len(range(*op.rows)), len(range(*op.columns)))


def _infer_channel_pool(op: ChannelPool, shape: Shape) -> Shape:
    """The declared count, once every window is known to hold a channel, and those of a sum to part them."""
    last = op.start + (op.shape.channels - 1) * op.stride
    _require(op.start + op.size > 0 and last < shape.channels, op, "has a window without channels")
    parts = op.start == 0 and op.size == op.stride and op.size * op.shape.channels == shape.channels
    _require(parts or op.reduction is not Reduction.SUM, op, "adds up windows that do not part the channels")
    return shape.with_channels(op.shape.channels)


def _verify_blocks(parameter: Parameter | Buffer) -> None:
    """Blocks tile the parameter: inside it, and as many numbers as it has."""
    if not parameter.shape:
        if any(block.rows is not None for block in parameter.blocks):
            raise InvalidProgramError(f"{parameter.name} is a single number, and has a block that is a part of it")
        return
    rows = parameter.shape[0]
    columns = parameter.shape[1] if len(parameter.shape) > 1 else 1
    covered = 0
    for block in parameter.blocks:
        (top, bottom), (left, right) = block.rows or (0, 0), block.columns or (0, 1)
        if not (0 <= top < bottom <= rows and 0 <= left < right <= columns):
            raise InvalidProgramError(f"block {block.name} lies outside parameter {parameter.name}")
        covered += (bottom - top) * (right - left)
    if covered != rows * columns:
        raise InvalidProgramError(f"the blocks of {parameter.name} cover {covered} of {rows * columns} rows x columns")

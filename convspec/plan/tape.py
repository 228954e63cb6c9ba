"""The calls that the emitted module of a program makes in a training step: one `match` over all operators.

It follows `emit` and `convspec_kernels` line by line, because autograd keeps what those lines ask it to keep: a ReLU its
result, an average pool its input, a dropout its mask. `tests/plan` holds it to what torch really keeps, operator by operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from convspec.emit.module import variables
from convspec.plan.calls import Order, Tape
from convspec.plan.costs import record_cost
from convspec.plan.neurons import record_activation
from convspec.plan.pools import record_max_abs_pool, record_max_pool, record_mean_pool, record_norm
from convspec.plan.recorder import FLOAT, INDEX, Precision, Processor, Recorder, Value
from convspec.plan.weighted import record_convolution, record_linear, record_local, record_tree
from convspec.program.costs import CostOperator
from convspec.program.crossings import with_gradient
from convspec.program.features import Activation, Add, Concat, Dropout, Gather, Maximum, Reshape, Slice, Softmax
from convspec.program.images import ConvertColors, GaussianBlur, Pad, Pick2d, Resize
from convspec.program.moves import Input, JoinCases, Receive, Send, TakeCases, Transfer
from convspec.program.operators import Op
from convspec.program.program import Program
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
    Reduction,
    ResponseNorm,
)


def record(program: Program, batch: int, precision: Precision, processor: Processor, gpu: int | None = None) -> Tape:
    """The calls of a step on `batch` images; of a placed program, those of one GPU.

    What comes from another GPU is memory of this one until it is no longer read, and so is the gradient of what another
    one reads. What comes from the host is there before the step.
    """
    recorder = Recorder(batch, precision, processor)
    learning = with_gradient(program)
    values: dict[str, Value] = {}
    sent: list[Value] = []
    for op in program.operators:
        recorder.operator = op.name
        recorder.cases = cases_of(op, batch)
        if gpu is None or (op.gpu == gpu and not isinstance(op, Transfer)):
            values[op.name] = _record(op, [values[name] for name in op.inputs], recorder, program)
        elif isinstance(op, Transfer) and op.gpu == gpu:
            values[op.name] = _received(op, recorder, program, has_gradient=op.name in learning)
        elif isinstance(op, Transfer) and op.source == gpu and op.name in learning:
            sent.append(recorder.call([values[op.inputs[0]]], op.shape, 0))
    costs = [cost for cost in program.costs if cost.name in values]
    named = {cost.name for cost in costs}
    held = {values[n].name: variable for n, variable in variables(program).items() if n in values and n not in named}
    returned = [values[output.value] for output in program.outputs if output.value in values]
    objective = [values[cost.name] for cost in costs if cost.coefficient]
    return recorder.tape(held, returned + [values[cost.name] for cost in costs], objective + sent)


def cases_of(op: Op, batch: int) -> int:
    """How many images of a batch an operator has: all, or those of its slices (`Cases`)."""
    if op.cases is None:
        return batch
    size = -(-batch // op.cases.total)
    return min(op.cases.stop * size, batch) - min(op.cases.first * size, batch)


def _received(op: Transfer, recorder: Recorder, program: Program, *, has_gradient: bool) -> Value:
    """What another GPU sends, in the precision of a step; or what the host sent before it."""
    origin = program.values[program.origin(op.name)]
    if op.source is None:
        width = INDEX if origin.name in program.class_inputs else FLOAT
        return recorder.give(op.name, op.shape, width, is_last=op.shape.is_map)
    width = recorder.precision.value
    received = recorder.call([], op.shape, width, is_last=op.shape.is_map)
    if has_gradient:
        recorder.crossed.add(received.name)
    return received


def _record(  # noqa: C901 - a case an operator
    op: Op, operands: Sequence[Value], recorder: Recorder, program: Program
) -> Value:
    x = operands[0] if operands else Value("", op.shape, 0)
    match op:
        case Input(name=name, shape=shape):
            width = INDEX if name in program.class_inputs else FLOAT
            return recorder.give(name, shape, width, is_last=shape.is_map)
        case Send() | Receive():
            raise AssertionError("the placed program has transfers in their place")
        case Transfer(shape=shape) | TakeCases(shape=shape):
            return recorder.part(x, shape)
        case JoinCases(shape=shape):
            return recorder.call(operands, shape, x.width, passes_gradient=True)
        case Reshape(shape=shape):
            return recorder.view(recorder.flat(x), shape)
        case Pad(shape=shape):
            return recorder.call([x], shape, x.width)
        case Conv2d():
            return record_convolution(op, operands, recorder, program)
        case LocallyConnected2d():
            return record_local(op, operands, recorder, program)
        case Linear():
            return record_linear(op, operands, recorder, program)
        case TreeLinear():
            return record_tree(op, x, recorder, program)
        case Activation():
            return record_activation(op, x, recorder)
        case BatchNorm():
            return _batch_norm(op, x, recorder, program)
        case LocalResponseNorm(blocked=blocked):
            return _composed_norm(x, 1, recorder) if blocked else record_norm(x, recorder)
        case ResponseNorm(size=size):
            return _composed_norm(x, size, recorder)
        case ContrastNorm(size=size):
            return _contrast_norm(x, size, recorder)
        case MaxPool2d():
            return record_max_pool(op, op, x, recorder, program)
        case FusedLRNPool():
            return record_max_pool(op, op.pool, x, recorder, program)
        case MaxAbsPool2d():
            return record_max_abs_pool(op, x, recorder)
        case AvgPool2d():
            return record_mean_pool(op, x, recorder)
        case Dropout():
            return _dropout(op, x, recorder)
        case Softmax():
            return recorder.elementwise(x, saves_result=True)
        case Concat(shape=shape):
            return recorder.joined(operands, shape) if len(operands) > 1 else recorder.view(x, shape)
        case Slice(shape=shape):
            return recorder.part(x, shape)
        case Gather(shape=shape):
            return recorder.call([x], shape, x.width)
        case Add():
            return _sum(op, operands, recorder)
        case Maximum():
            return _maximum(operands, recorder)
        case ChannelPool():
            return _channel_pool(op, x, recorder)
        case Pick2d(shape=shape, mirrored=mirrored):
            part = recorder.part(x, shape)
            return recorder.elementwise(part) if mirrored else part
        case GaussianBlur():
            rows = recorder.call([recorder.elementwise(x)], op.shape, x.width, saves=[x])
            return recorder.call([recorder.elementwise(rows)], op.shape, x.width, saves=[rows])
        case Resize() | ConvertColors():
            return _image(op.shape, x, recorder)
        case CostOperator():
            return record_cost(op, operands, recorder)
        case _:
            assert_never(op)


def _batch_norm(op: BatchNorm, x: Value, recorder: Recorder, program: Program) -> Value:
    """Keeps what it reads, and mean and deviation of each channel. A gradient in bf16 that does not lie as the result is
    summed up in fp32 on the CPU."""
    learns = [(name, FLOAT * op.shape.channels) for name in (op.weight, op.bias) if _learns(name, program)]
    is_widened = x.width < FLOAT and recorder.processor is Processor.CPU
    return recorder.call(
        [x],
        op.shape,
        x.width,
        saves=[x],
        kept=2 * FLOAT * op.shape.channels,
        learns=learns,
        order=Order.OWN,
        turned_extra=recorder.bytes(op.shape, FLOAT) if is_widened else 0,
    )


def _learns(parameter: str, program: Program) -> bool:
    return not program.parameter[parameter].update.rate.is_frozen


def _composed_norm(x: Value, size: int, recorder: Recorder) -> Value:
    """`reference.response_norm`: squares, a mean over windows, a power, a division; in fp32 at least."""
    wide = recorder.cast(x, max(x.width, FLOAT))
    squares = recorder.squared(wide)
    framed = recorder.call([squares], _framed(x.shape, size), wide.width)
    energy = recorder.call([framed], x.shape, wide.width, saves=[framed])
    return recorder.cast(recorder.divided_by_power(wide, energy), x.width)


def _contrast_norm(x: Value, size: int, recorder: Recorder) -> Value:
    """`reference.contrast_norm`: as above, over the differences from means over windows. torch has means over windows of
    an even size on a map with a frame alone."""
    wide = recorder.cast(x, max(x.width, FLOAT))
    source = wide if size % 2 else recorder.call([wide], _framed(x.shape, size), wide.width)
    means = recorder.call([source], x.shape, wide.width, saves=[source])
    if source is not wide:
        means = recorder.scaled(means)
    differences = recorder.call([wide, means], x.shape, wide.width)
    squares = recorder.squared(differences)
    surrounded = recorder.call([squares], _framed(x.shape, size), wide.width)
    energy = recorder.call([surrounded], x.shape, wide.width, saves=[surrounded])
    return recorder.cast(recorder.divided_by_power(wide, energy), x.width)


def _framed(maps: Shape, size: int) -> Shape:
    """Maps with zeros around them, as many as a window of `size` pixels reaches out."""
    return Shape.of_maps(maps.channels, maps.height + size - 1, maps.width + size - 1)


def _dropout(op: Dropout, x: Value, recorder: Recorder) -> Value:
    """Keeps the mask, numbers like x's; while it is drawn there are two numbers of 64 bits for each unit, and no result yet."""
    is_drawn = op.enabled and 0 < op.keep < 1
    value = x
    if is_drawn:
        bits = 2 * recorder.bytes(x.shape, INDEX) - recorder.bytes(x.shape, x.width)
        value = recorder.elementwise(x, kept=recorder.bytes(x.shape, x.width), forward_extra=bits)
    elif op.enabled and op.keep != 1:
        value = recorder.scaled(x)
    if op.rescale_at_test and (is_drawn or not op.enabled or op.keep in (0, 1)):
        value = recorder.scaled(value)
    return value if value is not x else recorder.view(x, op.shape, is_last=x.is_last)


def _sum(op: Add, operands: Sequence[Value], recorder: Recorder) -> Value:
    """Terms are added one by one; a coefficient makes a term of its own."""
    coefficients = op.coefficients or (1.0,) * len(operands)
    total: Value | None = None
    for operand, coefficient in zip(operands, coefficients, strict=True):
        term = recorder.scaled(operand) if abs(coefficient) != 1 or (total is None and coefficient < 0) else operand
        if total is None:
            total = term
        else:
            is_same = coefficient > 0
            total = recorder.call([total, term], op.shape, max(total.width, term.width), passes_gradient=is_same)
    assert total is not None
    return total if total is not operands[0] else recorder.view(total, op.shape, is_last=total.is_last)


def _maximum(operands: Sequence[Value], recorder: Recorder) -> Value:
    """`maximum`: the largest, plus zeros that carry the gradient of each that equals it."""
    first = operands[0]
    total = recorder.call([], first.shape, first.width, is_last=first.is_last)
    for value in operands:
        zeros = recorder.elementwise(value, kept=recorder.bytes(first.shape, 1))
        total = recorder.call([total, zeros], first.shape, first.width, passes_gradient=True)
    return total


def _channel_pool(op: ChannelPool, x: Value, recorder: Recorder) -> Value:
    """A sum keeps nothing; a largest of channels is a pool over the rows of a map of channels by pixels."""
    if op.reduction is Reduction.SUM:
        return recorder.call([x], op.shape, x.width)
    rows = recorder.view(recorder.flat(x), Shape.of_vector(x.shape.features))
    reach = op.start + (op.shape.channels - 1) * op.stride + op.size
    seen = max(reach - min(op.start, 0), 1) * (x.shape.features // x.shape.channels)
    framed = recorder.call([rows], Shape.of_vector(seen), x.width)
    if op.ties_share:
        pixels = op.size * op.shape.features
        zeros = recorder.call([framed], Shape.of_vector(pixels), x.width, kept=recorder.cases * pixels)
        return recorder.call([zeros], op.shape, x.width)
    return recorder.call([framed], op.shape, x.width, saves=[framed], kept=recorder.bytes(op.shape, INDEX))


def _image(shape: Shape, x: Value, recorder: Recorder) -> Value:
    """Resizing and colours: a tensor on the way. They stand on data, which has no gradient."""
    between = recorder.elementwise(x)
    return recorder.call([between], shape, x.width)

"""Python expressions for operators: one `match` over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from convspec.emit.costs import cost_expression
from convspec.emit.holders import Holders, one_or_both, path_of, window_options
from convspec.emit.lines import literal
from convspec.program.costs import CostOperator
from convspec.program.features import Activation, Add, Concat, Dropout, Gather, Maximum, Neuron, Reshape, Slice, Softmax
from convspec.program.images import ColorSpace, ConvertColors, GaussianBlur, Pad, Pick2d, Resize
from convspec.program.moves import Input, JoinCases, Receive, Send, TakeCases, Transfer
from convspec.program.operator import Cases
from convspec.program.operators import Op, parameters_of
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

_COLORS = {ColorSpace.YUV: "rgb_to_yuv", ColorSpace.LAB: "rgb_to_lab", ColorSpace.CENTERED_LAB: "rgb_to_lab"}
# Neurons whose expression names its operand more than once.
_REPEATING = {Neuron.ABS, Neuron.SOFTRELU, Neuron.DRELU, Neuron.NRELU}
# Neurons whose expression is a sum or a product.
_ARITHMETIC = {Neuron.TANH, Neuron.ABSTANH, Neuron.LINEAR, Neuron.DRELU, Neuron.LOG}


def is_call(op: Op) -> bool:
    """Whether the expression of `op` is a call, so that it can stand in any other expression."""
    match op:
        case Add(inputs=inputs, coefficients=coefficients):
            return len(inputs) == 1 and not coefficients
        case Dropout(rescale_at_test=rescale_at_test):
            return not rescale_at_test
        case Activation(neuron=neuron):
            return neuron not in _ARITHMETIC
        case _:
            return True


def repeats_operand(op: Op) -> bool:
    """Whether the expression of `op` names its operand more than once, so that it has to be a variable."""
    return isinstance(op, Activation) and op.neuron in _REPEATING


def takes_expressions(op: Op) -> bool:
    """Whether the expression of `op` has its operand once, as an argument, so that any expression can stand there."""
    match op:
        case Activation(neuron=neuron):
            return neuron not in _ARITHMETIC | _REPEATING
        case Dropout(enabled=enabled):
            return enabled
        case Reshape() | Slice() | Gather() | Add() | Linear() | Pick2d():
            return False
        case ChannelPool(reduction=reduction):
            return reduction is Reduction.MAX
        case _:
            return True


def expression(  # noqa: C901 - a case an operator
    op: Op, operands: Sequence[str], shapes: Sequence[Shape], holders: Holders
) -> str:
    """The value of `op` over the expressions of its inputs, whose sizes are `shapes`."""
    x = operands[0] if operands else ""
    match op:
        case Input():
            return f"inputs[{literal(op.key)}]"
        case Transfer(gpu=gpu):
            return f"{x}.to(gpu{gpu}, non_blocking=True)"
        case Send() | Receive():
            raise AssertionError("they are written an exchange at a time")
        case TakeCases(cases=cases):
            return f"{x}[{_slices(cases)}]"
        case JoinCases():
            return f"torch.cat([{', '.join(operands)}])"
        case Reshape(shape=shape):
            flat = f"{x}.flatten(1)" if shapes[0].is_map else x
            return f"{flat}.unflatten(1, {shape.dims})" if shape.is_map else flat
        case Pad(padding=padding):
            return f"F.pad({x}, {padding})"
        case Conv2d():
            return _convolution(op, _joined(operands), holders)
        case BatchNorm(weight=weight):
            return f"self.{path_of(weight)}({x})"
        case LocallyConnected2d():
            return f"locally_connected2d({_joined(operands)}, {holders.arguments(op)}{window_options(op)})"
        case Linear():
            return _linear(op, operands, shapes, holders)
        case TreeLinear(weight=weight):
            return f"self.{path_of(weight)}({x})"
        case Activation():
            return _activation(op, x)
        case LocalResponseNorm(size=size, alpha=alpha, beta=beta, k=k, groups=groups, blocked=blocked):
            windows = (f", groups={groups}" if groups > 1 else "") + (", blocked=True" if blocked else "")
            return f"local_response_norm({x}, {size}, alpha={alpha!r}, beta={beta!r}, k={k!r}{windows})"
        case ResponseNorm(size=size, alpha=alpha, beta=beta, k=k):
            return f"response_norm({x}, {size}, alpha={alpha!r}, beta={beta!r}, k={k!r})"
        case ContrastNorm(size=size, alpha=alpha, beta=beta, k=k, holds_means=holds_means):
            gradient = ', gradient="published"' if holds_means else ""
            return f"contrast_norm({x}, {size}, alpha={alpha!r}, beta={beta!r}, k={k!r}{gradient})"
        case MaxPool2d():
            return f"max_pool2d({', '.join([x, *_pool_arguments(op, op, shapes[0])])})"
        case MaxAbsPool2d():
            return f"max_abs_pool2d({', '.join([x, *_pool_arguments(op, op, shapes[0])])})"
        case FusedLRNPool():
            return f"bias_act_lrn_max_pool2d({', '.join([x, *_fused_arguments(op, shapes[0], holders)])})"
        case AvgPool2d(is_sum=is_sum):
            return f"{'sum' if is_sum else 'avg'}_pool2d({', '.join([x, *_pool_arguments(op, op, shapes[0])])})"
        case Dropout():
            return _dropout(op, x)
        case Softmax():
            return f"F.softmax({x}, dim=1)"
        case Concat():
            return _joined(operands)
        case Slice(start=start, stop=stop):
            return f"{x}[:, {start}:{stop}]"
        case Gather(index=index):
            return f"{x}.index_select(1, {holders.buffer(index, op)})"
        case Add(coefficients=coefficients):
            return _sum(operands, coefficients)
        case Maximum():
            return f"maximum({', '.join(operands)})"
        case ChannelPool():
            return _channel_pool(op, x, shapes[0])
        case Pick2d():
            return _pick(op, x, shapes[0])
        case GaussianBlur(size=size, stdev=stdev):
            return f"gaussian_blur({x}, {size}, stdev={stdev!r})"
        case Resize(scale=scale, shape=shape, is_random=True):
            return (
                f"random_rescale({x}, {shape.width}, max_scale={scale!r}, training=self.training, noise=noise, "
                f"layer={literal(op.layers[0])})"
            )
        case Resize(scale=scale, shape=shape):
            return f"resize_bilinear({x}, {shape.dims[1:]}, scale={scale!r})"
        case ConvertColors(space=space):
            return f"{_COLORS[space]}({x}{', center=True' if space is ColorSpace.CENTERED_LAB else ''})"
        case CostOperator():
            return cost_expression(op, operands)
        case _:
            assert_never(op)


def slice_size(total: int) -> str:
    """The variable that holds the number of cases in a slice, of `total` slices of a minibatch."""
    return f"slice{total}"


def _slices(cases: Cases | None) -> str:
    """`slice4 : 2 * slice4`; all cases for None."""
    if cases is None:
        return ":"
    first, stop = _edge(cases.first, cases.total), _edge(cases.stop, cases.total) if cases.stop < cases.total else ""
    spaced = " : " if " " in first or " " in stop else ":"
    return f"{first}{spaced}{stop}".strip()


def _edge(index: int, total: int) -> str:
    """Where a slice begins."""
    return "" if index == 0 else f"{'' if index == 1 else f'{index} * '}{slice_size(total)}"


def _convolution(op: Conv2d, x: str, holders: Holders) -> str:
    """A bias a pixel is added to what torch's convolution gives."""
    if holders.is_module(op):
        return f"self.{path_of(op.weight)}({x})"
    if not holders.has_bias_map(op):
        return f"F.conv2d({x}, {holders.arguments(op)}{window_options(op)})"
    _, bias = (holders.expression(parameter, op) for parameter in parameters_of(op))
    return f"F.conv2d({x}, {holders.weight(op)}{window_options(op)}) + {bias}"


def _linear(op: Linear, operands: Sequence[str], shapes: Sequence[Shape], holders: Holders) -> str:
    x = _joined([f"{o}.flatten(1)" if shape.is_map else o for o, shape in zip(operands, shapes, strict=True)])
    if len(operands) > 1 and len({shape.dims[1:] for shape in shapes}) == 1 and shapes[0].is_map:
        x = f"{_joined(operands)}.flatten(1)"
    if holders.is_module(op):
        return f"self.{path_of(op.weight)}({x})"
    return f"F.linear({x}, {holders.arguments(op)})"


def _joined(operands: Sequence[str]) -> str:
    return operands[0] if len(operands) == 1 else f"torch.cat([{', '.join(operands)}], dim=1)"


def _pool_arguments(op: Op, pool: MaxPool2d | MaxAbsPool2d | AvgPool2d | PoolWindow, maps: Shape) -> list[str]:
    """Arguments after the first; the output size only where it is not what rounding up gives."""
    arguments = [one_or_both(pool.kernel_size), f"stride={one_or_both(pool.stride)}"]
    if pool.start != (0, 0):
        arguments.append(f"start={one_or_both(pool.start)}")
    axes = zip(maps.dims[1:], pool.kernel_size, pool.stride, pool.start, strict=True)
    rounded_up = [-((start + kernel - size) // stride) + 1 for size, kernel, stride, start in axes]
    if rounded_up != list(op.shape.dims[1:]):
        arguments.append(f"output_size={op.shape.dims[1:]}")
    if not isinstance(pool, AvgPool2d) and pool.ties_share:
        arguments.append('ties="all"')
    return arguments


def _fused_arguments(op: FusedLRNPool, maps: Shape, holders: Holders) -> list[str]:
    """Arguments after the first, those of each part together."""
    arguments = (
        [holders.expression(op.bias, op) if op.bias else "None"] if op.bias or op.relu_before or op.relu_after else []
    )
    if op.relu_before or op.relu_after:
        arguments.append('"relu"')
    if op.relu_after:
        arguments.append('activation_at="output"')
    if op.norm is not None:
        size, alpha, beta, k, groups = op.norm
        arguments += [f"size={size}", f"alpha={alpha!r}", f"beta={beta!r}", f"k={k!r}"]
        arguments += [f"groups={groups}"] if groups > 1 else []
    if op.pool is not None:
        kernel_size, *others = _pool_arguments(op, op.pool, maps)
        arguments += [f"kernel_size={kernel_size}", *others]
    return arguments


def _sum(operands: Sequence[str], coefficients: Sequence[float]) -> str:
    """`a - 0.5 * b`."""
    text = ""
    for operand, coefficient in zip(operands, coefficients or [1.0] * len(operands), strict=True):
        factor = "" if abs(coefficient) == 1 else f"{abs(coefficient)!r} * "
        sign = "-" if coefficient < 0 else "+"
        text += f" {sign} {factor}{operand}" if text else f"{sign.strip('+')}{factor}{operand}"
    return text


def _channel_pool(op: ChannelPool, x: str, source: Shape) -> str:
    if op.reduction is Reduction.SUM:
        return f"{x}.unflatten(1, (-1, {op.size})).sum(2)"
    options = f"stride={op.stride}" + (f", start={op.start}" if op.start else "")
    if -((op.start + op.size - source.channels) // op.stride) + 1 != op.shape.channels:
        options += f", out_channels={op.shape.channels}"
    if op.ties_share:
        options += ', ties="all"'
    return f"channel_max_pool({x}, {op.size}, {options})"


def _pick(op: Pick2d, x: str, maps: Shape) -> str:
    """Slices of rows and columns, without what says nothing."""
    rows, columns = (_range(*span, size) for span, size in ((op.rows, maps.height), (op.columns, maps.width)))
    picked = x if rows == columns == ":" else f"{x}[:, :, {rows}, {columns}]"
    return f"{picked}.flip(3)" if op.mirrored else picked


def _range(start: int, stop: int, step: int, size: int) -> str:
    ends = f"{start or ''}:{'' if stop == size else stop}"
    return ends if step == 1 else f"{ends}:{step}"


def _dropout(op: Dropout, x: str) -> str:
    """`dropout2` and `hs` are inverted dropout times `keep`: x * mask in training, x * keep at test."""
    if op.enabled and not 0 <= op.keep <= 1:
        return _certain(op, x)
    dropped = f"dropout({x}, {round(1 - op.keep, 15)!r}, self.training, {_noise(op)})" if op.enabled else x
    return f"{op.keep!r} * {dropped}" if op.rescale_at_test else dropped


def _certain(op: Dropout, x: str) -> str:
    """Dropout with a `keep` that is no probability: above 1 it keeps all units, below 0 none."""
    kept = 1.0 if op.keep > 1 else 0.0
    train, test = (kept, op.keep) if op.rescale_at_test else (kept / op.keep, 1.0)
    return f"({train!r} if self.training else {test!r}) * {x}"


def _noise(op: Op) -> str:
    """What random numbers are drawn by: the step, and the layers that have a run of the channels each."""
    first = "" if op.cases is None else _edge(op.cases.first, op.cases.total)
    return ", ".join([f"noise and noise.from_case({first})" if first else "noise", *map(literal, op.layers)])


def _activation(op: Activation, x: str) -> str:  # noqa: C901 - a case a neuron
    """Values and gradients as cuda-convnet2 include/neuron.cuh, at the edges too: abs has slope -1 at 0, hardtanh has
    slope 0 at its corners, abstanh at 0, softrelu's slope goes by its input, and nrelu's noise is a constant to the
    gradient."""
    a, b = (*map(repr, op.arguments), "", "")[:2]
    match op.neuron:
        case Neuron.LOGISTIC:
            return f"torch.sigmoid({x})"
        case Neuron.ABS:
            return f"torch.where({x} > 0, {x}, -{x})"
        case Neuron.RELU:
            return f"F.relu({x})"
        case Neuron.SOFTRELU:
            return f"torch.where({x} > 4, {x}, F.softplus({x}))"
        case Neuron.SQUARE:
            return f"torch.square({x})"
        case Neuron.SQRT:
            return f"torch.sqrt({x})"
        case Neuron.TANH:
            return f"{a} * torch.tanh({b} * {x})"
        case Neuron.ABSTANH:
            return f"{a} * torch.tanh({b} * {x}).abs()"
        case Neuron.BRELU:
            return f"F.hardtanh({x}, 0.0, {a})"
        case Neuron.LINEAR:
            return f"{a} * {x} + {b}"
        case Neuron.LOG:
            return f"torch.log({a} + {x})"
        case Neuron.DRELU:
            return f"{x} - {a} * torch.tanh({x} / {a})"
        case Neuron.NRELU:
            return f"F.relu(F.relu({x}) + F.relu({x}).detach() * normal_like({x}, {_noise(op)}))"
        case _:
            assert_never(op.neuron)

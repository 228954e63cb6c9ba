"""Python expressions for operators: one `match` over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from convspec.emit.cases import slices
from convspec.emit.costs import cost_expression
from convspec.emit.holders import Holders, path_of, window_options
from convspec.emit.lines import literal
from convspec.emit.neurons import activation, dropout
from convspec.emit.windows import average_pool, channel_pool, fused_arguments, pool_arguments
from convspec.program.costs import CostOperator
from convspec.program.features import Activation, Add, Concat, Dropout, Gather, Maximum, Reshape, Slice, Softmax
from convspec.program.images import ColorSpace, ConvertColors, GaussianBlur, Pad, Pick2d, Resize
from convspec.program.moves import Input, JoinCases, Receive, Send, TakeCases, Transfer
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
    ResponseNorm,
)

_COLORS = {ColorSpace.YUV: "rgb_to_yuv", ColorSpace.LAB: "rgb_to_lab", ColorSpace.CENTERED_LAB: "rgb_to_lab"}


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
            return f"{x}[{slices(cases)}]"
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
            return activation(op, x)
        case LocalResponseNorm(size=size, alpha=alpha, beta=beta, k=k, groups=groups, blocked=blocked):
            windows = (f", groups={groups}" if groups > 1 else "") + (", blocked=True" if blocked else "")
            return f"local_response_norm({x}, {size}, alpha={alpha!r}, beta={beta!r}, k={k!r}{windows})"
        case ResponseNorm(size=size, alpha=alpha, beta=beta, k=k):
            return f"response_norm({x}, {size}, alpha={alpha!r}, beta={beta!r}, k={k!r})"
        case ContrastNorm(size=size, alpha=alpha, beta=beta, k=k, holds_means=holds_means):
            gradient = ', gradient="published"' if holds_means else ""
            return f"contrast_norm({x}, {size}, alpha={alpha!r}, beta={beta!r}, k={k!r}{gradient})"
        case MaxPool2d():
            return f"max_pool2d({', '.join([x, *pool_arguments(op, op, shapes[0])])})"
        case MaxAbsPool2d():
            return f"max_abs_pool2d({', '.join([x, *pool_arguments(op, op, shapes[0])])})"
        case FusedLRNPool():
            return f"bias_act_lrn_max_pool2d({', '.join([x, *fused_arguments(op, shapes[0], holders)])})"
        case AvgPool2d():
            return average_pool(op, x, shapes[0])
        case Dropout():
            return dropout(op, x)
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
            return channel_pool(op, x, shapes[0])
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


def _sum(operands: Sequence[str], coefficients: Sequence[float]) -> str:
    """`a - 0.5 * b`."""
    text = ""
    for operand, coefficient in zip(operands, coefficients or [1.0] * len(operands), strict=True):
        factor = "" if abs(coefficient) == 1 else f"{abs(coefficient)!r} * "
        sign = "-" if coefficient < 0 else "+"
        text += f" {sign} {factor}{operand}" if text else f"{sign.strip('+')}{factor}{operand}"
    return text


def _pick(op: Pick2d, x: str, maps: Shape) -> str:
    """Slices of rows and columns, without what says nothing."""
    rows, columns = (_range(*span, size) for span, size in ((op.rows, maps.height), (op.columns, maps.width)))
    picked = x if rows == columns == ":" else f"{x}[:, :, {rows}, {columns}]"
    return f"{picked}.flip(3)" if op.mirrored else picked


def _range(start: int, stop: int, step: int, size: int) -> str:
    ends = f"{start or ''}:{'' if stop == size else stop}"
    return ends if step == 1 else f"{ends}:{step}"

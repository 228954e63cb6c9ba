"""The union of all operators, which passes and emitters handle with `match`, and what can be asked of any of them.

An operator computes one value, named like the operator. All names and conventions are PyTorch's: cross-correlation,
NCHW, `alpha` of LRN divided by the size of its window. What a spec calls a layer may lower to several operators.
The modules beside this one, and `costs`, have a family each.
"""

from __future__ import annotations

from enum import Enum

from convspec.program.costs import Cost
from convspec.program.features import Activation, Add, Concat, Dropout, Gather, Maximum, Neuron, Reshape, Slice, Softmax
from convspec.program.images import ConvertColors, GaussianBlur, Pad, Pick2d, Resize
from convspec.program.moves import Input, JoinCases, Receive, Send, TakeCases, Transfer
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

Op = (
    Input
    | Transfer
    | Send
    | Receive
    | TakeCases
    | JoinCases
    | Reshape
    | Pad
    | Conv2d
    | LocallyConnected2d
    | Linear
    | TreeLinear
    | Activation
    | BatchNorm
    | LocalResponseNorm
    | ResponseNorm
    | ContrastNorm
    | MaxPool2d
    | MaxAbsPool2d
    | FusedLRNPool
    | AvgPool2d
    | Dropout
    | Softmax
    | Concat
    | Slice
    | Gather
    | Add
    | Maximum
    | ChannelPool
    | Pick2d
    | GaussianBlur
    | Resize
    | ConvertColors
    | Cost
)


def parameters_of(op: Op) -> tuple[str, ...]:
    """Names of the parameters that an operator reads, its weight first."""
    match op:
        case Conv2d() | LocallyConnected2d() | Linear() | TreeLinear() | BatchNorm():
            return tuple(name for name in (op.weight, op.bias) if name is not None)
        case FusedLRNPool(bias=bias):
            return () if bias is None else (bias,)
        case _:
            return ()


def buffers_of(op: Op) -> tuple[str, ...]:
    """Names of the buffers that an operator reads or moves."""
    match op:
        case BatchNorm(statistics=statistics):
            return statistics
        case Gather(index=index):
            return (index,)
        case _:
            return ()


class Drawing(Enum):
    """When an operator draws random numbers."""

    NEVER = "never"
    IN_TRAINING = "in training"
    ALWAYS = "always"


def drawing_of(op: Op) -> Drawing:
    match op:
        case Dropout(keep=keep, enabled=True) if 0 <= keep < 1:
            return Drawing.IN_TRAINING
        case Resize(is_random=True):
            return Drawing.IN_TRAINING
        case Activation(neuron=Neuron.NRELU):
            return Drawing.ALWAYS
        case _:
            return Drawing.NEVER

"""What may stand inside what: which expressions can be operands of others."""

from __future__ import annotations

from convspec.program.features import Activation, Add, Dropout, Gather, Neuron, Reshape, Slice
from convspec.program.images import Pick2d
from convspec.program.operators import Op
from convspec.program.weighted import Linear
from convspec.program.windows import ChannelPool, Reduction

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

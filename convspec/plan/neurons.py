"""What autograd keeps of each neuron, as `emit.neurons` writes it."""

from __future__ import annotations

from typing import assert_never

from convspec.plan.recorder import Recorder, Value
from convspec.program.features import Activation, Neuron

_BOOLEAN = 1


def record_activation(op: Activation, x: Value, recorder: Recorder) -> Value:  # noqa: C901 - a case a neuron
    mask = recorder.bytes(x.shape, _BOOLEAN)
    match op.neuron:
        case Neuron.LOGISTIC | Neuron.RELU:
            return recorder.elementwise(x, saves_result=True)
        case Neuron.SQRT:
            return recorder.elementwise(x, saves_result=True, temporaries=1)
        case Neuron.ABS:
            return recorder.call([x, recorder.scaled(x)], x.shape, x.width, kept=mask)
        case Neuron.SOFTRELU:
            soft = recorder.elementwise(x, saves=[x])
            return recorder.call([x, soft], x.shape, x.width, kept=mask)
        case Neuron.SQUARE:
            return recorder.squared(x)
        case Neuron.BRELU:
            return recorder.elementwise(x, saves=[x])
        case Neuron.TANH:
            return recorder.scaled(recorder.elementwise(recorder.scaled(x), saves_result=True))
        case Neuron.ABSTANH:
            inner = recorder.elementwise(recorder.scaled(x), saves_result=True)
            return recorder.scaled(recorder.elementwise(inner, saves=[inner], temporaries=1))
        case Neuron.LINEAR:
            return recorder.call([recorder.scaled(x)], x.shape, x.width, passes_gradient=True)
        case Neuron.LOG:
            shifted = recorder.call([x], x.shape, x.width, passes_gradient=True)
            return recorder.elementwise(shifted, saves=[shifted])
        case Neuron.DRELU:
            inner = recorder.elementwise(recorder.scaled(x), saves_result=True)
            return recorder.call([x, recorder.scaled(inner)], x.shape, x.width)
        case Neuron.NRELU:
            rectified = recorder.elementwise(x, saves_result=True)
            noisy = recorder.call([rectified], x.shape, x.width, forward_extra=2 * recorder.bytes(x.shape, x.width))
            return recorder.elementwise(noisy, saves_result=True)
        case _:
            assert_never(op.neuron)

"""Layers that give as many numbers as they read: `neuron`, `dropout`, `dropout2`, `hs`, `softmax`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import Context, Inference, Layer
from convspec.layers.keys import Home, flag, neuron_call, number
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class _SameSize(Layer):
    """A layer whose output has the size of its input."""

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        return Inference(inputs[0])


class NeuronLayer(_SameSize):
    """An elementwise function as a layer of its own; `neuron=` on any other layer does the same to its output."""

    type = "neuron"

    neuron = neuron_call("neuron", doc="the function: relu, tanh[a,b], ...")

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        return inputs[0]


class DropoutLayer(_SameSize):
    """Units kept with probability `keep` while training; the kept ones are divided by it (cuda-convnet2 layer.cu:1328).

    At test nothing happens. `enable=0` makes it the identity.
    """

    type = "dropout"
    rescale_at_test = False

    keep = number("keep", home=Home.PARAMS, default=0.5, minimum=0, maximum=1, doc="probability to keep a unit")
    enable = flag("enable", home=Home.PARAMS, default=True, doc="0 keeps all units")

    def validate(self, report: Report) -> None:
        super().validate(report)
        if not self.is_broken and self.keep == 0 and not self.rescale_at_test:
            self.is_broken = True
            report.add(
                "CS205",
                self.span("keep"),
                f"keep of {self.name} is 0, and the kept units are divided by it",
                help="write a keep above 0",
            )

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        return builder.dropout(inputs[0], keep=self.keep, rescale_at_test=self.rescale_at_test, enabled=self.enable)


class Dropout2Layer(DropoutLayer):
    """Dropout as the paper has it: at test all units work, multiplied by `keep` (section 4.2; layer.cu:1365-1403).

    With `enable=0` nothing is dropped, and the outputs are still multiplied by `keep`, in training too.
    """

    type = "dropout2"
    rescale_at_test = True


class HiddenSex(Dropout2Layer):
    """The name of `dropout2` in the code of 2012, with `keep` in the layer file (AlexNet layer.py:689-707)."""

    type = "hs"

    keep = number("keep", minimum=0, maximum=1, doc="probability to keep a unit")
    enable = flag("enable", home=Home.PARAMS, doc="0 keeps all units")


class SoftmaxLayer(_SameSize):
    """exp(x - max) / sum over the features of a case (cuda-convnet2 layer.cu:1184-1219)."""

    type = "softmax"

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        return Inference(inputs[0].flat())

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        return builder.softmax(builder.reshape(inputs[0], output))

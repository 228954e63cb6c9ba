"""`data`: where the network meets its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.layers.base import Context, Inference, Layer
from convspec.layers.keys import integer, names
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class Data(Layer):
    """A matrix of the data provider, a row a feature and a column a case. It computes nothing.

    `dataIdx` says which: 0 the images, 1 the labels (one number a case), 2 the labels as a one-hot vector.
    """

    type = "data"
    input_counts = (0, 0)
    takes_neuron = False

    inputs = names("inputs", default=(), is_individual=True, doc="a data layer reads nothing")
    data_index = integer("dataIdx", minimum=0, maximum=64, doc="which matrix: 0 images, 1 labels, 2 one-hot labels")

    LABELS = 1
    ONE_HOT = 2

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        dims = context.input_dims.get(self.name)
        if dims is not None:
            return Inference(Shape(dims)) if dims else None
        if self.data_index == self.LABELS:
            return Inference(Shape.of_vector(1))
        if self.data_index == self.ONE_HOT and context.classes is not None:
            return Inference(Shape.of_vector(context.classes))
        context.report.add(
            "CS401",
            self.header,
            f"the size of {self.name} is not known",
            help=f"add a section [@net] with input={self.name}:3x224x224, or pass --input {self.name}:3x224x224",
        )
        return None

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        return builder.input(output, self.data_index)

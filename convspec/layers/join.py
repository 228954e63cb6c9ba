"""Layers that bring several values together, or numbers of one: `concat`, `pass`, `eltsum`, `eltmax`, `sum`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.layers.base import Context, Inference, Layer
from convspec.layers.keys import integer, numbers
from convspec.layers.origins import parting_labels
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class ConcatLayer(Layer):
    """The inputs one after another, in order (cuda-convnet2 layer.cu:1226-1278): by channel where all are maps of one
    size, else by feature."""

    type = "concat"
    input_counts = (1, None)
    joins_maps = True

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        if all(shape.is_map for shape in inputs) and len({shape.dims[1:] for shape in inputs}) == 1:
            return Inference(inputs[0].with_channels(sum(shape.channels for shape in inputs)))
        return Inference(Shape.of_vector(sum(shape.features for shape in inputs)))

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        if output.is_map:
            return builder.concat(inputs, output)
        values = [builder.reshape(value, builder.shape(value).flat()) for value in inputs]
        return builder.concat(values, output)


class PassLayer(ConcatLayer):
    """The same as `concat`, which cuda-convnet2 did without a copy, in the places where its inputs are (layer.py:1211-1231)."""

    type = "pass"
    keeps_replicas = True


class _Elementwise(Layer):
    """A layer over values with as many numbers each; those of different shapes are read as vectors."""

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        for name, shape in zip(self.inputs, inputs, strict=True):
            if shape.features != inputs[0].features:
                first = self.inputs[0].text
                context.report.add(
                    "CS406",
                    self.part("inputs", name),
                    f"{self.name} combines numbers one by one: "
                    f"{first} gives {inputs[0]} = {inputs[0].features}, but {name.text} {shape} = {shape.features}",
                    labels=parting_labels(context, first, name.text) if inputs[0].is_map and shape.is_map else (),
                    help="all inputs must have as many numbers",
                )
                return None
        return Inference(inputs[0] if len(set(inputs)) == 1 else inputs[0].flat())


class ElementwiseSum(_Elementwise):
    """Sum of the inputs, each times its coefficient (cuda-convnet2 layer.cu:1284-1300)."""

    type = "eltsum"
    input_counts = (1, None)

    coefficients = numbers("coeffs", default=1.0, doc="what each input is multiplied by")

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        return builder.add([builder.reshape(value, output) for value in inputs], self.coefficients)


class ElementwiseMaximum(_Elementwise):
    """Largest of the inputs, number by number (cuda-convnet2 layer.cu:1305-1322).

    Every input that equals it gets the whole gradient (layer_kernels.cu:331-343).
    """

    type = "eltmax"
    input_counts = (2, None)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        return builder.maximum([builder.reshape(value, output) for value in inputs])


class SumLayer(Layer):
    """Sums of runs of `stride` features, one run after another: of rows of the matrix that cuda-convnet2 has for a layer.

    Its layer.py:780-792 reads such layers, and nothing behind it computes them; this is what the size that it gives says.
    """

    type = "sum"

    stride = integer("stride", default=1, minimum=1, doc="features in a sum; divides those of the input")

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        features = inputs[0].features
        if features % self.stride == 0:
            return Inference(Shape.of_vector(features // self.stride))
        context.report.add(
            "CS405",
            self.span("stride"),
            f"{self.name} adds up runs of {self.stride} features, but {self.input_names[0]} gives {features}: "
            f"{features} / {self.stride} = {features / self.stride:g}",
            help=f"write a stride that divides {features}",
        )
        return None

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        value = builder.reshape(inputs[0], builder.shape(inputs[0]).flat())
        return builder.channel_sum(value, self.stride)

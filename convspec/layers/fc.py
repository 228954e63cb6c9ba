"""`fc`: every output reads every feature. `sfc`: each part of the outputs reads its part of the features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.layers.base import Context, Cost, Inference
from convspec.layers.keys import integer
from convspec.layers.sums import SummingLayer
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class FeatureLayer(SummingLayer):
    """A layer of products with features: maps are read channel by channel."""

    out_features = integer("outputs", minimum=1, doc="numbers that the layer gives")

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        return Inference(Shape.of_vector(self.out_features))

    @property
    def _is_one_operator(self) -> bool:
        """Whether the inputs can be joined by feature and read by one matrix."""
        return self.learns_alike

    def weight_shape(self, index: int, inputs: Sequence[Shape], output: Shape) -> tuple[int, ...]:
        return self._weight_shape(index, inputs[index].features, output)

    def cost(self, inputs: Sequence[Shape], output: Shape) -> Cost:
        weights = 0
        for index in range(len(inputs)):
            rows, columns = self.weight_shape(index, inputs, output)[:2]
            weights += rows * columns
        return Cost(weights, self._bias_count(output), weights)

    def _bias_shape(self, output: Shape) -> tuple[int, ...]:
        return output.dims

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        widths = [builder.shape(value).features for value in inputs]
        return self._lower_sum(builder, inputs, widths, output, can_join=self._is_one_operator)


class FullyConnected(FeatureLayer):
    """bias + sum over inputs of x @ W (cuda-convnet2 layer.cu:898-921)."""

    type = "fc"

    def _weight_shape(self, index: int, width: int, output: Shape) -> tuple[int, ...]:
        return output.features, width

    def _apply(
        self, builder: Builder, index: int, values: Sequence[str], weight: str, bias: str | None, output: Shape
    ) -> str:
        return builder.linear(values, output, weight=weight, bias=bias)


class SplitFullyConnected(FeatureLayer):
    """`parts` products side by side (cuda-convnet2 layer.cu:945-990): of features and outputs, part p reads part p.

    `outputs` counts those of one part, so the layer gives outputs * parts (layer.py:1007-1025). It is a block-diagonal
    `fc`, and so a convolution of single pixels in `parts` groups.
    """

    type = "sfc"

    out_features = integer("outputs", minimum=1, doc="numbers that one part gives; times parts, those of the layer")
    parts = integer("parts", minimum=1, doc="parts of the features that are read apart from one another")

    @property
    def filter_parts(self) -> int:
        """A filter is a column of the original matrix, which has a run of rows for each part."""
        return self.parts

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        for name, shape in zip(self.input_names, inputs, strict=True):
            if shape.features % self.parts:
                context.report.add(
                    "CS405",
                    self.span("parts"),
                    f"{self.name} has {self.parts} parts, but {name} gives {shape.features} features: "
                    f"{shape.features} / {self.parts} = {shape.features / self.parts:g}",
                    help=f"write a number of parts that divides {shape.features}",
                )
                return None
        return Inference(Shape.of_vector(self.out_features * self.parts))

    def _weight_shape(self, index: int, width: int, output: Shape) -> tuple[int, ...]:
        return output.features, width // self.parts, 1, 1

    @property
    def _is_one_operator(self) -> bool:
        """Joined, the parts of one input would not lie beside those of another."""
        return self.parts == 1 and self.learns_alike

    def _apply(
        self, builder: Builder, index: int, values: Sequence[str], weight: str, bias: str | None, output: Shape
    ) -> str:
        pixels = [builder.reshape(value, Shape.of_maps(builder.shape(value).features, 1, 1)) for value in values]
        pixel = Shape.of_maps(output.features, 1, 1)
        product = builder.conv2d(
            pixels,
            pixel,
            weight=weight,
            bias=bias,
            kernel_size=(1, 1),
            stride=(1, 1),
            padding=(0, 0),
            groups=self.parts,
        )
        return builder.reshape(product, output)

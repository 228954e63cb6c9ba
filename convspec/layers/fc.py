"""`fc`: every output reads every feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.layers.base import Context, Cost, Inference, WeightLayer
from convspec.layers.keys import integer
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class FullyConnected(WeightLayer):
    """bias + sum over inputs of x @ W (cuda-convnet2 layer.cu:898-921). Maps are read channel by channel."""

    type = "fc"

    out_features = integer("outputs", minimum=1, doc="numbers that the layer gives")

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        return Inference(Shape.of_vector(self.out_features))

    def cost(self, inputs: Sequence[Shape], output: Shape) -> Cost:
        weights = self.out_features * sum(shape.features for shape in inputs)
        return Cost(weights, self.out_features, weights)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        widths = [builder.shape(value).features for value in inputs]
        if len(inputs) > 1 and not self.learns_alike:
            terms = [self._lower_term(builder, i, value, output) for i, value in enumerate(inputs)]
            return builder.add(terms)
        weight = builder.parameter(
            "weight",
            (self.out_features, sum(widths)),
            self.weight_initialization(0),
            self.weight_update(0),
            joined=widths,
        )
        bias = builder.parameter("bias", (self.out_features,), self.bias_initialization, self.bias_update)
        return builder.linear(inputs, output, weight=weight, bias=bias)

    def _lower_term(self, builder: Builder, index: int, value: str, output: Shape) -> str:
        """The product with one input, in a module of its own; the first one has the biases."""
        weight = builder.parameter(
            "weight",
            (self.out_features, builder.shape(value).features),
            self.weight_initialization(index),
            self.weight_update(index),
            term=index,
        )
        bias = None
        if index == 0:
            shape = (self.out_features,)
            bias = builder.parameter("bias", shape, self.bias_initialization, self.bias_update, term=0)
        return builder.linear([value], output, weight=weight, bias=bias)

"""Layers that bring several values together: `concat`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.layers.base import Context, Inference, Layer
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class ConcatLayer(Layer):
    """The inputs one after another, in order (cuda-convnet2 layer.cu:1226-1278): by channel where all are maps of one
    size, else by feature."""

    type = "concat"
    input_counts = (1, None)

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        if all(shape.is_map for shape in inputs) and len({shape.dims[1:] for shape in inputs}) == 1:
            return Inference(inputs[0].with_channels(sum(shape.channels for shape in inputs)))
        return Inference(Shape.of_vector(sum(shape.features for shape in inputs)))

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        if output.is_map:
            return builder.concat(inputs, output)
        values = [builder.reshape(value, builder.shape(value).flat()) for value in inputs]
        return builder.concat(values, output)

"""`data`: where the network meets its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import Context, Inference, Layer
from convspec.layers.keys import integer, names
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class Data(Layer):
    """A matrix of the data provider, a row a feature and a column a case. It computes nothing.

    `dataIdx` says which: 0 the images, 1 the labels (one number a case), 2 the labels as a one-hot vector. `start` and
    `end` take some of its rows (cuda-convnet2 layer.py:1176-1188): whole maps stay maps, other rows are a vector.
    """

    type = "data"
    input_counts = (0, 0)
    takes_neuron = False

    inputs = names("inputs", default=(), is_individual=True, doc="a data layer reads nothing")
    data_index = integer("dataIdx", minimum=0, maximum=64, doc="which matrix: 0 images, 1 labels, 2 one-hot labels")

    start = integer("start", default=0, minimum=0, doc="first row of the matrix that it gives")
    end = integer("end", default=None, minimum=1, doc="row of the matrix behind the last that it gives; else all")

    LABELS = 1
    ONE_HOT = 2

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        dims = context.input_dims.get(self.name)
        if dims is not None:
            return self._sliced(Shape(dims), context.report) if dims else None
        if self.data_index == self.LABELS:
            return self._sliced(Shape.of_vector(1), context.report)
        if self.data_index == self.ONE_HOT and context.classes is not None:
            return self._sliced(Shape.of_vector(context.classes), context.report)
        context.report.add(
            "CS401",
            self.header,
            f"the size of {self.name} is not known",
            help=f"add a section [@net] with input={self.name}:3x224x224, or pass --input {self.name}:3x224x224"
            if self.data_index != self.ONE_HOT
            else f"add classes= to [@net]: {self.name} has a number for each class",
        )
        return None

    def _sliced(self, matrix: Shape, report: Report) -> Inference | None:
        end = matrix.features if not self.is_given("end") else self.end
        wrong = "end" if end > matrix.features else "start" if self.start >= end else None
        if wrong is None:
            rows = f"rows {self.start} to {end} of {matrix}" if (self.start, end) != (0, matrix.features) else ""
            return Inference(self._rows(matrix, self.start, end), rows, matrix=matrix if rows else None)
        report.add(
            "CS205",
            self.span(wrong),
            f"{self.name} gives rows {self.start} to {end}, and its matrix has {matrix.features}",
            help=f"use 0 <= start < end <= {matrix.features}",
        )
        return None

    def _rows(self, matrix: Shape, start: int, end: int) -> Shape:
        pixels = matrix.height * matrix.width
        if start % pixels or end % pixels:
            return Shape.of_vector(end - start)
        return matrix.with_channels((end - start) // pixels)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        """Rows are cut from the flat matrix where they are no whole maps."""
        matrix = builder.matrices.get(self.name, output)
        value = builder.input(matrix, self.data_index)
        if matrix == output:
            return value
        pixels = matrix.height * matrix.width if output.is_map else 1
        if not output.is_map:
            value = builder.reshape(value, matrix.flat())
        first = self.start // pixels
        return builder.slice(value, first, first + output.channels)

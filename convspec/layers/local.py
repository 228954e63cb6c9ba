"""`local`: as a convolution, with filters of its own at every window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.layers.filters import FilterLayer
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class Local(FilterLayer):
    """bias + sum over inputs of what the filters of each window give there (cuda-convnet2 layer.cu:1147-1176).

    y[f, i, j] = b[f, i, j] + sum of w[f, c, u, v, i, j] x[c, i*stride + u - padding, j*stride + v - padding]. Keys and
    sizes are those of `conv`; nothing is shared between windows, the biases neither.
    """

    type = "local"

    filter_axes = (0, -2, -1)

    def _weight_shape(self, index: int, width: int, output: Shape) -> tuple[int, ...]:
        kernel = self.filter_size[index]
        return self.out_channels, self.channels_of_a_filter(index, width), *kernel, output.height, output.width

    def _bias_shape(self, output: Shape) -> tuple[int, ...]:
        return output.dims

    def _apply(
        self, builder: Builder, index: int, values: Sequence[str], weight: str, bias: str | None, output: Shape
    ) -> str:
        return builder.locally_connected2d(
            values,
            output,
            weight=weight,
            bias=bias,
            stride=self.stride[index].pair,
            padding=self.padding[index].pair,
            groups=self.groups[index],
        )

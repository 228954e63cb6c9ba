"""`conv`: convolution, in groups, over one or several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import entry_label
from convspec.layers.filters import FilterLayer
from convspec.layers.keys import Home, flag, integer, numbers
from convspec.program.parameter import Constraint
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class Conv(FilterLayer):
    """bias + sum over inputs of the cross-correlation with that input's filters (cuda-convnet2 layer.cu:1054-1110).

    y[f, i, j] = b[f] + sum of w[f, c, u, v] x[c, i*stride + u - padding, j*stride + v - padding]. With sharedBiases=0
    each output has a bias of its own, b[f, i, j] (layer.cu:1058-1066).
    """

    type = "conv"

    shared_biases = flag("sharedBiases", default=True, doc="1: a bias a filter; 0: a bias an output")
    partial_sum = integer(
        "partialSum", default=0, minimum=0, doc="order of a sum on GPUs of 2012; sums need none today", has_effect=False
    )
    sum_width = integer(
        "sumWidth", default=0, minimum=0, doc="order of a sum on GPUs of 2014; sums need none today", has_effect=False
    )

    wc_norm_min = numbers(
        "wcNormMin", home=Home.PARAMS, default=0.0, minimum=0, doc="least spread of a filter after a step"
    )
    wc_norm_max = numbers(
        "wcNormMax", home=Home.PARAMS, default=0.0, minimum=0, doc="most spread of a filter after a step; 0: no bounds"
    )

    def validate(self, report: Report) -> None:
        super().validate(report)
        if not self.is_broken:
            self._validate_spread(report)

    def _validate_spread(self, report: Report) -> None:
        """Report CS218 where the least spread of a filter is above its most (cuda-convnet2 layer.py:1053-1058)."""
        for least, most in dict.fromkeys(zip(self.wc_norm_min, self.wc_norm_max, strict=True)):
            if least > most:
                message = f"wcNormMin of {self.name} is {least:g}, above its wcNormMax, {most:g}"
                labels = entry_label(self, "wc_norm_max", "the most")
                help = f"write wcNormMax={least:g} or more, or wcNormMin=0"
                self.is_broken = True
                self.blame(report, "CS218", "wc_norm_min", message, labels=labels, help=help)
                return

    def weight_constraint(self, index: int) -> Constraint:
        least, most = self.wc_norm_min[index], self.wc_norm_max[index]
        return super().weight_constraint(index)._replace(spread=(least, most) if most > 0 else (0.0, 0.0))

    def _weight_shape(self, index: int, width: int, output: Shape) -> tuple[int, ...]:
        return self.out_channels, self.channels_of_a_filter(index, width), *self.filter_size[index]

    def _bias_shape(self, output: Shape) -> tuple[int, ...]:
        return (self.out_channels,) if self.shared_biases else output.dims

    def _apply(
        self, builder: Builder, index: int, values: Sequence[str], weight: str, bias: str | None, output: Shape
    ) -> str:
        rows, columns = self._axes(index, builder.shape(values[0]))
        padding = self.padding[index]
        around = padding.pair
        right, bottom = columns.overhang(output.width), rows.overhang(output.height)
        if right or bottom:
            edges = (padding.width, padding.width + right, padding.height, padding.height + bottom)
            values, around = [builder.pad(value, edges) for value in values], (0, 0)
        return builder.conv2d(
            values,
            output,
            weight=weight,
            bias=bias,
            kernel_size=self.filter_size[index].pair,
            stride=self.stride[index].pair,
            padding=around,
            groups=self.groups[index],
        )

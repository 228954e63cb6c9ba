"""What layers lower with: a method an operator, each of which returns its value's name.

Layers know this class by name alone, so that `check` need not load the operators.
"""

from __future__ import annotations

from collections.abc import Sequence

from convspec.program.cost_builder import CostBuilder
from convspec.program.features import Activation, Add, Concat, Dropout, Gather, Maximum, Neuron, Reshape, Slice, Softmax
from convspec.program.images import ColorSpace, ConvertColors, GaussianBlur, Pad, Pick2d, Resize
from convspec.program.moves import Input
from convspec.program.operators import Op
from convspec.program.shape import Shape
from convspec.program.weighted import BatchNorm, Conv2d, Linear, LocallyConnected2d, TreeLinear
from convspec.program.windows import (
    AvgPool2d,
    ChannelPool,
    ContrastNorm,
    LocalResponseNorm,
    MaxAbsPool2d,
    MaxPool2d,
    Reduction,
    ResponseNorm,
)


class Builder(CostBuilder):
    """What layers lower with, between `begin` and `end` of each: all operators, and the costs that it inherits."""

    def input(self, shape: Shape, data_index: int) -> str:
        return self._add(Input, [], shape, data_index=data_index)

    def reshape(self, value: str, shape: Shape) -> str:
        """The same features in another shape; nothing is added where it is that shape already."""
        return value if self.shape(value) == shape else self._add(Reshape, [value], shape)

    def pad(self, value: str, padding: tuple[int, int, int, int]) -> str:
        """padding: zeros at the left, right, top and bottom of each map."""
        left, right, top, bottom = padding
        maps = self.shape(value)
        shape = Shape.of_maps(maps.channels, maps.height + top + bottom, maps.width + left + right)
        return self._add(Pad, [value], shape, padding=padding)

    def conv2d(
        self,
        values: Sequence[str],
        shape: Shape,
        *,
        weight: str,
        bias: str | None,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        groups: int,
    ) -> str:
        """Over `values` joined by channel; `weight` and `bias` come from `parameter`."""
        return self._add(
            Conv2d,
            values,
            shape,
            weight=weight,
            bias=bias,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            groups=groups,
            gradient_scale=self._gradient_scales.get(weight, 1.0),
        )

    def locally_connected2d(
        self,
        values: Sequence[str],
        shape: Shape,
        *,
        weight: str,
        bias: str | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        groups: int,
    ) -> str:
        """As `conv2d`; the windows are those that `weight` has kernels for."""
        return self._add(
            LocallyConnected2d,
            values,
            shape,
            weight=weight,
            bias=bias,
            stride=stride,
            padding=padding,
            groups=groups,
            gradient_scale=self._gradient_scales.get(weight, 1.0),
        )

    def linear(self, values: Sequence[str], shape: Shape, *, weight: str, bias: str | None) -> str:
        """Over `values` flattened and joined by feature."""
        scale = self._gradient_scales.get(weight, 1.0)
        return self._add(Linear, values, shape, weight=weight, bias=bias, gradient_scale=scale)

    def tree_linear(self, value: str, shape: Shape, *, weight: str, bias: str, parents: tuple[int, ...]) -> str:
        """Of a vector; `weight` has a row for each node, of which `parents` gives the one above it, -1 for the root."""
        return self._add(TreeLinear, [value], shape, weight=weight, bias=bias, parents=parents)

    def activation(self, value: str, neuron: str, arguments: tuple[float, ...]) -> str:
        """neuron: a name of the layer file, `relu`, but not `ident`."""
        return self._add(Activation, [value], self.shape(value), neuron=Neuron(neuron), arguments=arguments)

    def batch_norm(self, value: str, *, weight: str, bias: str, eps: float, momentum: float) -> str:
        """`weight` and `bias` come from `parameter`; the running statistics are added here, as torch starts them."""
        channels = (self.shape(value).channels,)
        statistics = (
            self.buffer("running_mean", channels, 0.0),
            self.buffer("running_var", channels, 1.0),
            self.buffer("num_batches_tracked", (), 0.0, is_integer=True),
        )
        return self._add(
            BatchNorm,
            [value],
            self.shape(value),
            weight=weight,
            bias=bias,
            statistics=statistics,
            eps=eps,
            momentum=momentum,
        )

    def local_response_norm(
        self, value: str, *, size: int, alpha: float, beta: float, k: float, blocked: bool = False
    ) -> str:
        shape = self.shape(value)
        return self._add(LocalResponseNorm, [value], shape, size=size, alpha=alpha, beta=beta, k=k, blocked=blocked)

    def contrast_norm(self, value: str, *, size: int, alpha: float, beta: float, k: float) -> str:
        holds_means = self.numerics.holds_means
        shape = self.shape(value)
        return self._add(ContrastNorm, [value], shape, size=size, alpha=alpha, beta=beta, k=k, holds_means=holds_means)

    def response_norm(self, value: str, *, size: int, alpha: float, beta: float, k: float) -> str:
        return self._add(ResponseNorm, [value], self.shape(value), size=size, alpha=alpha, beta=beta, k=k)

    def max_pool2d(
        self, value: str, shape: Shape, *, kernel_size: tuple[int, int], stride: tuple[int, int], start: tuple[int, int]
    ) -> str:
        share = self.numerics.ties_share
        return self._pool(MaxPool2d, value, shape, kernel_size, stride, start, ties_share=share)

    def max_abs_pool2d(
        self, value: str, shape: Shape, *, kernel_size: tuple[int, int], stride: tuple[int, int], start: tuple[int, int]
    ) -> str:
        share = self.numerics.ties_share
        return self._pool(MaxAbsPool2d, value, shape, kernel_size, stride, start, ties_share=share)

    def avg_pool2d(
        self, value: str, shape: Shape, *, kernel_size: tuple[int, int], stride: tuple[int, int], start: tuple[int, int]
    ) -> str:
        return self._pool(AvgPool2d, value, shape, kernel_size, stride, start)

    def sum_pool2d(
        self, value: str, shape: Shape, *, kernel_size: tuple[int, int], stride: tuple[int, int], start: tuple[int, int]
    ) -> str:
        return self._pool(AvgPool2d, value, shape, kernel_size, stride, start, is_sum=True)

    def _pool(
        self,
        operator: type[Op],
        value: str,
        shape: Shape,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        start: tuple[int, int],
        **attributes: bool,
    ) -> str:
        return self._add(operator, [value], shape, kernel_size=kernel_size, stride=stride, start=start, **attributes)

    def dropout(self, value: str, *, keep: float, rescale_at_test: bool, enabled: bool) -> str:
        shape = self.shape(value)
        return self._add(Dropout, [value], shape, keep=keep, rescale_at_test=rescale_at_test, enabled=enabled)

    def softmax(self, value: str) -> str:
        return self._add(Softmax, [value], self.shape(value))

    def concat(self, values: Sequence[str], shape: Shape) -> str:
        return self._add(Concat, values, shape)

    def gather(self, value: str, index: str, channels: int) -> str:
        """`channels` channels of `value`, those that the buffer `index` names one after another."""
        return self._add(Gather, [value], self.shape(value).with_channels(channels), index=index)

    def slice(self, value: str, start: int, stop: int) -> str:
        """Channels, or features, `start` to `stop`; nothing is added where that is all of them."""
        shape = self.shape(value)
        if (start, stop) == (0, shape.channels):
            return value
        return self._add(Slice, [value], shape.with_channels(stop - start), start=start, stop=stop)

    def add(self, values: Sequence[str], coefficients: Sequence[float] = ()) -> str:
        """The sum; coefficients that are all 1 are none."""
        given = tuple(coefficients) if any(c != 1 for c in coefficients) else ()
        return self._add(Add, values, self.shape(values[0]), coefficients=given)

    def maximum(self, values: Sequence[str]) -> str:
        return self._add(Maximum, values, self.shape(values[0]))

    def channel_max_pool(self, value: str, shape: Shape, *, size: int, stride: int, start: int) -> str:
        share = self.numerics.ties_share
        numbers = {"size": size, "stride": stride, "start": start, "ties_share": share}
        return self._add(ChannelPool, [value], shape, reduction=Reduction.MAX, **numbers)

    def channel_sum(self, value: str, size: int) -> str:
        """Sums of runs of `size` channels, which divides them."""
        shape = self.shape(value)
        summed = shape.with_channels(shape.channels // size)
        return self._add(ChannelPool, [value], summed, reduction=Reduction.SUM, size=size, stride=size)

    def pick2d(
        self, value: str, *, rows: tuple[int, int, int], columns: tuple[int, int, int], mirrored: bool = False
    ) -> str:
        """rows, columns: half-open ranges (start, stop, step)."""
        shape = Shape.of_maps(self.shape(value).channels, len(range(*rows)), len(range(*columns)))
        return self._add(Pick2d, [value], shape, rows=rows, columns=columns, mirrored=mirrored)

    def gaussian_blur(self, value: str, *, size: int, stdev: float) -> str:
        return self._add(GaussianBlur, [value], self.shape(value), size=size, stdev=stdev)

    def resize(self, value: str, shape: Shape, *, scale: float, is_random: bool = False) -> str:
        return self._add(Resize, [value], shape, scale=scale, is_random=is_random)

    def convert_colors(self, value: str, space: str) -> str:
        """space: `yuv`, `lab` or `centered lab`."""
        return self._add(ConvertColors, [value], self.shape(value), space=ColorSpace(space))

"""`conv`: convolution, in groups, over one or several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Label, Report
from convspec.layers.base import (
    Context,
    Cost,
    Inference,
    Rounding,
    WeightLayer,
    entry_label,
    read_maps,
)
from convspec.layers.keys import Home, flag, integer, integers, numbers
from convspec.layers.origins import parting_labels, way_notes
from convspec.layers.windows import Windows
from convspec.program.parameter import Constraint
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class Conv(WeightLayer):
    """bias + sum over inputs of the cross-correlation with that input's kernels (cuda-convnet2 layer.cu:1054-1110).

    Side of the output: 1 + ceil((side + 2*padding - filterSize) / stride). Where the division is not exact the last
    window hangs over the right and bottom edge, and what it sees there is zero (cudaconv3 filter_acts.cu:25, 913).
    `filters` counts the kernels of one group, so the layer gives filters * groups maps (layer.py:1094).
    """

    type = "conv"

    channels = integers("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")
    filters = integers("filters", minimum=1, doc="kernels of one group; times groups, the maps that the layer gives")
    filter_size = integers("filterSize", minimum=1, doc="side of a kernel, pixels")
    padding = integers("padding", default=0, minimum=0, doc="zeros around the input on each side, pixels")
    stride = integers("stride", default=1, minimum=1, doc="pixels from one window to the next")
    groups = integers("groups", default=1, minimum=1, doc="parts of the input that have kernels of their own")
    shared_biases = flag("sharedBiases", default=True, doc="1: a bias a kernel; 0: a bias an output", is_compiled=False)
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

    @property
    def out_channels(self) -> int:
        return self.filters[0] * self.groups[0]

    def validate(self, report: Report) -> None:
        super().validate(report)
        if self.is_broken:
            return
        self._validate_spread(report)
        maps = [filters * groups for filters, groups in zip(self.filters, self.groups, strict=True)]
        if len(set(maps)) > 1:
            self.is_broken = True
            report.add(
                "CS405",
                self.span("filters"),
                f"{self.name} adds up its inputs, but filters * groups differ: {', '.join(map(str, maps))} maps",
                labels=entry_label(self, "groups", f"groups {', '.join(map(str, self.groups))}"),
                help="filters counts the kernels of one group: make filters * groups equal for all inputs",
            )

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        sizes: list[Inference] = []
        for index, shape in enumerate(inputs):
            size = self._infer_input(index, shape, context)
            if size is None:
                return None
            sizes.append(size)
        for index, size in enumerate(sizes):
            if size.shape != sizes[0].shape:
                self._report_unlike(index, inputs, sizes, context)
                return None
        return sizes[0]

    def _report_unlike(self, index: int, inputs: Sequence[Shape], sizes: Sequence[Inference], context: Context) -> None:
        """Report an input of which other maps are made than of the first one, and why."""
        (first, size), (one, other) = (sizes[0], sizes[index]), (self.inputs[0], self.inputs[index])
        windows = ((a, getattr(self, a)) for a in ("filter_size", "padding", "stride"))
        lists = [Label(self.span(attribute), "these differ") for attribute, value in windows if len(set(value)) > 1]
        is_same_size = inputs[0].dims[1:] == inputs[index].dims[1:]
        context.report.add(
            "CS406",
            self.part("inputs", other),
            f"{self.name} adds up what it makes of its inputs: "
            f"{first.shape} of {one.text}, but {size.shape} of {other.text}",
            labels=lists if is_same_size else parting_labels(context, one.text, other.text),
            notes=[f"{one.text}: {first.window}", f"{other.text}: {size.window}"],
            help="filterSize, padding and stride may be lists, with an entry for each input",
        )

    def _infer_input(self, index: int, shape: Shape, context: Context) -> Inference | None:
        channels = self.channels[index] if self.is_given("channels") else None
        maps = read_maps(self, index, shape, channels, context.report)
        if maps is None or not self._groups_divide(index, maps, context.report):
            return None
        rows, columns = (self._windows(index, size) for size in (maps.height, maps.width))
        for windows in (rows, columns):
            if windows.kernel > windows.size + 2 * windows.before:
                self._report_too_large(index, windows, context)
                return None
        height, width = rows.count(context.rounding), columns.count(context.rounding)
        return Inference(
            Shape.of_maps(self.out_channels, height, width),
            columns.arithmetic(context.rounding),
            None if columns.is_exact and rows.is_exact else columns.count(Rounding.FLOOR),
        )

    def _windows(self, index: int, size: int) -> Windows:
        padding = self.padding[index]
        return Windows(size, self.filter_size[index], self.stride[index], padding, padding)

    def _groups_divide(self, index: int, maps: Shape, report: Report) -> bool:
        groups = self.groups[index]
        if maps.channels % groups == 0:
            return True
        report.add(
            "CS405",
            self.span("groups"),
            f"{self.name} has {groups} groups, but {self.input_names[index]} gives {maps.channels} channels: "
            f"{maps.channels} / {groups} = {maps.channels / groups:g}",
            help=f"write a number of groups that divides {maps.channels}",
        )
        return False

    def _report_too_large(self, index: int, windows: Windows, context: Context) -> None:
        least = -(-(windows.kernel - windows.size) // 2)
        padded = f"{windows.size} + 2*{windows.before} = " if windows.before else ""
        context.report.add(
            "CS403",
            self.span("filter_size"),
            f"the {windows.kernel}x{windows.kernel} filters of {self.name} do not fit {self.input_names[index]}, "
            f"which is {padded}{windows.size + 2 * windows.before} pixels wide",
            labels=entry_label(self, "padding", "zeros on each side"),
            notes=way_notes(context, self.input_names[index]),
            help=f"use padding={least}, or a filterSize of at most {windows.size + 2 * windows.before}",
        )

    def _maps(self, index: int, shape: Shape) -> Shape:
        """Input `index` as the maps that `infer` found it to be."""
        if shape.is_map:
            return shape
        maps = shape.as_square_maps(self.channels[index])
        assert maps is not None
        return maps

    def cost(self, inputs: Sequence[Shape], output: Shape) -> Cost:
        weights = 0
        for index, shape in enumerate(inputs):
            in_channels = self._maps(index, shape).channels // self.groups[index]
            weights += self.out_channels * in_channels * self.filter_size[index] ** 2
        biases = self.out_channels if self.shared_biases else output.features
        return Cost(weights, biases, weights * output.height * output.width)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        values = [builder.reshape(value, self._maps(i, builder.shape(value))) for i, value in enumerate(inputs)]
        if len(values) > 1 and not self._is_one_convolution:
            terms = [self._lower_term(builder, i, value, output) for i, value in enumerate(values)]
            return builder.add(terms)
        shapes = [builder.shape(value) for value in values]
        weight = builder.parameter(
            "weight",
            self._weight_shape(0, sum(shape.channels for shape in shapes)),
            self.weight_initialization(0),
            self.weight_update(0),
            joined=[shape.channels for shape in shapes],
        )
        bias = builder.parameter("bias", (self.out_channels,), self.bias_initialization, self.bias_update)
        return self._convolve(builder, 0, values, weight, bias, output)

    @property
    def _is_one_convolution(self) -> bool:
        """Whether the inputs can be joined by channel and read by one kernel: same windows, no groups, same rates."""
        alike = set(zip(self.filter_size, self.padding, self.stride, strict=True))
        return len(alike) == 1 and set(self.groups) == {1} and self.learns_alike

    def _weight_shape(self, index: int, in_channels: int) -> tuple[int, int, int, int]:
        side = self.filter_size[index]
        return self.out_channels, in_channels // self.groups[index], side, side

    def _lower_term(self, builder: Builder, index: int, value: str, output: Shape) -> str:
        """The convolution of one input, in a module of its own; the first one has the biases."""
        weight = builder.parameter(
            "weight",
            self._weight_shape(index, builder.shape(value).channels),
            self.weight_initialization(index),
            self.weight_update(index),
            term=index,
        )
        bias = None
        if index == 0:
            shape = (self.out_channels,)
            bias = builder.parameter("bias", shape, self.bias_initialization, self.bias_update, term=0)
        return self._convolve(builder, index, [value], weight, bias, output)

    def _convolve(
        self, builder: Builder, index: int, values: Sequence[str], weight: str, bias: str | None, output: Shape
    ) -> str:
        padding = self.padding[index]
        maps = builder.shape(values[0])
        right = self._windows(index, maps.width).overhang(output.width)
        bottom = self._windows(index, maps.height).overhang(output.height)
        if right or bottom:
            around = (padding, padding + right, padding, padding + bottom)
            values, padding = [builder.pad(value, around) for value in values], 0
        return builder.conv2d(
            values,
            output,
            weight=weight,
            bias=bias,
            kernel_size=(self.filter_size[index], self.filter_size[index]),
            stride=self.stride[index],
            padding=padding,
            groups=self.groups[index],
        )

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

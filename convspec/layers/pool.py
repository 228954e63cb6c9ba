"""`pool`: the largest or the mean pixel of each window; windows may overlap. `globalpool`: one window for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import Context, Inference, Layer, Rounding, entry_label, read_maps
from convspec.layers.keys import choice, integer
from convspec.layers.origins import way_notes
from convspec.layers.windows import Windows
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class Pool(Layer):
    """Window i covers [start + i*stride, start + i*stride + sizeX), clipped to the map (cuda-convnet2 layer.py:1272).

    Windows a side: ceil((side - start - sizeX) / stride) + 1. `avg` divides by the pixels inside the map
    (conv_util.cuh:72-166). With sizeX > stride windows overlap (section 3.4 of the paper).
    """

    type = "pool"

    channels = integer("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")
    pool = choice("pool", ("max", "avg"), doc="what a window gives: max or avg")
    size = integer("sizeX", minimum=1, doc="side of a window, pixels")
    stride = integer("stride", minimum=1, doc="pixels from one window to the next, at most sizeX")
    start = integer(
        "start", default=0, minimum=-(2**20), doc="where the first window starts; before the map if negative"
    )
    outputs_x = integer("outputsX", default=0, minimum=0, doc="windows a side, if not as many as are needed")

    def validate(self, report: Report) -> None:
        super().validate(report)
        if self.is_broken:
            return
        if self.stride > self.size:
            self.is_broken = True
            report.add(
                "CS205",
                self.span("stride"),
                f"stride of {self.name} is {self.stride}, larger than its window of {self.size}",
                labels=entry_label(self, "size", f"windows of {self.size}"),
                help=f"no window would see the pixels between: use stride={self.size} or less",
            )
        elif self.start <= -self.size:
            self.is_broken = True
            report.add(
                "CS407",
                self.span("start"),
                f"the first window of {self.name} lies before the map: it covers {self.start} to "
                f"{self.start + self.size - 1}",
                help=f"use start={1 - self.size} or more",
            )

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        maps = read_maps(self, 0, inputs[0], self.channels, context.report)
        if maps is None:
            return None
        rows, columns = self._windows(maps.height), self._windows(maps.width)
        for windows in (rows, columns):
            if not self._fits(windows, context):
                return None
        if self.outputs_x:
            return self._forced(maps, (rows, columns), context.report)
        height, width = rows.count(context.rounding), columns.count(context.rounding)
        if min(height, width) < 1:
            self._report_too_large(min(maps.height, maps.width) - self.start, context)
            return None
        return Inference(
            Shape.of_maps(maps.channels, height, width),
            columns.arithmetic(context.rounding),
            None if columns.is_exact and rows.is_exact else columns.count(Rounding.FLOOR),
        )

    def _windows(self, size: int) -> Windows:
        return Windows(size, self.size, self.stride, -self.start)

    def _fits(self, windows: Windows, context: Context) -> bool:
        if self.size > windows.size:
            self._report_too_large(windows.size, context)
            return False
        if self.start >= windows.size:
            context.report.add(
                "CS407",
                self.span("start"),
                f"the first window of {self.name} starts at {self.start}, outside a map of {windows.size} pixels",
                help=f"use a start below {windows.size}",
            )
            return False
        return True

    def _report_too_large(self, room: int, context: Context) -> None:
        context.report.add(
            "CS403",
            self.span("size"),
            f"the {self.size}x{self.size} windows of {self.name} do not fit {self.input_names[0]}, "
            f"which has {room} pixels a side{f' from start={self.start} on' if self.start else ''}",
            labels=entry_label(self, "start", "where the first window starts"),
            notes=way_notes(context, self.input_names[0]),
            help=f"use sizeX={max(room, 1)} or less, or a larger input",
        )

    def _forced(self, maps: Shape, axes: tuple[Windows, Windows], report: Report) -> Inference | None:
        for windows in axes:
            last = windows.last_start(self.outputs_x)
            if last >= windows.size:
                report.add(
                    "CS407",
                    self.span("outputs_x"),
                    f"the last of {self.outputs_x} windows of {self.name} would start at pixel {last}, "
                    f"but {self.input_names[0]} is {windows.size} pixels wide",
                    help=f"outputsX can be at most {(windows.size - 1 - self.start) // self.stride + 1}",
                )
                return None
        shape = Shape.of_maps(maps.channels, self.outputs_x, self.outputs_x)
        return Inference(shape, f"outputsX = {self.outputs_x}")

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        shape = builder.shape(inputs[0])
        maps = shape if shape.is_map else shape.as_square_maps(output.channels)
        assert maps is not None
        pool = builder.max_pool2d if self.pool == "max" else builder.avg_pool2d
        value = builder.reshape(inputs[0], maps)
        return pool(value, output, kernel_size=self.size, stride=self.stride, start=self.start)


class GlobalPool(Layer):
    """One number a map: the mean of its pixels, or the largest of them (Lin et al., Network in Network, 2014).

    None of the originals has it. It takes maps of any size, and gives maps of 1x1, which an fc or softmax layer reads as
    a vector; `torch.nn.AdaptiveAvgPool2d(1)` and `AdaptiveMaxPool2d(1)`.
    """

    type = "globalpool"

    channels = integer("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")
    pool = choice("pool", ("avg", "max"), default="avg", doc="what a map gives: avg or max")

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        maps = read_maps(self, 0, inputs[0], self.channels, context.report)
        return None if maps is None else Inference(Shape.of_maps(maps.channels, 1, 1))

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        shape = builder.shape(inputs[0])
        maps = shape if shape.is_map else shape.as_square_maps(output.channels)
        assert maps is not None
        side = max(maps.height, maps.width)
        pool = builder.max_pool2d if self.pool == "max" else builder.avg_pool2d
        return pool(builder.reshape(inputs[0], maps), output, kernel_size=side, stride=side, start=0)

"""`pool`: the largest or the mean pixel of each window; windows may overlap. `globalpool`: one window for all. `cmpool`:
windows of maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import Context, Inference, Layer, Rounding, entry_label
from convspec.layers.keyed import RawSection
from convspec.layers.keys import Home, choice, extent, flag, integer
from convspec.layers.origins import way_notes
from convspec.layers.reading import read_maps
from convspec.layers.windows import Windows, infer_windows, read_windowed_maps, rounding_key
from convspec.program.shape import Shape
from convspec.syntax.values import Extent

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class Pool(Layer):
    """Window i covers [start + i*stride, start + i*stride + sizeX), clipped to the map (cuda-convnet2 layer.py:1272).

    Windows a side: ceil((side - start - sizeX) / stride) + 1. `avg` divides by the pixels inside the map
    (conv_util.cuh:72-166), or by nothing with sum=1. `maxabs` gives the pixel of largest magnitude with its sign, of equal
    ones the last (conv_util.cuh:98-108). With sizeX > stride windows overlap (section 3.4 of the paper). Rows and columns
    may have numbers of their own, `sizeX=3x2`; in the originals both have the same.

    `padding=p`, which is ours, is `start=-p` with room for as many pixels behind the map, so that windows of 3, 1 apart,
    give a map of the same size: floor or ceil((side + 2*padding - sizeX) / stride) + 1 windows, of which the last is left
    out where it would hold no pixel of the map, as in `torch.nn.MaxPool2d`. What lies outside counts in no window.

    `rand` is of the code of 2012: with doMax=1 it is `max`, and what it draws with doMax=0 has no public source, so that
    `compile` refuses it (AlexNet layer.cu:1346-1357).

    The originals give the gradient of a window to each pixel that equals its output; torch, and so we, to one of them:
    the first of `max`, the one that was taken of `maxabs`. `[@net] ties=all` does as the originals did.
    """

    type = "pool"

    channels = integer("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")
    pool = choice("pool", ("max", "avg", "maxabs", "rand"), doc="what a window gives: max, avg, maxabs or rand")
    size = extent("sizeX", minimum=1, doc="side of a window, pixels; 3x2 for 3 rows and 2 columns")
    stride = extent("stride", minimum=1, doc="pixels from one window to the next, at most sizeX")
    start = extent(
        "start", default=Extent(0, 0), minimum=-(2**20), doc="where the first window starts; before the map if negative"
    )
    padding = extent(
        "padding",
        default=Extent(0, 0),
        minimum=0,
        doc="pixels around the map that windows may cover; they count in none",
    )
    outputs_x = extent("outputsX", default=Extent(0, 0), minimum=0, doc="windows a side, if not as many as are needed")
    own_rounding = rounding_key()
    sums = flag("sum", default=False, doc="1: pool=avg gives the sum of a window, not its mean")
    takes_max = flag(
        "doMax", home=Home.PARAMS, default=False, takes_default=False, doc="1: pool=rand takes the largest pixel"
    )

    @classmethod
    def idle_keys(cls, raw: RawSection) -> Mapping[str, str]:
        entry = raw.entry(cls.padding)
        return {} if entry is None else {"start": f"padding={entry.value}"}

    def rounds(self, rounding: Rounding) -> Rounding:
        return Rounding(self.own_rounding) if self.own_rounding else rounding

    @property
    def first(self) -> Extent:
        """Where the first window starts along rows and columns; before the map if negative."""
        return Extent(-self.padding.height, -self.padding.width) if self.is_given("padding") else self.start

    def validate(self, report: Report) -> None:
        super().validate(report)
        if self.is_broken:
            return
        for attribute, pool in (("sums", "avg"), ("takes_max", "rand")):
            if self.is_given(attribute) and self.pool != pool:
                message = f"nothing reads {self.key(attribute).spelling} of {self.name}: it is for pool={pool}"
                report.add("CS207", self.span(attribute), message, help=f"delete it, or write pool={pool}")
        for size, stride, start in zip(self.size, self.stride, self.first, strict=True):
            if stride > size:
                self.is_broken = True
                report.add(
                    "CS205",
                    self.span("stride"),
                    f"stride of {self.name} is {stride}, larger than its window of {size}",
                    labels=entry_label(self, "size", f"windows of {size}"),
                    help=f"no window would see the pixels between: use stride={size} or less",
                )
                return
            if start <= -size:
                self.is_broken = True
                is_padding = self.is_given("padding")
                report.add(
                    "CS407",
                    self.span("padding" if is_padding else "start"),
                    f"the first window of {self.name} lies before the map: it covers {start} to {start + size - 1}",
                    help=f"use padding={size - 1} or less" if is_padding else f"use start={1 - size} or more",
                )
                return

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        maps = read_maps(self, 0, inputs[0], self.channels, context)
        if maps is None:
            return None
        rows, columns = axes = self._axes(maps)
        rounding = self.rounds(context.rounding)
        if not all(self._fits(windows, given, context) for windows, given in zip(axes, self.outputs_x, strict=True)):
            return None
        needed = [windows.count(rounding) for windows in axes]
        held = [min(count, windows.most) for count, windows in zip(needed, axes, strict=True)]
        if self.outputs_x == Extent(0, 0) and held == needed:
            return infer_windows(maps.channels, rows, columns, rounding)
        height, width = (given or count for given, count in zip(self.outputs_x, held, strict=True))
        how = f"outputsX = {Extent(height, width)}"
        if self.outputs_x == Extent(0, 0):
            how = f"{columns.arithmetic(rounding)}, without the last, which would hold no pixel"
        return Inference(Shape.of_maps(maps.channels, height, width), how)

    def _axes(self, maps: Shape) -> tuple[Windows, Windows]:
        """Windows along rows and along columns."""
        size, stride, first, behind = self.size, self.stride, self.first, self.padding
        return (
            Windows(maps.height, size.height, stride.height, -first.height, behind.height),
            Windows(maps.width, size.width, stride.width, -first.width, behind.width),
        )

    def _fits(self, windows: Windows, given: int, context: Context) -> bool:
        """Whether each window along an axis has a pixel of the map; `given` is what outputsX says of it, 0 for nothing."""
        start = -windows.before
        if windows.kernel > windows.size + 2 * windows.after:
            self._report_too_large(windows, windows.size, context)
        elif start >= windows.size:
            context.report.add(
                "CS407",
                self.span("start"),
                f"the first window of {self.name} starts at {start}, outside a map of {windows.size} pixels",
                help=f"use a start below {windows.size}",
            )
        elif not given and windows.count(self.rounds(context.rounding)) < 1:
            self._report_too_large(windows, windows.size - start, context)
        elif given and windows.last_start(given) >= windows.size:
            context.report.add(
                "CS407",
                self.span("outputs_x"),
                f"the last of {given} windows of {self.name} would start at pixel {windows.last_start(given)}, "
                f"but {self.input_names[0]} is {windows.size} pixels wide",
                help=f"outputsX can be at most {windows.most}",
            )
        else:
            return True
        return False

    def _report_too_large(self, windows: Windows, room: int, context: Context) -> None:
        start, room = -windows.before, room + 2 * windows.after
        has = f"{room} pixels a side{f' from start={start} on' if start else ''}"
        if windows.after:
            has = f"{windows.size} + 2*{windows.after} = {room} pixels a side"
        context.report.add(
            "CS403",
            self.span("size"),
            f"the {self.size.height}x{self.size.width} windows of {self.name} do not fit {self.input_names[0]}, "
            f"which has {has}",
            labels=[
                *entry_label(self, "start", "where the first window starts"),
                *entry_label(self, "padding", "pixels on each side"),
            ],
            notes=way_notes(context, self.input_names[0]),
            help=f"use sizeX={max(room, 1)} or less, or a larger input",
        )

    def refuse_unsourced(self, crosses: bool, report: Report) -> None:
        super().refuse_unsourced(crosses, report)
        if self.pool == "rand" and not self.takes_max:
            report.add(
                "CS604",
                self.span("pool"),
                f"pool=rand of {self.name} draws a pixel of each window, and by which probabilities has no public source",
                notes=["convLocalRandomPool is called by the 2012 code and not part of it"],
                help="write doMax=1 in its parameters: it takes the largest pixel, as the one released file does",
            )

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        shape = builder.shape(inputs[0])
        maps = shape if shape.is_map else shape.as_square_maps(output.channels)
        assert maps is not None
        pools = {"maxabs": builder.max_abs_pool2d, "avg": builder.sum_pool2d if self.sums else builder.avg_pool2d}
        pool = pools.get(self.pool, builder.max_pool2d)
        value = builder.reshape(inputs[0], maps)
        return pool(value, output, kernel_size=self.size.pair, stride=self.stride.pair, start=self.first.pair)


class GlobalPool(Layer):
    """One number a map: the mean of its pixels, or the largest of them (Lin et al., Network in Network, 2014).

    None of the originals has it. It takes maps of any size, and gives maps of 1x1, which an fc or softmax layer reads as
    a vector; `torch.nn.AdaptiveAvgPool2d(1)` and `AdaptiveMaxPool2d(1)`.
    """

    type = "globalpool"

    channels = integer("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")
    pool = choice("pool", ("avg", "max"), default="avg", doc="what a map gives: avg or max")

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        maps = read_maps(self, 0, inputs[0], self.channels, context)
        return None if maps is None else Inference(Shape.of_maps(maps.channels, 1, 1))

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        shape = builder.shape(inputs[0])
        maps = shape if shape.is_map else shape.as_square_maps(output.channels)
        assert maps is not None
        size = (maps.height, maps.width)
        pool = builder.max_pool2d if self.pool == "max" else builder.avg_pool2d
        return pool(builder.reshape(inputs[0], maps), output, kernel_size=size, stride=size, start=(0, 0))


class ChannelPool(Layer):
    """The largest of each window of maps, pixel by pixel; windows may overlap (cuda-convnet2 conv_util.cuh:210-260).

    Window i covers maps [start + i*stride, start + i*stride + size), clipped to those that there are; together they cover
    all (layer.py:1279-1316). Ties are those of `pool`.
    """

    type = "cmpool"

    channels = integer("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")
    pool = choice("pool", ("max",), default="max", doc="what a window gives: max")
    size = integer("size", minimum=1, doc="maps in a window")
    stride = integer("stride", minimum=1, doc="maps from one window to the next, at most size")
    start = integer("start", default=0, minimum=-(2**20), maximum=0, doc="map at which the first window starts")
    out_channels = integer("outputs", default=0, minimum=0, doc="maps that it gives; 0: as many as cover all maps")

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
                help=f"no window would see the maps between: use stride={self.size} or less",
            )
        elif self.start <= -self.size:
            self.is_broken = True
            report.add(
                "CS407",
                self.span("start"),
                f"the first window of {self.name} lies before the maps: it covers {self.start} to "
                f"{self.start + self.size - 1}",
                help=f"use start={1 - self.size} or more",
            )

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        maps = read_windowed_maps(self, inputs[0], self.channels, self.size, context)
        if maps is None:
            return None
        windows = Windows(maps.channels, self.size, self.stride, -self.start)
        count = self.out_channels or windows.count(Rounding.CEIL)
        if not self._covers(windows, count, context.report):
            return None
        return Inference(maps.with_channels(count), windows.arithmetic(Rounding.CEIL) if not self.out_channels else "")

    def _covers(self, windows: Windows, count: int, report: Report) -> bool:
        """Whether `count` windows end at the last map, and each of them has one."""
        end = windows.last_start(count) + self.size
        if end < windows.size:
            report.add(
                "CS412",
                self.span("out_channels"),
                f"{count} windows of {self.name} cover {end} of the {windows.size} maps of {self.input_names[0]}",
                help=f"use outputs={windows.count(Rounding.CEIL)}",
            )
        elif windows.last_start(count) >= windows.size:
            report.add(
                "CS407",
                self.span("out_channels"),
                f"the last of {count} windows of {self.name} would start at map {windows.last_start(count)}, "
                f"but {self.input_names[0]} has {windows.size}",
                help=f"use outputs={windows.count(Rounding.CEIL)}",
            )
        else:
            return True
        return False

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        shape = builder.shape(inputs[0])
        maps = shape if shape.is_map else shape.as_square_maps(self.channels)
        assert maps is not None
        value = builder.reshape(inputs[0], maps)
        return builder.channel_max_pool(value, output, size=self.size, stride=self.stride, start=self.start)

"""Layers over images: `nailbed`, `blur`, `href`, `resize`, `rscale`, `crop`, `rgb2yuv`, `rgb2lab`.

All of them have their true gradient here. The originals have none for `resize`, `rscale`, `crop` and the two colour
layers, and refuse them above layers that learn (layer.py, `verify_no_grads`); so do we, so that a network means the same.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import floor
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.base import Context, Inference, Layer, entry_label
from convspec.layers.keys import flag, integer, number
from convspec.layers.reading import read_maps
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class _ImageLayer(Layer):
    """A layer that reads one input as maps; `infer_maps` says what they become."""

    channels = integer("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        maps = read_maps(self, 0, inputs[0], self.channels, context)
        return None if maps is None else self.infer_maps(maps, context)

    @abstractmethod
    def infer_maps(self, maps: Shape, context: Context) -> Inference | None: ...

    def read(self, builder: Builder, value: str, channels: int) -> str:
        """The input as the maps that `infer` found it to be."""
        shape = builder.shape(value)
        maps = shape if shape.is_map else shape.as_square_maps(channels)
        assert maps is not None
        return builder.reshape(value, maps)


class Nailbed(_ImageLayer):
    """Every stride-th pixel along rows and columns, so that as much is left out before the first as behind the last.

    ceil(side / stride) pixels a side, from (side - stride * (count - 1)) // 2 on (conv_util.cu:584-660, layer.py:456-480).
    """

    type = "nailbed"

    stride = integer("stride", minimum=1, doc="pixels from one that is taken to the next")

    def infer_maps(self, maps: Shape, context: Context) -> Inference | None:
        height, width = (len(range(*self._range(side))) for side in maps.dims[1:])
        return Inference(
            Shape.of_maps(maps.channels, height, width), f"{maps.width} / {self.stride} = {width}, rounded up"
        )

    def _range(self, side: int) -> tuple[int, int, int]:
        steps = -(-side // self.stride) - 1
        start = (side - self.stride * steps) // 2
        return start, start + self.stride * steps + 1, self.stride

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        value = self.read(builder, inputs[0], output.channels)
        _, height, width = builder.shape(value).dims
        return builder.pick2d(value, rows=self._range(height), columns=self._range(width))


class Blur(_ImageLayer):
    """Convolution with a Gaussian bell, along rows and then along columns, with zeros around the map.

    tap i = exp(-(filterSize//2 - i)^2 / (2 stdev^2)), divided by their sum; borders darken (conv_util.cu:478-575).
    """

    type = "blur"

    SIZES = (3, 5, 7, 9)

    filter_size = integer("filterSize", doc="pixels that the bell reaches over: 3, 5, 7 or 9")
    stdev = number("stdev", above=0, doc="standard deviation of the bell, pixels")

    def validate(self, report: Report) -> None:
        super().validate(report)
        if self.is_broken:
            return
        for attribute, is_wrong, wanted in (
            ("filter_size", self.filter_size not in self.SIZES, "3, 5, 7 or 9"),
            ("stdev", self.stdev == 0, "above 0"),
        ):
            if is_wrong:
                key = self.key(attribute)
                self.is_broken = True
                report.add(
                    "CS205",
                    self.span(attribute),
                    f"{key.spelling} of {self.name} is {getattr(self, attribute):g}; it must be {wanted}",
                    help=f"{key.spelling}: {key.doc}",
                )

    def infer_maps(self, maps: Shape, context: Context) -> Inference | None:
        side = min(maps.height, maps.width)
        if self.filter_size <= side:
            return Inference(maps)
        context.report.add(
            "CS403",
            self.span("filter_size"),
            f"the bell of {self.name} reaches over {self.filter_size} pixels, and {self.input_names[0]} gives {maps}",
            help="use a smaller filterSize" if side >= self.SIZES[0] else "a map must have 3 pixels a side at least",
        )
        return None

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        value = self.read(builder, inputs[0], output.channels)
        return builder.gaussian_blur(value, size=self.filter_size, stdev=abs(self.stdev))


class HorizontalReflection(_ImageLayer):
    """Every map mirrored left to right, in training and at test (conv_util.cu:41-68)."""

    type = "href"

    def infer_maps(self, maps: Shape, context: Context) -> Inference | None:
        return Inference(maps)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        value = self.read(builder, inputs[0], output.channels)
        whole = (0, output.height, 1), (0, output.width, 1)
        return builder.pick2d(value, rows=whole[0], columns=whole[1], mirrored=True)


class ResizeLayer(_ImageLayer):
    """Bilinear resizing to floor(side / scale) pixels a side, for which the map is read at points `scale` pixels apart.

    Point t lies at t*scale + (side - scale*count) / 2, clamped to [0, side - 1.01] (conv_util.cu:410-466, 2646-2663).
    """

    type = "resize"
    stops_gradient = True

    scale = number("scale", minimum=0.5, maximum=2, doc="pixels of the input for a pixel of the output")

    def infer_maps(self, maps: Shape, context: Context) -> Inference | None:
        height, width = (floor(side / self.scale) for side in maps.dims[1:])
        if min(height, width) < 1:
            context.report.add(
                "CS403",
                self.span("scale"),
                f"{self.name} has no pixel left of {self.input_names[0]}, which gives {maps}",
                help="use a smaller scale",
            )
            return None
        return Inference(
            Shape.of_maps(maps.channels, height, width), f"{maps.width} / {self.scale:g} = {width}, rounded down"
        )

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        return builder.resize(self.read(builder, inputs[0], output.channels), output, scale=self.scale)


class RandomScale(_ImageLayer):
    """Training at random scales: the whole batch is resized by one scale, and one crop of it is taken.

    The side of the resized image is drawn from tgtSize + s, s = 0 ... side - floor(side / maxScale), with a probability that
    grows as (s+1)^2, and the crop has tgtSize pixels a side. At test the whole image is resized by maxScale
    (cuda-convnet2 layer.cu:1730-1786). Without tgtSize it is floor(side / maxScale), as cuda-convnet had it. The code of
    2012 copied its input at test by mistake (layer.cu:1420-1427); that is not reproduced.
    """

    type = "rscale"
    stops_gradient = True

    max_scale = number("maxScale", minimum=1, maximum=2, doc="strongest reduction; 1 for none")
    target_size = integer("tgtSize", default=None, minimum=1, doc="side of the output, pixels")

    def infer_maps(self, maps: Shape, context: Context) -> Inference | None:
        if maps.height != maps.width:
            context.report.add(
                "CS404",
                self.span("inputs"),
                f"{self.name} scales square images, and {self.input_names[0]} gives {maps}",
                help="crop the images to squares before",
            )
            return None
        least = floor(maps.width / self.max_scale)
        side = self.target_size if self.is_given("target_size") else least
        if least <= side <= maps.width:
            return Inference(Shape.of_maps(maps.channels, side, side))
        context.report.add(
            "CS205",
            self.span("target_size"),
            f"tgtSize of {self.name} is {side}; it must be from {maps.width} / {self.max_scale:g} = {least} to {maps.width}",
            labels=entry_label(self, "max_scale", "the strongest reduction"),
            help=f"write tgtSize={least}, say",
        )
        return None

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        value = self.read(builder, inputs[0], output.channels)
        return builder.resize(value, output, scale=self.max_scale, is_random=True)


class Crop(_ImageLayer):
    """A square of sizeX pixels a side, the same for all images (conv_util.cu:249-275, layer.cu:1793-1801)."""

    type = "crop"
    stops_gradient = True

    start_x = integer("startX", minimum=0, doc="first column that is taken")
    start_y = integer("startY", default=None, minimum=0, doc="first row that is taken; else as startX")
    size = integer("sizeX", minimum=1, doc="rows and columns that are taken")

    def infer_maps(self, maps: Shape, context: Context) -> Inference | None:
        axes = (("start_y", self._top, maps.height, "rows"), ("start_x", self.start_x, maps.width, "columns"))
        for attribute, start, side, what in axes:
            if start + self.size > side:
                context.report.add(
                    "CS403",
                    self.span(attribute if self.is_given(attribute) else "start_x"),
                    f"{self.name} takes {what} {start} to {start + self.size - 1}, and {self.input_names[0]} has {side}",
                    labels=entry_label(self, "size", f"{self.size} pixels"),
                    help=f"use a start of {side - self.size} or less"
                    if self.size <= side
                    else f"use sizeX={side} or less",
                )
                return None
        return Inference(Shape.of_maps(maps.channels, self.size, self.size))

    @property
    def _top(self) -> int:
        return self.start_y if self.is_given("start_y") else self.start_x

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        value = self.read(builder, inputs[0], output.channels)
        rows = (self._top, self._top + self.size, 1)
        return builder.pick2d(value, rows=rows, columns=(self.start_x, self.start_x + self.size, 1))


class _Colors(Layer):
    """Red, green and blue maps in another space; a vector is read as three square maps."""

    stops_gradient = True

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        maps = read_maps(self, 0, inputs[0], 3, context, channels_key="inputs")
        return None if maps is None else Inference(maps)


class RGBToYUV(_Colors):
    """Luminance and two colour differences; the matrix is `convspec_kernels.rgb_to_yuv`'s (conv_util.cu:292-313)."""

    type = "rgb2yuv"

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        return builder.convert_colors(builder.reshape(inputs[0], output), "yuv")


class RGBToLab(_Colors):
    """CIE L*a*b* of colours from 0 to 1, as `convspec_kernels.rgb_to_lab` writes it down (conv_util.cu:317-388)."""

    type = "rgb2lab"

    center = flag("center", default=False, doc="1: L from -50 to 50, else from 0 to 100")

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        space = "centered lab" if self.center else "lab"
        return builder.convert_colors(builder.reshape(inputs[0], output), space)

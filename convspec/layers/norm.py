"""Response normalisation: `cmrnorm` across maps (section 3.3 of the paper), `rnorm` and `cnorm` inside each map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.layers.base import Context, Inference
from convspec.layers.keys import Home, flag, integer, number
from convspec.layers.origins import way_notes
from convspec.layers.reading import read_maps
from convspec.layers.weights import DroppableLayer
from convspec.layers.windows import read_windowed_maps
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class CrossMapResponseNorm(DroppableLayer):
    """x_f / (minDiv + scale/size * sum of x_g^2 over g in [f - size//2, f - size//2 + size)) ** pow.

    The window is clipped to the maps (cuda-convnet2 conv_util.cu:1160-1210); with blocked=1 it is the run of `size` maps
    that f is in, [f//size * size, f//size * size + size). All originals divide `scale` by `size`, so
    the paper's alpha = 1e-4 over n = 5 maps is scale=0.0005. This is `torch.nn.LocalResponseNorm` with alpha = scale,
    beta = pow, k = minDiv.
    """

    type = "cmrnorm"

    channels = integer("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")
    size = integer("size", minimum=2, doc="maps in a window, 5 in the paper")
    scale = number("scale", home=Home.PARAMS, doc="alpha times size: 0.0005 in the paper")
    power = number("pow", home=Home.PARAMS, doc="beta, 0.75 in the paper")
    min_divisor = number("minDiv", home=Home.PARAMS, default=1.0, above=0, doc="k, 2 in the paper")
    blocked = flag("blocked", default=False, doc="1: windows are disjoint runs of size maps")

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        maps = read_windowed_maps(self, inputs[0], self.channels, self.size, context)
        return None if maps is None else Inference(maps)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        value = builder.reshape(inputs[0], output)
        return builder.local_response_norm(
            value, size=self.size, alpha=self.scale, beta=self.power, k=self.min_divisor, blocked=self.blocked
        )


class SameMapResponseNorm(DroppableLayer):
    """x / (minDiv + scale/size^2 * sum of x^2 over rows and columns [p - size//2, p - size//2 + size)) ** pow.

    The window is clipped to the map and the divisor is not adapted there (cuda-convnet2 conv_util.cu:870-1140). The
    network of 2012 has one after its second `cmrnorm`.
    """

    type = "rnorm"

    channels = integer("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")
    size = integer("size", minimum=1, doc="side of the window, pixels")
    scale = number("scale", home=Home.PARAMS, doc="alpha times the pixels of a window")
    power = number("pow", home=Home.PARAMS, doc="beta")
    min_divisor = number("minDiv", home=Home.PARAMS, default=1.0, above=0, doc="k")

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        maps = read_maps(self, 0, inputs[0], self.channels, context)
        if maps is None:
            return None
        if self.size > max(maps.height, maps.width):
            context.report.add(
                "CS403",
                self.span("size"),
                f"the {self.size}x{self.size} windows of {self.name} are larger than {self.input_names[0]}, which gives {maps}",
                notes=way_notes(context, self.input_names[0]),
                help=f"use size={max(maps.height, maps.width)} or less",
            )
            return None
        return Inference(maps)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        value = builder.reshape(inputs[0], output)
        return builder.response_norm(value, size=self.size, alpha=self.scale, beta=self.power, k=self.min_divisor)


class ContrastNorm(SameMapResponseNorm):
    """x / (minDiv + scale/size^2 * sum of (x - mean)^2) ** pow, over windows as those of `rnorm`.

    Each pixel differs from the mean of its own window, over the pixels in the map; the numerator is x itself (cuda-convnet2
    layer.cu:1978-1988). The gradient is the exact one. The published kernel takes the means for constants
    (conv_util.cu:2468-2471), and so does `[@net] cnormGradient=published`.
    """

    type = "cnorm"

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        value = builder.reshape(inputs[0], output)
        return builder.contrast_norm(value, size=self.size, alpha=self.scale, beta=self.power, k=self.min_divisor)

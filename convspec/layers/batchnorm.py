"""`batchnorm`: batch normalisation. None of the originals has it; authors of today's networks cannot do without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.layers.base import Context, Cost, Inference
from convspec.layers.keys import integer, number, numbers
from convspec.layers.reading import read_maps
from convspec.layers.weights import WeightLayer
from convspec.program.parameter import Constraint, Initialization
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class BatchNorm(WeightLayer, without=["wball", "weightsource"]):
    """scale * (x - mean) / sqrt(variance + eps) + shift, for each map, or each feature of a vector.

    Ioffe and Szegedy, Batch Normalization (2015), algorithms 1 and 2, as `torch.nn.BatchNorm2d`. In training, mean and
    variance are those of the minibatch, over its cases and the pixels of the map; at test they are running averages,

        average <- (1 - momentum) * average + momentum * of the minibatch

    which start at 0 and 1, take the unbiased variance, and are kept in checkpoints. The scale starts at 1 and learns by
    epsW, momW and wc; the shift starts at 0 and learns by epsB and momB. A rate of 0 freezes either.
    """

    type = "batchnorm"
    input_counts = (1, 1)
    only_rescales = True

    channels = integer("channels", default=None, minimum=1, doc="maps to read a vector as; inferred of maps")
    epsilon = number("eps", default=1e-5, above=0, doc="added to the variance, so that the root is never of 0")
    momentum = number("momentum", default=0.1, minimum=0, maximum=1, doc="share of a minibatch in the running averages")
    init_w = numbers(
        "initW", default=0.0, minimum=0, takes_default=False, doc="standard deviation of the first scales around 1"
    )
    init_b = number("initB", default=0.0, takes_default=False, doc="first shift")

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        if not self.is_given("channels"):
            return Inference(inputs[0])
        maps = read_maps(self, 0, inputs[0], self.channels, context)
        return None if maps is None else Inference(maps)

    def weight_constraint(self, index: int) -> Constraint:
        return Constraint()

    def weight_initialization(self, index: int, sizes: Sequence[tuple[int, ...]]) -> Initialization:
        return Initialization(std=self.init_w[index], constant=1.0)

    def cost(self, inputs: Sequence[Shape], output: Shape) -> Cost:
        return Cost(output.channels, output.channels, output.features)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        shape = (output.channels,)
        return builder.batch_norm(
            builder.reshape(inputs[0], output),
            weight=builder.parameter("weight", shape, self.weight_initialization(0, [shape]), self.weight_update(0)),
            bias=builder.parameter("bias", shape, self.bias_initialization, self.bias_update),
            eps=self.epsilon,
            momentum=self.momentum,
        )

"""Costs that need no labels: they keep what a layer gives small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convspec.layers.base import Context
from convspec.layers.costs import CostLayer
from convspec.layers.keys import integer
from convspec.layers.reading import read_maps
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class _EnergyCost(CostLayer):
    """A cost with nothing to judge, so that the network need not give what it reads."""

    @property
    def judged(self) -> tuple[str, ...]:
        return ()


class SumOfSquares(_EnergyCost):
    """Sum of x^2 over a case, without a factor of 1/2 (cuda-convnet2 layer.cu:2297-2305).

    Over an eltsum of data and reconstruction with coeffs 1 and -1 it trains an autoencoder.
    """

    type = "cost.sum2"

    def fits(self, inputs: Sequence[Shape], context: Context) -> bool:
        return True

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        return builder.sum_of_squares(inputs[0], coefficient=self.coefficient, children=self.child_names)


class GatedSumOfSquares(_EnergyCost):
    """g * sum of x^2 over a case; inputs: the gate g, one number a case, then x (AlexNet layer.cu:1963-1979).

    The gradient goes to both.
    """

    type = "cost.gsum2"
    input_counts = (2, 2)

    def fits(self, inputs: Sequence[Shape], context: Context) -> bool:
        return self.has_one_number(0, inputs[0], context, what="the gate")

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        gate, values = inputs
        return builder.gated_sum_of_squares(gate, values, coefficient=self.coefficient, children=self.child_names)


class TopographicIca(_EnergyCost):
    """Sum over the pixels q of sqrt(S(q)), S(q) the sum of x^2 over the sizeX x sizeX window of the same map around q.

    The window is [q - sizeX//2, q - sizeX//2 + sizeX) in both directions, clipped to the map. The gradient at x(p) is
    x(p) times the sum of 1 / (0.001 + sqrt(S(q))) over the windows that hold p (AlexNet layer.cu:1986-2021).

    Where we differ: the original reports the sum of 1 / (0.001 + sqrt(S)), which its own source calls wrong; we report
    what the gradient belongs to. For an even sizeX, and where another cost reads x too, its gradient was that of no cost.
    """

    type = "cost.tica"

    channels = integer("channels", minimum=1, default=None, doc="maps of its input; may be left out")
    size = integer("sizeX", minimum=1, doc="rows and columns of a window, pixels")

    def fits(self, inputs: Sequence[Shape], context: Context) -> bool:
        return read_maps(self, 0, inputs[0], self.channels, context) is not None

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        shape = builder.shape(inputs[0])
        maps = shape if shape.is_map or self.channels is None else shape.as_square_maps(self.channels)
        assert maps is not None
        value = builder.reshape(inputs[0], maps)
        return builder.topographic_energy(
            value, coefficient=self.coefficient, size=self.size, children=self.child_names
        )

"""What `conv`, `local`, `fc` and `sfc` have in common: they add up what they make of each input, by weights of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from convspec.diagnostics import Report
from convspec.layers.keyed import RawSection
from convspec.layers.keys import flag
from convspec.layers.weights import WeightLayer
from convspec.program.shape import Shape

if TYPE_CHECKING:
    from convspec.program.builder import Builder

# The keys, by name, that say how biases start and learn.
_OF_BIASES = ("initb", "initbfunc", "epsb", "schedb", "momb", "sharedbiases")


class SummingLayer(WeightLayer):
    """Bias + sum over inputs of what the weights of each make of it.

    Inputs that can be joined are read by one operator, with one parameter that holds the weights of all. Any others have
    an operator each, and the first one has the biases.

    Without biases nothing is added: none of the originals had such layers, in front of a `batchnorm` they are the usual
    ones (Ioffe and Szegedy, Batch Normalization, 2015, section 3.2).
    """

    has_biases = flag(
        "biases", default=True, doc="0: none, as in front of a batchnorm, which shifts what it normalises"
    )

    @classmethod
    def idle_keys(cls, raw: RawSection) -> Mapping[str, str]:
        entry = raw.entry(cls.has_biases)
        if entry is None or cls.has_biases.read("", entry, Report()) is not False:
            return {}
        return dict.fromkeys(_OF_BIASES, "biases=0")

    @abstractmethod
    def _weight_shape(self, index: int, width: int, output: Shape) -> tuple[int, ...]:
        """Of the weights of input `index`, or of all inputs joined, as PyTorch would lay them out.

        width: channels that they read, or features of a layer that reads no maps.
        """

    @abstractmethod
    def _bias_shape(self, output: Shape) -> tuple[int, ...]: ...

    def _bias_count(self, output: Shape) -> int:
        return prod(self._bias_shape(output)) if self.has_biases else 0

    def _bias(self, builder: Builder, output: Shape, term: int | None = None) -> str | None:
        """The name of the biases; None where there are none."""
        if not self.has_biases:
            return None
        return builder.parameter(
            "bias", self._bias_shape(output), self.bias_initialization, self.bias_update, term=term
        )

    @abstractmethod
    def _apply(
        self, builder: Builder, index: int, values: Sequence[str], weight: str, bias: str | None, output: Shape
    ) -> str:
        """Add the operators that apply the weights of input `index` to `values`, joined."""

    def _lower_sum(
        self, builder: Builder, values: Sequence[str], widths: Sequence[int], output: Shape, *, can_join: bool
    ) -> str:
        """widths: of each value, as in `_weight_shape`. can_join: whether one operator can read all values."""
        sizes = [self._weight_shape(index, width, output) for index, width in enumerate(widths)]
        if len(values) > 1 and (builder.shares_weights or not can_join):
            return builder.add([self._lower_term(builder, i, value, sizes, output) for i, value in enumerate(values)])
        weight = builder.parameter(
            "weight",
            self._weight_shape(0, sum(widths), output),
            self.weight_initialization(0, sizes),
            self.weight_update(0),
            joined=widths,
        )
        return self._apply(builder, 0, values, weight, self._bias(builder, output), output)

    def _lower_term(
        self, builder: Builder, index: int, value: str, sizes: Sequence[tuple[int, ...]], output: Shape
    ) -> str:
        """What is made of one input, in a module of its own. sizes: of the weights of each input."""
        weight = builder.parameter(
            "weight",
            sizes[index],
            self.weight_initialization(index, sizes),
            self.weight_update(index),
            term=index,
        )
        bias = self._bias(builder, output, term=0) if index == 0 else None
        return self._apply(builder, index, [value], weight, bias, output)

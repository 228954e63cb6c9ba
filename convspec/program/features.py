"""Operators on the features of a case: each by itself, several into one, or the same ones arranged otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from convspec.program.operator import Operator


class Neuron(Enum):
    """Elementwise functions; the arguments are those of the layer file (cuda-convnet2 include/neuron.cuh)."""

    LOGISTIC = "logistic"
    ABS = "abs"
    RELU = "relu"
    SOFTRELU = "softrelu"
    SQUARE = "square"
    SQRT = "sqrt"
    TANH = "tanh"
    ABSTANH = "abstanh"
    BRELU = "brelu"
    LINEAR = "linear"
    LOG = "log"
    DRELU = "drelu"
    NRELU = "nrelu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation(Operator):
    neuron: Neuron
    arguments: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout(Operator):
    """Units kept with probability `keep` in training.

    rescale_at_test: False divides by `keep` in training (inverted dropout); True multiplies by `keep` at test, as the
    paper does (section 4.2). `enabled=False` never drops, but still multiplies by `keep` if `rescale_at_test`.
    """

    keep: float
    rescale_at_test: bool
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Operator):
    """exp(x) / sum(exp(x)) over the features of each case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Operator):
    """The same features in another shape: maps to a vector, or a vector to maps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Operator):
    """The inputs joined by channel (maps) or by feature (vectors)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Operator):
    """Channels (or features) `start` to `stop`."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather(Operator):
    """The channels that the buffer `index` names, one after another; some perhaps several times, some not at all."""

    index: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Operator):
    """Sum of the inputs, each times its coefficient; of none where `coefficients` is empty."""

    coefficients: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Maximum(Operator):
    """Largest of the inputs, element by element; each that equals it gets the whole gradient."""

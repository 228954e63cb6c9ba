"""Operators that read parameters, which they name. A weight is laid out as PyTorch lays it out."""

from __future__ import annotations

from dataclasses import dataclass

from convspec.program.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d(Operator):
    """Cross-correlation of the inputs joined by channel. `weight` and `bias` name parameters of the program.

    kernel_size, stride, padding: along (height, width). bias: (outputs,), or (outputs, height, width) for a bias a pixel.
    gradient_scale: what the gradient of `weight` is multiplied by on its way through here, see `Sharer`.
    """

    weight: str
    bias: str | None
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    gradient_scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocallyConnected2d(Operator):
    """As `Conv2d`, with a kernel of its own at every window: `weight` is (outputs, inputs / groups, kernel height, kernel
    width, windows along height, windows along width), and a bias (outputs, height, width).

    Windows that hang over the map, however far, see zeros there.
    """

    weight: str
    bias: str | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    gradient_scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(Operator):
    """x @ weight.T + bias over the inputs, flattened and joined by feature; `weight` is (outputs, features)."""

    weight: str
    bias: str | None
    gradient_scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeLinear(Operator):
    """A linear layer of classes, the leaves of a tree: the weights of a class are the sum of the rows of `weight` from its
    leaf up to the root.

    weight: (nodes, features), the classes first. parents: of each node; -1 for the root.
    """

    weight: str
    bias: str
    parents: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm(Operator):
    """(x - mean) / sqrt(variance + eps) * weight + bias, for each channel of maps or feature of vectors.

    In training mean and variance are those of the batch, and the running ones move towards them by `momentum`, the
    variance unbiased; at test the running ones are used. `statistics` names the buffers: mean, variance, and the count
    of batches.
    """

    weight: str
    bias: str
    statistics: tuple[str, str, str]
    eps: float
    momentum: float


# Those that read the inputs joined, through a weight, and perhaps add a bias.
Weighted = Conv2d | LocallyConnected2d | Linear

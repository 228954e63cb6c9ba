"""Operators that look through windows, of pixels or of channels: normalisation and pooling."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from convspec.program.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalResponseNorm(Operator):
    """x / (k + alpha/size * sum of squares over `size` neighbouring channels of the same group) ** beta.

    blocked: windows are disjoint runs of `size` channels, counted from the first of a group.
    """

    size: int
    alpha: float
    beta: float
    k: float
    groups: int = 1
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseNorm(Operator):
    """x / (k + alpha/size^2 * sum of squares over size x size neighbours in the same map) ** beta."""

    size: int
    alpha: float
    beta: float
    k: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastNorm(Operator):
    """x / (k + alpha/size^2 * sum of squared differences from local means over size x size neighbours) ** beta.

    holds_means: the gradient takes the means for constants.
    """

    size: int
    alpha: float
    beta: float
    k: float
    holds_means: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool2d(Operator):
    """Largest pixel of each window; windows start at `start + i*stride` and are clipped to the map.

    kernel_size, stride, start: along (height, width). ties_share: of equal largest pixels each gets the whole gradient.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int] = (0, 0)
    ties_share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxAbsPool2d(Operator):
    """Pixel of largest magnitude of each window, the last of equal ones; windows and ties as in `MaxPool2d`."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int] = (0, 0)
    ties_share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AvgPool2d(Operator):
    """Mean, or sum, over the pixels of each window that lie in the map; windows as in `MaxPool2d`."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int] = (0, 0)
    is_sum: bool = False


class Reduction(Enum):
    """What a window gives."""

    MAX = "max"
    SUM = "sum"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPool(Operator):
    """Largest, or sum, of each window of channels (maps) or features (vectors), at each pixel.

    Windows start at `start + i*stride` and are clipped; those of a sum lie side by side and cover all.
    """

    reduction: Reduction
    size: int
    stride: int
    start: int = 0
    ties_share: bool = False


class LRNWindow(NamedTuple):
    """A `LocalResponseNorm` inside a `FusedLRNPool`."""

    size: int
    alpha: float
    beta: float
    k: float
    groups: int


class PoolWindow(NamedTuple):
    """A `MaxPool2d` inside a `FusedLRNPool`, with as many rows as columns."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int]
    ties_share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedLRNPool(Operator):
    """x + bias, ReLU, LRN, max pool, ReLU: each where it is asked for, in this order, in one pass over the maps.

    `bias` names the parameter that the convolution before it leaves out.
    """

    bias: str | None
    relu_before: bool
    relu_after: bool
    norm: LRNWindow | None
    pool: PoolWindow | None

"""The operators of a program: a small closed union that every pass and emitter handles with `match`. Costs are in `costs`.

An operator computes one value, named like the operator. All names and conventions are PyTorch's: cross-correlation,
NCHW, `alpha` of LRN divided by the size of its window. What a spec calls a layer may lower to several operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from convspec.program.costs import Cost
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
class Input(Operator):
    """A value that the caller supplies. `data_index` is the provider's matrix: 0 images, 1 labels, 2 one-hot."""

    data_index: int

    @property
    def key(self) -> str:
        """The data layer, by whose name the caller supplies the value."""
        return self.layers[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Operator):
    """The value, on `gpu` as well; in the backward pass its gradient, on `source`. Nothing is computed.

    source: the GPU that has it, None for the host.
    """

    source: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Send(Operator):
    """The value that it reads goes to the process that has GPU `peer`, whose gradient comes back. It has no value itself.

    exchange: a number that all have in common that cross together.
    """

    peer: int
    exchange: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receive(Operator):
    """A value that comes from the process that has GPU `peer`, to which its gradient goes back.

    value: what it is called there. exchange: as of `Send`.
    """

    peer: int
    value: str
    exchange: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeCases(Operator):
    """Of a value of the whole minibatch, the part that `cases` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinCases(Operator):
    """Values of parts of the minibatch, one behind another, as one value of the part that `cases` says, the whole of it
    for None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Operator):
    """The same features in another shape: maps to a vector, or a vector to maps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(Operator):
    """Zeros around each map; `padding` is (left, right, top, bottom), pixels, each at least 0."""

    padding: tuple[int, int, int, int]


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
class Activation(Operator):
    neuron: Neuron
    arguments: tuple[float, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class AvgPool2d(Operator):
    """Mean, or sum, over the pixels of each window that lie in the map; windows as in `MaxPool2d`."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int] = (0, 0)
    is_sum: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick2d(Operator):
    """Pixels of each map: rows and columns of half-open ranges (start, stop, step), mirrored left to right if asked."""

    rows: tuple[int, int, int]
    columns: tuple[int, int, int]
    mirrored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianBlur(Operator):
    """Convolution of each map with a bell of `size` taps, along rows and along columns; zeros around the map."""

    size: int
    stdev: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Operator):
    """Bilinear resizing by `scale`, pixels for a pixel of the result.

    is_random: in training, a scale of at most that, drawn once a batch, and a crop of the result.
    """

    scale: float
    is_random: bool = False


class ColorSpace(Enum):
    """What red, green and blue become."""

    YUV = "yuv"
    LAB = "lab"
    CENTERED_LAB = "centered lab"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertColors(Operator):
    """Red, green and blue in another space, pixel by pixel."""

    space: ColorSpace


# Operators that read the inputs joined, through a weight, and perhaps add a bias.
Weighted = Conv2d | LocallyConnected2d | Linear

# Operators that compute nothing: the same numbers elsewhere, or some of their cases.
Moved = Transfer | TakeCases | JoinCases

Op = (
    Input
    | Transfer
    | Send
    | Receive
    | TakeCases
    | JoinCases
    | Reshape
    | Pad
    | Conv2d
    | LocallyConnected2d
    | Linear
    | TreeLinear
    | Activation
    | BatchNorm
    | LocalResponseNorm
    | ResponseNorm
    | ContrastNorm
    | MaxPool2d
    | MaxAbsPool2d
    | FusedLRNPool
    | AvgPool2d
    | Dropout
    | Softmax
    | Concat
    | Slice
    | Gather
    | Add
    | Maximum
    | ChannelPool
    | Pick2d
    | GaussianBlur
    | Resize
    | ConvertColors
    | Cost
)


def parameters_of(op: Op) -> tuple[str, ...]:
    """Names of the parameters that an operator reads, its weight first."""
    match op:
        case Conv2d() | LocallyConnected2d() | Linear() | TreeLinear() | BatchNorm():
            return tuple(name for name in (op.weight, op.bias) if name is not None)
        case FusedLRNPool(bias=bias):
            return () if bias is None else (bias,)
        case _:
            return ()


def buffers_of(op: Op) -> tuple[str, ...]:
    """Names of the buffers that an operator reads or moves."""
    match op:
        case BatchNorm(statistics=statistics):
            return statistics
        case Gather(index=index):
            return (index,)
        case _:
            return ()


class Drawing(Enum):
    """When an operator draws random numbers."""

    NEVER = "never"
    IN_TRAINING = "in training"
    ALWAYS = "always"


def drawing_of(op: Op) -> Drawing:
    match op:
        case Dropout(keep=keep, enabled=True) if 0 <= keep < 1:
            return Drawing.IN_TRAINING
        case Resize(is_random=True):
            return Drawing.IN_TRAINING
        case Activation(neuron=Neuron.NRELU):
            return Drawing.ALWAYS
        case _:
            return Drawing.NEVER

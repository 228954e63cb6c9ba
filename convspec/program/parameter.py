"""Tensors of a network: those that learn and those that do not, how they start, and which layer owns which part."""

from __future__ import annotations

from typing import NamedTuple

from convspec.program.schedule import Schedule


class Initialization(NamedTuple):
    """First values of a parameter: normal with mean 0 and deviation `std`, plus `constant`.

    rows: how many of its rows are drawn, the others being 0; None for all.
    """

    std: float = 0.0
    constant: float = 0.0
    rows: int | None = None


class Constraint(NamedTuple):
    """What each filter of a matrix is brought to after a step: its spread first, then its norm.

    A filter is what its `axes` name: an output of a Linear or a convolution, an output at one window of a local layer.
    Where one layer has several matrices, each is held by itself.

    norm: largest norm of a filter, or its norm after every step where `is_exact`; 0 is no bound.
    counts_weights: whether `norm` is for each number of a filter, so that its bound is norm times their count.
    spread: least and most of sqrt(sum (w - mean)^2) / n over the n numbers of a filter; (0, 0) is no bound.
    axes: of the parameter, negative ones from the last. parts: equal runs of rows whose i-th rows are one filter.
    """

    norm: float = 0.0
    is_exact: bool = False
    counts_weights: bool = False
    spread: tuple[float, float] = (0.0, 0.0)
    axes: tuple[int, ...] = (0,)
    parts: int = 1

    @property
    def holds(self) -> bool:
        """Whether it changes anything."""
        return self.norm > 0 or self.spread[1] > 0


class Update(NamedTuple):
    """How a parameter learns: v <- momentum v - decay rate w - rate g; w <- w + v (section 5 of the paper).

    rate: learning rate over the run; base 0 freezes the parameter.
    momentum: in [0, 1).
    decay: weight decay, multiplied by the rate; at least 0, and 0 for biases.
    period: minibatches to a step, at least 1. Their gradients add up, each by its share of a full minibatch, and are
        divided by their number (cuda-convnet2 layer.cu:757-764, 800-807).
    counts_cases: whether a short minibatch counts by that share with a period of 1 too (layer.cu:848-874).
    damping: above 0, the gradient is divided by its deviation, and the momentum is 0.9: the normalised update of the
        2012 code (weights.cu:133-191). `momentum` is then the rate of the running means.
    divisors: a number for each row by which its gradient is divided, and its decay by the square; () is 1 for all.
    constraint: what a step ends with.
    """

    rate: Schedule
    momentum: float
    decay: float = 0.0
    period: int = 1
    counts_cases: bool = False
    damping: float = 0.0
    divisors: tuple[int, ...] = ()
    constraint: Constraint = Constraint()


class Block(NamedTuple):
    """A piece of a parameter that belongs to one layer under a name that no placement changes.

    name: canonical, as it stands in checkpoints: `conv2a.weight`, `conv3a.weights.0`, `fc6a.bias`.
    rows: half-open range of the first axis (outputs) of the parameter; None for the whole of a single number, which
    several layers may have in common.
    columns: half-open range of the second axis (inputs); None for a bias.
    """

    name: str
    rows: tuple[int, int] | None
    columns: tuple[int, int] | None = None

    def shape_in(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the piece in a tensor of shape `whole`."""
        ranges = [each for each in (self.rows, self.columns) if each is not None]
        return (*(stop - start for start, stop in ranges), *whole[len(ranges) :])


class Sharer(NamedTuple):
    """A matrix that another layer has: `layer` reads its input of this number through it.

    rate: that the sharer's own keys give.
    scale: what its gradients count beside the owner's, by whose rule the sum is learnt: 0 where the sharer's rate freezes
        it; in the original programs, for some types, its rate as a multiple of the owner's; else 1
        (`convspec.graph.sharing`).
    """

    layer: str
    input: int
    rate: Schedule
    scale: float = 1.0


class WeightOwner(NamedTuple):
    """The layer that has a shared matrix, and how it starts and learns.

    term: the input of the owner that it belongs to; None where the owner has one input alone.
    """

    layer: str
    term: int | None
    initialization: Initialization
    update: Update
    sharers: tuple[Sharer, ...]

    def scale(self, layer: str, index: int) -> float:
        """What the gradients of an input of `layer` count; 1 for the owner's own."""
        return next((each.scale for each in self.sharers if (each.layer, each.input) == (layer, index)), 1.0)

    @property
    def suffix(self) -> str:
        """`s.1` of `conv3a.weights.1`; nothing where there is one input."""
        return "" if self.term is None else f"s.{self.term}"


class Parameter(NamedTuple):
    """A tensor that learns.

    name: its path in the emitted module, `conv1.weight`.
    shape: as PyTorch lays it out: OIHW, out x in, or (outputs,).
    blocks: canonical pieces that tile it; a single block of the same name where nothing was merged.
    sharers: other inputs, or other layers, that read through it as well: gradients of all add up.
    """

    name: str
    shape: tuple[int, ...]
    initialization: Initialization
    update: Update
    blocks: tuple[Block, ...]
    sharers: tuple[Sharer, ...] = ()

    @property
    def is_merged(self) -> bool:
        return len(self.blocks) > 1 or self.blocks[0].name != self.name


class Permutations(NamedTuple):
    """First values of a buffer of indices: random orders of 0 to length - 1, one after another until it is full."""

    length: int


class Buffer(NamedTuple):
    """A tensor that the network keeps and nobody trains: running statistics, connections. Saved as parameters are.

    name: its path in the emitted module, `norm1.running_mean`.
    shape: () for a single number.
    initial: the number that it is filled with, or how its indices are drawn.
    blocks: canonical pieces that tile it, as those of a Parameter.
    is_integer: whether it counts or points (int64), rather than measures.
    """

    name: str
    shape: tuple[int, ...]
    initial: float | Permutations
    blocks: tuple[Block, ...]
    is_integer: bool = False

    @property
    def is_merged(self) -> bool:
        return len(self.blocks) > 1 or self.blocks[0].name != self.name

"""Tensors of a network: those that learn and those that do not, how they start, and which layer owns which part."""

from __future__ import annotations

from typing import NamedTuple

from convspec.program.schedule import Schedule


class Initialization(NamedTuple):
    """First values of a parameter: normal with mean 0 and deviation `std`, plus `constant`."""

    std: float = 0.0
    constant: float = 0.0


class Update(NamedTuple):
    """How a parameter learns: v <- momentum v - decay rate w - rate g; w <- w + v (section 5 of the paper).

    rate: learning rate over the run; base 0 freezes the parameter.
    momentum: in [0, 1).
    decay: weight decay, multiplied by the rate; at least 0, and 0 for biases.
    """

    rate: Schedule
    momentum: float
    decay: float = 0.0


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


class Parameter(NamedTuple):
    """A tensor that learns.

    name: its path in the emitted module, `conv1.weight`.
    shape: as PyTorch lays it out: OIHW, out x in, or (outputs,).
    blocks: canonical pieces that tile it; a single block of the same name where nothing was merged.
    """

    name: str
    shape: tuple[int, ...]
    initialization: Initialization
    update: Update
    blocks: tuple[Block, ...]

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

"""First values that do not come from drawing: copied from another run, written in the spec, or given by a function."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from convspec.diagnostics import Span


class Copied(NamedTuple):
    """From another run.

    place: the run; or, where `[@train] initFrom` names the run, one of its layers, if it has one of this name.
    layers: whose pieces are joined along their outputs, in this order; none for the piece of a single layer: that which
    `place` names, or else the one of the same name.
    """

    place: str
    layers: tuple[str, ...] = ()


class Written(NamedTuple):
    """As many numbers as the piece has, in the order of its elements."""

    numbers: tuple[float, ...]


class Called(NamedTuple):
    """By a Python function of the author's: `module.function`, with its arguments as they are written."""

    function: str
    arguments: tuple[str, ...]


class Piece(Enum):
    """What an initial value is of: the word that canonical names have for it."""

    WEIGHTS = "weights"
    BIASES = "bias"
    CONNECTIONS = "connections"


@dataclass(frozen=True, slots=True)
class InitialValue:
    """What a piece of a parameter, or of a buffer, starts as.

    name: canonical, `conv3a.weights.0`. shape: of the piece. layer, layer_type: whose it is. index: of the input that it
    belongs to; 0 for biases. parts: of the rows that stand for parts of the input, see `Constraint`.
    rows: how many of its rows a function gives, the others being 0; None for all.
    sparse: of connections: groups, channels of the input, and channels that a filter sees.
    spelling, span: the key, and where its value stands.
    """

    name: str
    shape: tuple[int, ...]
    layer: str
    layer_type: str
    piece: Piece
    index: int
    parts: int
    source: Copied | Written | Called
    spelling: str
    span: Span
    rows: int | None = None
    sparse: tuple[int, int, int] = (0, 0, 0)

"""Operators that compute nothing: what the caller gives, and what is brought to another GPU or parted by cases."""

from __future__ import annotations

from dataclasses import dataclass

from convspec.program.operator import Operator


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

    @classmethod
    def of(cls, value: Operator, name: str, gpu: int | None) -> Transfer:
        """Brings a value to a GPU, under another name."""
        return cls(
            name=name,
            inputs=(value.name,),
            shape=value.shape,
            layers=value.layers,
            gpu=gpu,
            cases=value.cases,
            source=value.gpu,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Send(Operator):
    """The value that it reads goes to the process that has GPU `peer`, whose gradient comes back. It has no value itself.

    exchange: a number that all have in common that cross together. is_judged: whether it is there for error rates alone, so
    that no gradient comes back.
    """

    peer: int
    exchange: int
    is_judged: bool = False


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


# The same numbers elsewhere, or some of their cases.
Moved = Transfer | TakeCases | JoinCases

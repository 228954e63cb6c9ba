"""What every operator of a program has; `operators` holds them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from convspec.program.shape import Shape


class Cases(NamedTuple):
    """A part of the minibatch. Of N cases, slice i of `total` is the ceil(N / total) from i * ceil(N / total) on, as far as
    there are any: the last slices may be short, or empty (cuda-convnet2 layer.cu:1539-1562).

    first, stop: the slices that it has, a half-open range. total: of all slices of the minibatch, at least 2.
    """

    first: int
    stop: int
    total: int

    @property
    def share(self) -> float:
        """Of a minibatch that `total` divides."""
        return (self.stop - self.first) / self.total

    def __str__(self) -> str:
        last = self.stop - 1
        return f"{self.first if last == self.first else f'{self.first}-{last}'} of {self.total}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What all operators share.

    name: of the value it computes; unique in the program.
    inputs: names of the values it reads, each defined earlier in the program.
    shape: of the value, without the batch axis.
    layers: the layers of the spec that it computes, more than one where towers were merged.
    gpu: index of the GPU that the spec gives it; None on the host (data), or where towers of several GPUs were merged.
    replicas: GPUs that have a replica each, in the order of the spec, before `place_layers` makes an operator of each.
    cases: the part of the minibatch that it computes, None for all of it.
    """

    name: str
    inputs: tuple[str, ...]
    shape: Shape
    layers: tuple[str, ...]
    gpu: int | None = None
    replicas: tuple[int, ...] = ()
    cases: Cases | None = None

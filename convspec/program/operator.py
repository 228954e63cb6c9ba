"""What every operator of a program has; `operators` holds them all."""

from __future__ import annotations

from dataclasses import dataclass

from convspec.program.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What all operators share.

    name: of the value it computes; unique in the program.
    inputs: names of the values it reads, each defined earlier in the program.
    shape: of the value, without the batch axis.
    layers: the layers of the spec that it computes, more than one where towers were merged.
    gpu: index of the GPU that the spec gives it; None on the host (data), or where towers of several GPUs were merged.
    """

    name: str
    inputs: tuple[str, ...]
    shape: Shape
    layers: tuple[str, ...]
    gpu: int | None = None

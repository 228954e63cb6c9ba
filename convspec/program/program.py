"""The lowered network: operators in an order in which they can run, and the parameters and buffers that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from convspec.program.costs import Cost, CostOperator, NegativeLogLikelihood, SubsetCrossEntropy
from convspec.program.moves import Input, Moved
from convspec.program.operators import Op
from convspec.program.parameter import Block, Buffer, Constraint, Initialization, Parameter, Update

__all__ = ["Block", "Buffer", "Constraint", "Initialization", "Output", "Parameter", "Program", "Update"]

LABEL_COSTS = (NegativeLogLikelihood, SubsetCrossEntropy)
"""Costs whose first input is the number of a class."""


@dataclass(frozen=True, slots=True)
class Output:
    """A value that `forward` returns, under the name of its layer."""

    layer: str
    value: str


@dataclass(frozen=True)
class Program:
    """name: of the network, from the file name of the spec. outputs: what `forward` returns, in order.

    notes: what passes did, and why they did no more. buffers: what the network keeps beside its parameters.
    """

    name: str
    operators: tuple[Op, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[Output, ...]
    notes: tuple[str, ...] = field(default=())
    buffers: tuple[Buffer, ...] = field(default=())

    @cached_property
    def values(self) -> Mapping[str, Op]:
        return {operator.name: operator for operator in self.operators}

    @cached_property
    def parameter(self) -> Mapping[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    @cached_property
    def buffer(self) -> Mapping[str, Buffer]:
        return {buffer.name: buffer for buffer in self.buffers}

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(op for op in self.operators if isinstance(op, Input))

    @cached_property
    def costs(self) -> tuple[Cost, ...]:
        """In the order of the outputs, to which all belong: that of the spec."""
        place = {output.value: i for i, output in enumerate(self.outputs)}
        costs = [op for op in self.operators if isinstance(op, CostOperator)]
        return tuple(sorted(costs, key=lambda cost: place.get(cost.name, len(place))))

    @cached_property
    def class_inputs(self) -> frozenset[str]:
        """Inputs that hold the number of a class, (N,) int64: nothing reads them but costs of a label.

        One that anything else reads is a number like all others, (N, 1).
        """
        return frozenset(op.name for op in self.inputs if op.shape.features == 1 and self._holds_classes(op))

    def _holds_classes(self, op: Input) -> bool:
        readers = list(self._final_readers(op))
        reads_label = (isinstance(reader, LABEL_COSTS) and name not in reader.inputs[1:] for name, reader in readers)
        return all(reads_label) if readers else op.data_index == 1

    def _final_readers(self, op: Op) -> Iterator[tuple[str, Op]]:
        """Who reads a value, wherever it was brought to, and under which name."""
        for reader in self.readers[op.name]:
            if isinstance(reader, Moved):
                yield from self._final_readers(reader)
            else:
                yield op.name, reader

    def origin(self, value: str) -> str:
        """The value that a transfer, or a part of the minibatch, was made from; of any other value itself."""
        op = self.values[value]
        return self.origin(op.inputs[0]) if isinstance(op, Moved) else value

    @cached_property
    def readers(self) -> Mapping[str, tuple[Op, ...]]:
        """Who reads each value, in program order."""
        readers: dict[str, list[Op]] = {op.name: [] for op in self.operators}
        for op in self.operators:
            for name in dict.fromkeys(op.inputs):
                readers[name].append(op)
        return {name: tuple(ops) for name, ops in readers.items()}

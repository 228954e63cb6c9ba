"""Parameters and buffers of twins, stacked: one tensor with the rows of all, which remembers whose each block is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from convspec.program.operators import Op, buffers_of, parameters_of
from convspec.program.program import Block, Buffer, Parameter, Program
from convspec.program.shape import Shape
from convspec.program.weighted import BatchNorm, Linear, Weighted


class Stacks:
    """The tensors of a program while those of twins become one. `shapes`: of all values, merged ones too."""

    def __init__(self, program: Program, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self.parameters: dict[str, Parameter] = dict(program.parameter)
        self.buffers: dict[str, Buffer] = dict(program.buffer)

    def stack_weights(
        self, module: str, twins: Sequence[Weighted], order: Sequence[str] = ()
    ) -> tuple[str, str | None]:
        """Names of the weight and the bias of all twins; `order` is that of the joined inputs if all read the same."""
        weight = self._stack(f"{module}.weight", twins, [twin.weight for twin in twins], order)
        biases = [twin.bias for twin in twins if twin.bias is not None]
        return weight, self._stack(f"{module}.bias", twins, biases, ()) if biases else None

    def stack_norms(self, module: str, norms: Sequence[BatchNorm]) -> tuple[str, str, tuple[str, str, str]]:
        """Names of the weight, the bias and the statistics of all normalisations."""
        weight = self._stack(f"{module}.weight", norms, [norm.weight for norm in norms], ())
        bias = self._stack(f"{module}.bias", norms, [norm.bias for norm in norms], ())
        mean, variance, count = (
            self._stack_buffers(f"{module}.{names[0].rpartition('.')[2]}", names)
            for names in zip(*(norm.statistics for norm in norms), strict=True)
        )
        return weight, bias, (mean, variance, count)

    def permute(self, op: Weighted, order: Sequence[str]) -> None:
        """Move the columns of an operator's weight to where its inputs, joined in this order, have them."""
        weight = self.parameters[op.weight]
        self.parameters[op.weight] = weight._replace(blocks=tuple(self._placed_blocks(op, weight, 0, order)))

    def _stack_buffers(self, name: str, names: Sequence[str]) -> str:
        """Replace one buffer of each twin by a single one with the rows of all; a single number is that of all."""
        pieces = [self.buffers.pop(piece) for piece in names]
        blocks: list[Block] = []
        for i, piece in enumerate(pieces):
            for block in piece.blocks:
                first = i * piece.shape[0] if piece.shape else 0
                blocks.append(block._replace(rows=block.rows and (block.rows[0] + first, block.rows[1] + first)))
        shape = pieces[0].shape and (sum(piece.shape[0] for piece in pieces), *pieces[0].shape[1:])
        self.buffers[name] = pieces[0]._replace(name=name, shape=shape, blocks=tuple(blocks))
        return name

    def _stack(self, name: str, twins: Sequence[Op], names: Sequence[str], order: Sequence[str]) -> str:
        """Replace one parameter of each twin by a single one with the rows of all."""
        pieces = [self.parameters.pop(piece) for piece in names]
        blocks: list[Block] = []
        for i, (twin, piece) in enumerate(zip(twins, pieces, strict=True)):
            blocks.extend(self._placed_blocks(twin, piece, i * piece.shape[0], order))
        rows = sum(piece.shape[0] for piece in pieces)
        self.parameters[name] = pieces[0]._replace(name=name, shape=(rows, *pieces[0].shape[1:]), blocks=tuple(blocks))
        return name

    def _placed_blocks(self, twin: Op, parameter: Parameter, first_row: int, order: Sequence[str]) -> Iterable[Block]:
        """Blocks of one twin's parameter, moved to its rows and to the columns of the joined inputs."""
        starts = self._column_starts(twin, order)
        for block in parameter.blocks:
            assert block.rows is not None
            rows = (block.rows[0] + first_row, block.rows[1] + first_row)
            columns = block.columns
            if order and columns is not None:
                source, offset = self._input_at(twin, columns[0])
                columns = (starts[source] + offset, starts[source] + offset + columns[1] - columns[0])
            yield Block(block.name, rows, columns)

    def _column_starts(self, op: Op, inputs: Sequence[str]) -> dict[str, int]:
        """First column of each input in the weight of an operator that reads them in this order."""
        widths = [
            self._shapes[name].features if isinstance(op, Linear) else self._shapes[name].channels for name in inputs
        ]
        return dict(zip(inputs, accumulate(widths, initial=0), strict=False))

    def _input_at(self, op: Op, column: int) -> tuple[str, int]:
        """The input of `op` that a column of its weight reads, and which of the input's channels that is."""
        starts = self._column_starts(op, op.inputs)
        start, source = max((start, name) for name, start in starts.items() if start <= column)
        return source, column - start

    def parameters_in_order(self, operators: Iterable[Op]) -> tuple[Parameter, ...]:
        """Of the operators that read them."""
        names = [name for op in operators for name in parameters_of(op)]
        return tuple(self.parameters[name] for name in dict.fromkeys(names))

    def buffers_in_order(self, operators: Iterable[Op]) -> tuple[Buffer, ...]:
        names = [name for op in operators for name in buffers_of(op)]
        return tuple(self.buffers[name] for name in dict.fromkeys(names))

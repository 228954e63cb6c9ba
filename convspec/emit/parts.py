"""Writes a network for several processes: a class for the part of each GPU, which says what it computes and where they talk.

    [pool2b] = self.peers.exchange(send={1: {"pool2a": pool2a}}, receive={1: ["pool2b"]})  # 128x13x13

stands in both parts, the other way round in the other: `convspec_kernels.Peers` brings values across, and gradients back.
A process makes an instance of its own part alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby

from convspec.emit.cases import slice_size
from convspec.emit.header import class_name, source
from convspec.emit.holders import HeldByModule, Holders, norm_options
from convspec.emit.lines import WIDTH, literal
from convspec.emit.placed import layers_on, talk
from convspec.emit.tables import parts_table, tables
from convspec.emit.writer import Writer
from convspec.program.costs import CostOperator
from convspec.program.moves import Input, Receive, Send, TakeCases
from convspec.program.operators import Op
from convspec.program.program import Buffer, Parameter, Program
from convspec.program.weighted import BatchNorm


def emit_parts(program: Program, parts: Mapping[int, Program], spec_name: str) -> str:
    """The source of the parts of a placed program; `PARTS` in it has the class of each GPU."""
    writers = {gpu: PartWriter(program, part, gpu) for gpu, part in parts.items()}
    body = [writer.module() for writer in writers.values()]
    body.append(parts_table({gpu: writer.name for gpu, writer in writers.items()}))
    trees = {path: parents for writer in writers.values() for path, parents in writer.holders.parents().items()}
    merged: dict[str, Parameter | Buffer] = {t.name: t for writer in writers.values() for t in writer.merged}
    return source(program, spec_name, body + tables(trees, list(merged.values())))


def part_name(name: str, gpu: int) -> str:
    """The class of a part."""
    return f"{class_name(name)}GPU{gpu}"


class PartHolders(Holders):
    """Batch normalisation is told of the processes that have other cases of the minibatch."""

    def _constructor(self, op: HeldByModule) -> str:
        if isinstance(op, BatchNorm):
            return f"{self.norm_class(op)}({op.shape.channels}, peers{norm_options(op)})"
        return super()._constructor(op)

    def norm_class(self, op: BatchNorm) -> str:
        return "SyncBatchNorm"


class PartWriter(Writer):
    """program: the whole network. part: what one GPU has of it."""

    def __init__(self, program: Program, part: Program, gpu: int) -> None:
        self.whole, self.gpu, self.name = program, gpu, part_name(program.name, gpu)
        self.totals = sorted({op.cases.total for op in part.operators if op.cases is not None})
        super().__init__(part, PartHolders(part))
        # a process that trains has all inputs, and must come to every exchange
        self.optional = {}

    def _variables(self) -> dict[str, str]:
        self.names.unique("peers")
        for total in self.totals:
            self.names.unique(slice_size(total))
        return super()._variables()

    def _kin(self, op: Op) -> Hashable:
        return op.layers, op.cases, isinstance(op, Send | Receive) and op.name

    def _class_name(self) -> str:
        return self.name

    def docstring(self) -> list[str]:
        """With what it computes, and where it talks."""
        lines = [f'"""What GPU {self.gpu} has of the network.', "", *layers_on(self.program, self.gpu, "layers  ")]
        return [*lines, *talk(self.whole, (self.gpu,), "talk    "), '"""']

    def _init(self) -> list[str]:
        first, second, *others = super()._init()
        return [first.replace("(self)", "(self, peers: Peers)"), second, "    self.peers = peers", *others]

    def _drawing_operators(self) -> Sequence[Op]:
        """Those of the whole network, so that all parts draw as many numbers at each step."""
        return self.whole.operators

    def _beginning(self) -> list[str]:
        given = next(op for op in self.whole.inputs)
        cases = f"len(inputs[{literal(given.key)}])"
        sizes = [
            f"    {slice_size(total)} = -(-{cases} // {total})  # cases in a slice of the minibatch"
            for total in self.totals
        ]
        return [f"    self.peers.start({cases})", *sizes]

    def _lines(self, operators: Sequence[Op]) -> list[str]:
        lines: list[str] = []
        for exchange, ops in groupby(operators, key=lambda op: getattr(op, "exchange", None)):
            if exchange is not None:
                lines += self._exchange(list(ops))
                continue
            for op in ops:
                if not isinstance(op, CostOperator):
                    lines += self._line(op)
        return lines

    def _exchange(self, legs: Sequence[Op]) -> list[str]:
        """One call for all that crosses together."""
        sent: dict[int, list[str]] = defaultdict(list)
        received: dict[int, list[Receive]] = defaultdict(list)
        for leg in legs:
            if isinstance(leg, Send):
                [value] = leg.inputs
                operand = f"{self._operand(leg, value)}{'.detach()' if leg.is_judged else ''}"
                sent[leg.peer].append(f"{literal(value)}: {operand}")
            elif isinstance(leg, Receive):
                received[leg.peer].append(leg)
        came = [leg for own in received.values() for leg in own]
        for leg in came:
            self.expressions[leg.name] = self.variables[leg.name]
        send = ", ".join(f"{peer}: {{{', '.join(values)}}}" for peer, values in sent.items())
        receive = ", ".join(
            f"{peer}: [{', '.join(literal(leg.value) for leg in own)}]" for peer, own in received.items()
        )
        target = f"[{', '.join(self.expressions[leg.name] for leg in came)}] = " if came else ""
        comment = ", ".join(str(leg.shape) for leg in came)
        return _call(f"{target}self.peers.exchange", [f"send={{{send}}}", f"receive={{{receive}}}"], comment)

    def _is_nested(self, op: Op) -> bool:
        """Of what crosses nothing stands inside anything; what is cut off an input does."""
        readers = self.program.readers[op.name]
        if isinstance(op, Send | Receive) or any(isinstance(reader, Send) for reader in readers):
            return False
        if any(isinstance(reader, TakeCases) for reader in readers):
            return len(readers) == 1 and isinstance(op, Input)
        return super()._is_nested(op)

    def _objective(self) -> list[str]:
        lines = super()._objective()
        if not lines:
            return [
                "def objective(self, outputs: dict[str, Tensor]) -> Tensor:",
                '    """A zero: the costs are on other GPUs. Its gradient brings theirs back to what was sent there."""',
                "    return self.peers.sent()",
            ]
        docstring = '    """What training makes small; and a zero that brings the gradients of what was sent back."""'
        terms = [line.removeprefix("    return ").strip() for line in lines[2:]]
        if len(terms) == 1:
            return [lines[0], docstring, f"    return {terms[0]} + self.peers.sent()"]
        return [lines[0], docstring, *lines[2:-1], "        + self.peers.sent()", lines[-1]]


def _call(function: str, arguments: Sequence[str], comment: str) -> list[str]:
    """A statement of `forward`, folded as a formatter folds it."""
    end = f"  # {comment}" if comment else ""
    line = f"    {function}({', '.join(arguments)}){end}"
    if len(line) + 4 <= WIDTH:
        return [line]
    folded = f"        {', '.join(arguments)}"
    rows = [folded] if len(folded) + 4 <= WIDTH else [f"        {argument}," for argument in arguments]
    return [f"    {function}(", *rows, f"    ){end}"]

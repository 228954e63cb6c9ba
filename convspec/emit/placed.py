"""Writes the class of a network on several devices in one process: which layer is whose, and where they talk.

Each layer is on the device of its GPU, and each line of `forward` says which that is; what crosses has a line of its own,
`pool2b_on_0 = pool2b.to(gpu0, non_blocking=True)`, whose gradient autograd brings back. A transfer between two devices is
queued on both, and nothing in `forward` waits for one, so that all of them compute while the host goes on.

A layer with replicas has its parameters once, on the first GPU that reads them; `forward` brings them to the others, and
autograd adds up the gradients.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Hashable

from convspec.emit.expressions import literal, slice_size
from convspec.emit.holders import Holders, path_of
from convspec.emit.lines import WIDTH
from convspec.emit.writer import Writer
from convspec.program.costs import Cost
from convspec.program.crossings import gpus_of
from convspec.program.operators import (
    Gather,
    Input,
    Moved,
    Op,
    TakeCases,
    Transfer,
    buffers_of,
    parameters_of,
)
from convspec.program.program import Program


class PlacedHolders(Holders):
    """Which device has each parameter, and what it is called on the others."""

    def __init__(self, program: Program) -> None:
        self.homes: dict[str, int] = {}
        for op in program.operators:
            for path in _paths(op):
                self.homes[path] = min(op.gpu or 0, self.homes.get(path, op.gpu or 0))
        self.copies: dict[tuple[str, int], str] = {}
        super().__init__(program)

    def is_here(self, path: str, op: Op) -> bool:
        return self.homes[path] == op.gpu

    def expression(self, parameter: str, op: Op) -> str:
        here = super().expression(parameter, op)
        return here if self.is_here(path_of(parameter), op) else self.copies[parameter, op.gpu or 0]

    def buffer(self, buffer: str, op: Op) -> str:
        here = super().buffer(buffer, op)
        return here if self.is_here(path_of(buffer), op) else self.copies[buffer, op.gpu or 0]

    def copied(self) -> list[tuple[str, int, Op]]:
        """Parameters and buffers that operators read elsewhere, with the GPU and the first such operator."""
        found: dict[tuple[str, int], Op] = {}
        for op in self._program.operators:
            for name in (*parameters_of(op), *(buffers_of(op) if isinstance(op, Gather) else ())):
                if not self.is_here(path_of(name), op):
                    found.setdefault((name, op.gpu or 0), op)
        order = {name: i for i, name in enumerate((*self._program.parameter, *self._program.buffer))}
        return [(name, gpu, found[name, gpu]) for name, gpu in sorted(found, key=lambda key: (order[key[0]], key[1]))]


def _paths(op: Op) -> list[str]:
    return [path_of(name) for name in (*parameters_of(op), *buffers_of(op))]


class PlacedWriter(Writer):
    def __init__(self, program: Program, holders: PlacedHolders) -> None:
        self.placed, self.gpus = holders, gpus_of(program)
        self.totals = sorted({op.cases.total for op in program.operators if op.cases is not None})
        super().__init__(program, holders)

    def _variables(self) -> dict[str, str]:
        for gpu in self.gpus:
            self.names.unique(f"gpu{gpu}")
        for total in self.totals:
            self.names.unique(slice_size(total))
        variables = super()._variables()
        for name, gpu, _ in self.placed.copied():
            path, _, leaf = name.rpartition(".")
            self.placed.copies[name, gpu] = self.names.unique(f"{path}_{leaf}_on_{gpu}")
        return variables

    def _kin(self, op: Op) -> Hashable:
        return op.layers, op.gpu, op.cases, isinstance(op, Moved) and op.name

    def docstring(self) -> list[str]:
        """With what each GPU computes."""
        lines = ['"""`forward` takes values by the names of data layers, and gives values by the names of layers.', ""]
        for gpu in self.gpus:
            own = (op for op in self.program.operators if op.gpu == gpu and not isinstance(op, Moved))
            names = dict.fromkeys(layer for op in own for layer in op.layers)
            indent = f"GPU {gpu}  "
            lines += textwrap.wrap(
                " ".join(names),
                WIDTH - 8,
                initial_indent=indent,
                subsequent_indent=" " * len(indent),
                break_long_words=False,
                break_on_hyphens=False,
            )
        return [*lines, '"""']

    def _definitions(self) -> list[str]:
        """Those of a GPU together."""
        lines = []
        definitions = self.holders.definitions()
        for gpu in self.gpus:
            own = [line for path, text in definitions.items() if self.placed.homes[path] == gpu for line in text]
            lines += [f"# GPU {gpu}", *own] if own else []
        return lines

    def _init(self) -> list[str]:
        return [
            *super()._init(),
            f"    self.gpus: tuple[torch.device, ...] = (torch.get_default_device(),) * {len(self.gpus)}  # until `place`",
        ]

    def _further_methods(self) -> list[list[str]]:
        named = f"GPU{'s' if len(self.gpus) > 1 else ''} {', '.join(map(str, self.gpus))}"
        lines = [
            "def place(self, *devices: torch.device | str) -> None:",
            f'    """Move each layer to its device. devices: of {named} of the spec, in this order."""',
            f"    {self._targets()} = self.gpus = tuple(map(torch.device, devices))",
        ]
        attributes: dict[int, list[str]] = defaultdict(list)
        for path in self.holders.definitions():
            attributes[self.placed.homes[path]].append(f"self.{path}")
        for gpu, own in sorted(attributes.items()):
            lines += [f"    {line}" for line in _loop(own)]
            lines.append(f"        layer.to(gpu{gpu})")
        return [lines]

    def _targets(self) -> str:
        """The variables of the devices, to the left of an assignment."""
        names = ", ".join(f"gpu{gpu}" for gpu in self.gpus)
        return names if len(self.gpus) > 1 else f"({names},)"

    def _beginning(self) -> list[str]:
        lines = [f"    {self._targets()} = self.gpus"]
        for total in self.totals:
            given = next(op for op in self.program.inputs if op.name not in self.optional)
            cases = f"len(inputs[{literal(given.key)}])"
            lines.append(f"    {slice_size(total)} = -(-{cases} // {total})  # cases in a slice of the minibatch")
        for name, gpu, op in self.placed.copied():
            is_buffer = name in self.program.buffer
            own = Holders.buffer(self.holders, name, op) if is_buffer else Holders.expression(self.holders, name, op)
            if own.endswith(".bias"):  # which modules of torch may lack
                own = f"self.get_parameter({literal(name)})"
            lines.append(f"    {self.placed.copies[name, gpu]} = {own}.to(gpu{gpu}, non_blocking=True)")
        return lines

    def _comment(self, op: Op) -> str:
        if isinstance(op, Transfer):
            source = "host" if op.source is None else f"GPU {op.source}"
            return f"{op.shape}, {source} to GPU {op.gpu}"
        return str(op.shape) if op.gpu is None else f"{op.shape}, GPU {op.gpu}"

    def _is_nested(self, op: Op) -> bool:
        """Of what is moved, the part that is taken of an input stands where it is sent."""
        readers = self.program.readers[op.name]
        if isinstance(op, Moved) or any(isinstance(reader, Moved) for reader in readers):
            is_sent = (
                len(readers) == 1 and isinstance(readers[0], Transfer | TakeCases) and op.name not in self.returned
            )
            return is_sent and isinstance(op, Input | TakeCases)
        return super()._is_nested(op)

    def _cost_text(self, cost: Cost) -> str:
        """On the GPU of the first cost."""
        text = super()._cost_text(cost)
        first = self.program.costs[0].gpu
        return text if cost.gpu == first else f"{text}.to(gpu{first}, non_blocking=True)"


def _loop(attributes: list[str]) -> list[str]:
    """`for layer in (self.conv1, self.conv2):`, folded."""
    line = f"for layer in ({', '.join(attributes)}{',' if len(attributes) == 1 else ''}):"
    if len(line) + 8 <= WIDTH:
        return [line]
    return ["for layer in (", *(f"    {attribute}," for attribute in attributes), "):"]

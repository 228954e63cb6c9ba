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
from collections.abc import Collection, Hashable, Iterable, Sequence

from convspec.emit.cases import slice_size
from convspec.emit.holders import Holders, path_of
from convspec.emit.lines import WIDTH, literal, loop
from convspec.emit.writer import Writer
from convspec.program.costs import Cost
from convspec.program.crossings import crossings, gpus_of
from convspec.program.features import Gather
from convspec.program.moves import Input, Moved, Receive, Send, TakeCases, Transfer
from convspec.program.operators import Op, buffers_of, parameters_of
from convspec.program.program import Program
from convspec.program.weighted import Weighted

COPY = "copy_of"
"""The function of an emitted module that brings parameters of a layer to another device."""

COPY_FUNCTION = f'''
def {COPY}(layer: nn.Module, device: torch.device) -> dict[str, Any]:
    """The parameters of a layer on another device. Gradients come back, and add up where the layer is."""
    return {{name: parameter.to(device, non_blocking=True) for name, parameter in layer.named_parameters()}}
'''


class PlacedHolders(Holders):
    """Which device has each parameter, and what it is called on the others."""

    def __init__(self, program: Program) -> None:
        self.homes: dict[str, int] = {}
        for op in program.operators:
            for path in _paths(op):
                self.homes[path] = min(op.gpu or 0, self.homes.get(path, op.gpu or 0))
        # What each parameter and buffer is called on other GPUs, and whole layers of parameters by their attribute.
        self.copies: dict[tuple[str, int], str] = {}
        self.copied_layers: dict[tuple[str, int], str] = {}
        super().__init__(program)

    def is_here(self, path: str, op: Op) -> bool:
        return self.homes[path] == op.gpu

    def expression(self, parameter: str, op: Op) -> str:
        here = super().expression(parameter, op)
        return here if self.is_here(path_of(parameter), op) else self.copies[parameter, op.gpu or 0]

    def buffer(self, buffer: str, op: Op) -> str:
        here = super().buffer(buffer, op)
        return here if self.is_here(path_of(buffer), op) else self.copies[buffer, op.gpu or 0]

    def arguments(self, op: Weighted) -> str:
        """On another GPU than that which keeps them, the copy of the whole layer at once."""
        path = path_of(op.weight)
        copy = self.copied_layers.get((path, op.gpu or 0))
        if copy is not None and op.gradient_scale == 1 and self._holds_alone(path, op):
            return f"**{copy}"
        return super().arguments(op)

    def layers_copied(self) -> list[tuple[str, int]]:
        """Attributes of which another GPU reads all parameters, with that GPU."""
        read: dict[tuple[str, int], set[str]] = defaultdict(set)
        for name, gpu, _ in self.copied():
            read[path_of(name), gpu].add(name)
        return [key for key, names in read.items() if names == self._own(key[0])]

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
        self.names.unique(COPY)
        variables = super()._variables()
        holders = self.placed
        for path, gpu in holders.layers_copied():
            holders.copied_layers[path, gpu] = self.names.unique(f"{path}_weights_on_{gpu}")
        for name, gpu, _ in holders.copied():
            path, _, leaf = name.rpartition(".")
            layer = holders.copied_layers.get((path, gpu))
            holders.copies[name, gpu] = (
                self.names.unique(f"{path}_{leaf}_on_{gpu}") if layer is None else f'{layer}["{leaf}"]'
            )
        return variables

    def _kin(self, op: Op) -> Hashable:
        return op.layers, op.gpu, op.cases, isinstance(op, Moved) and op.name

    def docstring(self) -> list[str]:
        """With what each GPU computes, and where they talk."""
        lines = ['"""`forward` takes values by the names of data layers, and gives values by the names of layers.', ""]
        for gpu in self.gpus:
            lines += layers_on(self.program, gpu, f"GPU {gpu}  ")
        return [*lines, *talk(self.program, self.gpus, "talk   "), '"""']

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
        attributes: dict[int, list[str]] = defaultdict(list)
        for path in self.holders.definitions():
            attributes[self.placed.homes[path]].append(f"self.{path}")
        lines = [
            "def place(self, *devices: torch.device | str) -> None:",
            f'    """Move each layer to its device. devices: of {named} of the spec, in this order."""',
            f"    {self._targets(attributes)} = self.gpus = tuple(map(torch.device, devices))",
        ]
        for gpu, own in sorted(attributes.items()):
            lines += [f"    {line}" for line in _for_each(own, f"to(gpu{gpu})")]
        return [lines]

    def _targets(self, used: Collection[int]) -> str:
        """The variables of the devices, to the left of an assignment; `_` for those that nothing below it names."""
        names = ", ".join(f"gpu{gpu}" if gpu in used else "_" for gpu in self.gpus)
        return names if len(self.gpus) > 1 else f"({names},)"

    def _receiving(self) -> set[int]:
        """GPUs that something goes to in `forward`."""
        values = {op.gpu for op in self.program.operators if isinstance(op, Transfer) and op.gpu is not None}
        copies = {gpu for _, gpu, _ in self.placed.copied()}
        costs = {cost.gpu for cost in self.program.costs}
        return values | copies | ({self.program.costs[0].gpu or 0} if len(costs) > 1 else set())

    def _beginning(self) -> list[str]:
        used = self._receiving()
        lines = [f"    {self._targets(used)} = self.gpus"] if used else []
        for total in self.totals:
            given = next(op for op in self.program.inputs if op.name not in self.optional)
            cases = f"len(inputs[{literal(given.key)}])"
            lines.append(f"    {slice_size(total)} = -(-{cases} // {total})  # cases in a slice of the minibatch")
        return [*lines, *(f"    {line}" for line in self._copies())]

    def _copies(self) -> list[str]:
        """Parameters and buffers that operators read elsewhere, brought there."""
        whole = self.placed.copied_layers
        lines = [f"{name} = {COPY}(self.{path}, gpu{gpu})" for (path, gpu), name in whole.items()]
        for name, gpu, op in self.placed.copied():
            if (path_of(name), gpu) in whole:
                continue
            is_buffer = name in self.program.buffer
            own = Holders.buffer(self.holders, name, op) if is_buffer else Holders.expression(self.holders, name, op)
            if own.endswith(".bias"):  # which modules of torch may lack
                own = f"self.get_parameter({literal(name)})"
            lines.append(f"{self.placed.copies[name, gpu]} = {own}.to(gpu{gpu}, non_blocking=True)")
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


def layers_on(program: Program, gpu: int, heading: str) -> list[str]:
    """Lines of a docstring that name the layers of a GPU."""
    own = (op for op in program.operators if op.gpu == gpu and not isinstance(op, Moved | Send | Receive))
    return _list(heading, dict.fromkeys(layer for op in own for layer in op.layers))


def talk(program: Program, gpus: Collection[int], heading: str) -> list[str]:
    """Lines that say which layers of these GPUs read what another GPU has; none where none do."""
    readers = {
        name
        for crossing in crossings(program)
        if crossing.source is not None and crossing.target in gpus
        for name in crossing.readers
    }
    in_order = dict.fromkeys(layer for op in program.operators for layer in op.layers if layer in readers)
    return _list(f"{heading}before ", in_order) if readers else []


def _list(heading: str, names: Iterable[str]) -> list[str]:
    return textwrap.wrap(
        " ".join(names),
        WIDTH - 8,
        initial_indent=heading,
        subsequent_indent=" " * len(heading),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _for_each(attributes: Sequence[str], call: str) -> list[str]:
    """`for layer in (self.conv1, self.conv2):`, folded, and a call of each; of one without a loop."""
    if len(attributes) == 1:
        return [f"{attributes[0]}.{call}"]
    return [*loop("layer", attributes), f"    layer.{call}"]

"""The network as its spec says it: typed layers by name. What is inferred from them stands beside it, not in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from convspec.diagnostics import Label, Report
from convspec.graph.settings import DataSettings, NetSettings, TrainSettings
from convspec.layers.base import Layer
from convspec.layers.dialects import CONVSPEC, Dialect

_SHOWN_OF_A_CYCLE = 8


@dataclass(frozen=True)
class Graph:
    """layers: in file order; every input of every layer that is not broken names another one.
    dialect: in which they were read."""

    layers: Mapping[str, Layer]
    net: NetSettings
    train: TrainSettings
    data: DataSettings
    dialect: Dialect = CONVSPEC

    @cached_property
    def readers(self) -> Mapping[str, tuple[Layer, ...]]:
        """Who reads each layer, in file order."""
        readers: dict[str, list[Layer]] = {name: [] for name in self.layers}
        for layer in self.layers.values():
            for name in dict.fromkeys(layer.input_names):
                if name in readers:
                    readers[name].append(layer)
        return {name: tuple(layers) for name, layers in readers.items()}

    @cached_property
    def order(self) -> tuple[Layer, ...]:
        """The layers so that each follows its inputs, in file order otherwise; layers on or behind a cycle are left
        out (`report_cycles` names them)."""
        waiting = {
            name: sum(source in self.layers for source in dict.fromkeys(layer.input_names))
            for name, layer in self.layers.items()
        }
        order: list[Layer] = []
        ready = [layer for name, layer in reversed(list(self.layers.items())) if waiting[name] == 0]
        while ready:
            layer = ready.pop()
            order.append(layer)
            freed = []
            for reader in self.readers[layer.name]:
                waiting[reader.name] -= 1
                if waiting[reader.name] == 0:
                    freed.append(reader)
            ready.extend(reversed(freed))
        return tuple(order)

    def report_cycles(self, report: Report) -> None:
        """Report CS302 for each set of layers that read one another."""
        placed = {layer.name for layer in self.order}
        remaining = {name: layer for name, layer in self.layers.items() if name not in placed}
        while remaining:
            cycle = self._cycle_through(next(iter(remaining)), remaining)
            steps = list(pairwise([*cycle, cycle[0]]))
            shown = cycle if len(cycle) <= _SHOWN_OF_A_CYCLE else [*cycle[: _SHOWN_OF_A_CYCLE - 1], "...", cycle[-1]]
            report.add(
                "CS302",
                self.layers[cycle[0]].span("inputs"),
                f"{cycle[0]} reads itself"
                if len(cycle) == 1
                else f"{len(cycle)} layers read one another in a cycle: {' reads '.join([*shown, cycle[0]])}",
                labels=[
                    Label(self.layers[name].span("inputs"), f"{name} reads {source}")
                    for name, source in steps[1:_SHOWN_OF_A_CYCLE]
                ],
                help="a layer can only read layers that do not need it: take one of these inputs out",
            )
            remaining = self._without(cycle, remaining)

    def _cycle_through(self, start: str, remaining: Mapping[str, Layer]) -> list[str]:
        """Walk from reader to input until a layer comes again: every remaining layer has a remaining input."""
        path: dict[str, None] = {}
        name = start
        while name not in path:
            path[name] = None
            name = next(source for source in remaining[name].input_names if source in remaining)
        names = list(path)
        return names[names.index(name) :]

    def _without(self, cycle: list[str], remaining: Mapping[str, Layer]) -> dict[str, Layer]:
        """What remains once a cycle and all that reads it are gone."""
        gone = set(cycle)
        stack = list(cycle)
        while stack:
            for reader in self.readers[stack.pop()]:
                if reader.name not in gone:
                    gone.add(reader.name)
                    stack.append(reader.name)
        return {name: layer for name, layer in remaining.items() if name not in gone}

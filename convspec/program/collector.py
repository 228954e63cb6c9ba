"""Collects operators, parameters and buffers, layer after layer, and gives each a name that no other has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import Any

from convspec.program.names import Names, fresh
from convspec.program.numerics import Numerics
from convspec.program.operators import Op
from convspec.program.parameter import Block, Buffer, Initialization, Parameter, Permutations, Update, WeightOwner
from convspec.program.program import Output, Program
from convspec.program.shape import Shape


class Collector:
    """The program so far. Between `begin` and `end`, all that is added belongs to one layer."""

    def __init__(
        self,
        layers: Iterable[str],
        numerics: Numerics = Numerics(),  # noqa: B008 - immutable
        matrices: Mapping[str, Shape] = MappingProxyType({}),
        owners: Mapping[tuple[str, int], WeightOwner] = MappingProxyType({}),
    ) -> None:
        """layers: all names that values will have, which no value inside a layer may take. matrices: sizes of those of
        which data layers give some rows. owners: of the weights that are shared, by layer and input."""
        self.numerics, self.matrices = numerics, matrices
        self._taken = set(layers)
        self._owners = owners
        self._identifiers: dict[str, str] = {}
        # Of shared weights: what the operator counts that is added next.
        self._gradient_scales: dict[str, float] = {}
        self._operators: list[Op] = []
        self._parameters: list[Parameter] = []
        self._buffers: list[Buffer] = []
        self._shapes: dict[str, Shape] = {}
        self._aliases: dict[str, str] = {}
        self._layer = ""
        self._identifier = ""
        self._names = Names()
        self._gpus: tuple[int, ...] = ()
        self._first = 0

    def begin(self, layer: str, gpus: tuple[int, ...]) -> None:
        """gpus: that the layer is on, several for as many replicas; none for what is on the host."""
        self._layer = layer
        self._identifier = self._identifier_of(layer)
        self._gpus = gpus
        self._first = len(self._operators)

    def _identifier_of(self, layer: str) -> str:
        """The same each time; a layer that shares its weights may be named before its own turn."""
        if layer not in self._identifiers:
            self._identifiers[layer] = self._names.unique(layer)
        return self._identifiers[layer]

    @property
    def shares_weights(self) -> bool:
        """Whether the current layer has weights in common with others, so that each input needs a tensor of its own."""
        return any(layer == self._layer for layer, _ in self._owners)

    def end(self, value: str) -> None:
        """Close the layer: `value` is what its readers get under its name."""
        last = self._operators[-1] if len(self._operators) > self._first else None
        if last is not None and last.name == value:
            self._operators[-1] = replace(last, name=self._layer)
            self._shapes[self._layer] = self._shapes.pop(value)
        else:
            self._aliases[self._layer] = value

    def resolve(self, layer: str) -> str:
        """The value that holds the output of a layer."""
        return self._aliases.get(layer, layer)

    def shape(self, value: str) -> Shape:
        return self._shapes[value]

    def _add(self, operator: type[Op], inputs: Sequence[str], shape: Shape, **attributes: Any) -> str:
        name = fresh(f"{self._layer}/{len(self._operators) - self._first}", self._taken)
        self._taken.add(name)
        place: dict[str, Any] = (
            {"replicas": self._gpus} if len(self._gpus) > 1 else {"gpu": next(iter(self._gpus), None)}
        )
        self._operators.append(
            operator(name=name, inputs=tuple(inputs), shape=shape, layers=(self._layer,), **place, **attributes)
        )
        self._shapes[name] = shape
        return name

    def parameter(
        self,
        leaf: str,
        shape: tuple[int, ...],
        initialization: Initialization,
        update: Update,
        *,
        joined: Sequence[int] = (),
        term: int | None = None,
    ) -> str:
        """Append a parameter of the current layer; returns its name. Of weights that are shared there is one for all.

        leaf: `weight` or `bias`. joined: widths of the inputs that a weight reads side by side, along its second axis.
        term: which input, where each has a module of its own. Canonical names count inputs in both cases:
        `conv3a.weights.0`.
        """
        owner = self._owners.get((self._layer, term or 0)) if leaf == "weight" else None
        if owner is not None:
            name = self._shared(owner, shape)
            self._gradient_scales[name] = owner.scale(self._layer, term or 0)
            return name
        module = self._identifier if term is None else f"{self._identifier}_{term}"
        rows = (0, shape[0])
        if len(joined) > 1:
            edges = list(accumulate(joined, initial=0))
            blocks = tuple(
                Block(f"{self._layer}.weights.{i}", rows, columns) for i, columns in enumerate(pairwise(edges))
            )
        else:
            canonical = leaf if term is None or leaf == "bias" else f"weights.{term}"
            blocks = (Block(f"{self._layer}.{canonical}", rows, (0, shape[1]) if len(shape) > 1 else None),)
        name = f"{module}.{leaf}"
        self._parameters.append(Parameter(name, shape, initialization, update, blocks))
        return name

    def _shared(self, owner: WeightOwner, shape: tuple[int, ...]) -> str:
        name = f"{self._owner_identifier(owner)}.weight"
        if all(parameter.name != name for parameter in self._parameters):
            block = Block(f"{owner.layer}.weight{owner.suffix}", (0, shape[0]), (0, shape[1]))
            parameter = Parameter(name, shape, owner.initialization, owner.update, (block,), owner.sharers)
            self._parameters.append(parameter)
        return name

    def _owner_identifier(self, owner: WeightOwner) -> str:
        identifier = self._identifier_of(owner.layer)
        return identifier if owner.term is None else f"{identifier}_{owner.term}"

    def buffer(
        self,
        leaf: str,
        shape: tuple[int, ...],
        initial: float | Permutations,
        *,
        is_integer: bool = False,
        term: int | None = None,
    ) -> str:
        """Append a buffer of the current layer; returns its name. leaf: `running_mean`. term: as in `parameter`.

        Layers that share weights share their `connections` too (2012 code, layer.py:963-971).
        """
        owner = self._owners.get((self._layer, term or 0)) if leaf == "connections" else None
        layer = self._layer if owner is None else owner.layer
        module = self._identifier if term is None else f"{self._identifier}_{term}"
        if owner is not None:
            module, term = self._owner_identifier(owner), owner.term
        name = f"{module}.{leaf}"
        if any(buffer.name == name for buffer in self._buffers):
            return name
        rows = (0, shape[0]) if shape else None
        canonical = leaf if term is None else f"{leaf}.{term}"
        block = Block(f"{layer}.{canonical}", rows, (0, shape[1]) if len(shape) > 1 else None)
        self._buffers.append(Buffer(name, shape, initial, (block,), is_integer))
        return name

    def program(self, name: str, outputs: Sequence[str]) -> Program:
        """The finished program; `outputs` names layers."""
        given = tuple(Output(layer, self.resolve(layer)) for layer in dict.fromkeys(outputs))
        return Program(name, tuple(self._operators), tuple(self._parameters), given, buffers=tuple(self._buffers))

"""Collects operators and parameters while layers lower: a method an operator, each of which returns its value's name.

Layers know this class by name alone, so that `check` need not load the operators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import Any

from convspec.program.costs import (
    BinaryCrossEntropy,
    Cost,
    CrossEntropy,
    GatedSumOfSquares,
    LogSquareError,
    NegativeLogLikelihood,
    SubsetCrossEntropy,
    SumOfSquares,
    TopographicEnergy,
)
from convspec.program.names import Names
from convspec.program.numerics import Numerics
from convspec.program.operators import (
    Activation,
    Add,
    AvgPool2d,
    BatchNorm,
    ChannelPool,
    ColorSpace,
    Concat,
    ContrastNorm,
    Conv2d,
    ConvertColors,
    Dropout,
    Gather,
    GaussianBlur,
    Input,
    Linear,
    LocallyConnected2d,
    LocalResponseNorm,
    MaxAbsPool2d,
    Maximum,
    MaxPool2d,
    Neuron,
    Op,
    Pad,
    Pick2d,
    Reduction,
    Reshape,
    Resize,
    ResponseNorm,
    Slice,
    Softmax,
    TreeLinear,
)
from convspec.program.parameter import Block, Buffer, Initialization, Parameter, Permutations, Update, WeightOwner
from convspec.program.program import Output, Program
from convspec.program.shape import Shape


class Builder:
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
        self._gpu: int | None = None
        self._first = 0

    def begin(self, layer: str, gpu: int | None) -> None:
        self._layer = layer
        self._identifier = self._identifier_of(layer)
        self._gpu = gpu
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

    def input(self, shape: Shape, data_index: int) -> str:
        return self._add(Input, [], shape, data_index=data_index)

    def reshape(self, value: str, shape: Shape) -> str:
        """The same features in another shape; nothing is added where it is that shape already."""
        return value if self.shape(value) == shape else self._add(Reshape, [value], shape)

    def pad(self, value: str, padding: tuple[int, int, int, int]) -> str:
        """padding: zeros at the left, right, top and bottom of each map."""
        left, right, top, bottom = padding
        maps = self.shape(value)
        shape = Shape.of_maps(maps.channels, maps.height + top + bottom, maps.width + left + right)
        return self._add(Pad, [value], shape, padding=padding)

    def conv2d(
        self,
        values: Sequence[str],
        shape: Shape,
        *,
        weight: str,
        bias: str | None,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        groups: int,
    ) -> str:
        """Over `values` joined by channel; `weight` and `bias` come from `parameter`."""
        return self._add(
            Conv2d,
            values,
            shape,
            weight=weight,
            bias=bias,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            groups=groups,
            gradient_scale=self._gradient_scales.get(weight, 1.0),
        )

    def locally_connected2d(
        self,
        values: Sequence[str],
        shape: Shape,
        *,
        weight: str,
        bias: str | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        groups: int,
    ) -> str:
        """As `conv2d`; the windows are those that `weight` has kernels for."""
        return self._add(
            LocallyConnected2d,
            values,
            shape,
            weight=weight,
            bias=bias,
            stride=stride,
            padding=padding,
            groups=groups,
            gradient_scale=self._gradient_scales.get(weight, 1.0),
        )

    def linear(self, values: Sequence[str], shape: Shape, *, weight: str, bias: str | None) -> str:
        """Over `values` flattened and joined by feature."""
        scale = self._gradient_scales.get(weight, 1.0)
        return self._add(Linear, values, shape, weight=weight, bias=bias, gradient_scale=scale)

    def tree_linear(self, value: str, shape: Shape, *, weight: str, bias: str, parents: tuple[int, ...]) -> str:
        """Of a vector; `weight` has a row for each node, of which `parents` gives the one above it, -1 for the root."""
        return self._add(TreeLinear, [value], shape, weight=weight, bias=bias, parents=parents)

    def activation(self, value: str, neuron: str, arguments: tuple[float, ...]) -> str:
        """neuron: a name of the layer file, `relu`, but not `ident`."""
        return self._add(Activation, [value], self.shape(value), neuron=Neuron(neuron), arguments=arguments)

    def batch_norm(self, value: str, *, weight: str, bias: str, eps: float, momentum: float) -> str:
        """`weight` and `bias` come from `parameter`; the running statistics are added here, as torch starts them."""
        channels = (self.shape(value).channels,)
        statistics = (
            self.buffer("running_mean", channels, 0.0),
            self.buffer("running_var", channels, 1.0),
            self.buffer("num_batches_tracked", (), 0.0, is_integer=True),
        )
        return self._add(
            BatchNorm,
            [value],
            self.shape(value),
            weight=weight,
            bias=bias,
            statistics=statistics,
            eps=eps,
            momentum=momentum,
        )

    def local_response_norm(
        self, value: str, *, size: int, alpha: float, beta: float, k: float, blocked: bool = False
    ) -> str:
        shape = self.shape(value)
        return self._add(LocalResponseNorm, [value], shape, size=size, alpha=alpha, beta=beta, k=k, blocked=blocked)

    def contrast_norm(self, value: str, *, size: int, alpha: float, beta: float, k: float) -> str:
        holds_means = self.numerics.holds_means
        shape = self.shape(value)
        return self._add(ContrastNorm, [value], shape, size=size, alpha=alpha, beta=beta, k=k, holds_means=holds_means)

    def response_norm(self, value: str, *, size: int, alpha: float, beta: float, k: float) -> str:
        return self._add(ResponseNorm, [value], self.shape(value), size=size, alpha=alpha, beta=beta, k=k)

    def max_pool2d(
        self, value: str, shape: Shape, *, kernel_size: tuple[int, int], stride: tuple[int, int], start: tuple[int, int]
    ) -> str:
        share = self.numerics.ties_share
        return self._pool(MaxPool2d, value, shape, kernel_size, stride, start, ties_share=share)

    def max_abs_pool2d(
        self, value: str, shape: Shape, *, kernel_size: tuple[int, int], stride: tuple[int, int], start: tuple[int, int]
    ) -> str:
        share = self.numerics.ties_share
        return self._pool(MaxAbsPool2d, value, shape, kernel_size, stride, start, ties_share=share)

    def avg_pool2d(
        self, value: str, shape: Shape, *, kernel_size: tuple[int, int], stride: tuple[int, int], start: tuple[int, int]
    ) -> str:
        return self._pool(AvgPool2d, value, shape, kernel_size, stride, start)

    def sum_pool2d(
        self, value: str, shape: Shape, *, kernel_size: tuple[int, int], stride: tuple[int, int], start: tuple[int, int]
    ) -> str:
        return self._pool(AvgPool2d, value, shape, kernel_size, stride, start, is_sum=True)

    def _pool(
        self,
        operator: type[Op],
        value: str,
        shape: Shape,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        start: tuple[int, int],
        **attributes: bool,
    ) -> str:
        return self._add(operator, [value], shape, kernel_size=kernel_size, stride=stride, start=start, **attributes)

    def dropout(self, value: str, *, keep: float, rescale_at_test: bool, enabled: bool) -> str:
        shape = self.shape(value)
        return self._add(Dropout, [value], shape, keep=keep, rescale_at_test=rescale_at_test, enabled=enabled)

    def softmax(self, value: str) -> str:
        return self._add(Softmax, [value], self.shape(value))

    def concat(self, values: Sequence[str], shape: Shape) -> str:
        return self._add(Concat, values, shape)

    def gather(self, value: str, index: str, channels: int) -> str:
        """`channels` channels of `value`, those that the buffer `index` names one after another."""
        return self._add(Gather, [value], self.shape(value).with_channels(channels), index=index)

    def slice(self, value: str, start: int, stop: int) -> str:
        """Channels, or features, `start` to `stop`; nothing is added where that is all of them."""
        shape = self.shape(value)
        if (start, stop) == (0, shape.channels):
            return value
        return self._add(Slice, [value], shape.with_channels(stop - start), start=start, stop=stop)

    def add(self, values: Sequence[str], coefficients: Sequence[float] = ()) -> str:
        """The sum; coefficients that are all 1 are none."""
        given = tuple(coefficients) if any(c != 1 for c in coefficients) else ()
        return self._add(Add, values, self.shape(values[0]), coefficients=given)

    def maximum(self, values: Sequence[str]) -> str:
        return self._add(Maximum, values, self.shape(values[0]))

    def channel_max_pool(self, value: str, shape: Shape, *, size: int, stride: int, start: int) -> str:
        share = self.numerics.ties_share
        numbers = {"size": size, "stride": stride, "start": start, "ties_share": share}
        return self._add(ChannelPool, [value], shape, reduction=Reduction.MAX, **numbers)

    def channel_sum(self, value: str, size: int) -> str:
        """Sums of runs of `size` channels, which divides them."""
        shape = self.shape(value)
        summed = shape.with_channels(shape.channels // size)
        return self._add(ChannelPool, [value], summed, reduction=Reduction.SUM, size=size, stride=size)

    def pick2d(
        self, value: str, *, rows: tuple[int, int, int], columns: tuple[int, int, int], mirrored: bool = False
    ) -> str:
        """rows, columns: half-open ranges (start, stop, step)."""
        shape = Shape.of_maps(self.shape(value).channels, len(range(*rows)), len(range(*columns)))
        return self._add(Pick2d, [value], shape, rows=rows, columns=columns, mirrored=mirrored)

    def gaussian_blur(self, value: str, *, size: int, stdev: float) -> str:
        return self._add(GaussianBlur, [value], self.shape(value), size=size, stdev=stdev)

    def resize(self, value: str, shape: Shape, *, scale: float, is_random: bool = False) -> str:
        return self._add(Resize, [value], shape, scale=scale, is_random=is_random)

    def convert_colors(self, value: str, space: str) -> str:
        """space: `yuv`, `lab` or `centered lab`."""
        return self._add(ConvertColors, [value], self.shape(value), space=ColorSpace(space))

    # Costs: `coefficient` and `children` are those of `CostOperator`.

    def negative_log_likelihood(
        self, labels: str, predictions: str, *, coefficient: float, top_k: int, children: Sequence[str] = ()
    ) -> str:
        inputs = [labels, predictions]
        return self._cost(NegativeLogLikelihood, inputs, coefficient, children, predictions=predictions, top_k=top_k)

    def cross_entropy(self, targets: str, predictions: str, *, coefficient: float, children: Sequence[str] = ()) -> str:
        return self._cost(CrossEntropy, [targets, predictions], coefficient, children, predictions=predictions)

    def binary_cross_entropy(
        self,
        targets: str,
        predictions: str,
        *,
        coefficient: float,
        children: Sequence[str] = (),
        positive_weight: float = 1.0,
        counts_classes: bool = False,
        has_rates: bool = True,
    ) -> str:
        """has_rates: whether error rates are reported."""
        return self._cost(
            BinaryCrossEntropy,
            [targets, predictions],
            coefficient,
            children,
            predictions=predictions if has_rates else None,
            positive_weight=positive_weight,
            counts_classes=counts_classes,
        )

    def log_square_error(
        self, targets: str, predictions: str, *, coefficient: float, children: Sequence[str] = ()
    ) -> str:
        return self._cost(LogSquareError, [targets, predictions], coefficient, children)

    def subset_cross_entropy(
        self, labels: str, energies: str, *, coefficient: float, set_size: int, children: Sequence[str] = ()
    ) -> str:
        return self._cost(
            SubsetCrossEntropy, [labels, energies], coefficient, children, predictions=energies, set_size=set_size
        )

    def sum_of_squares(self, value: str, *, coefficient: float, children: Sequence[str] = ()) -> str:
        return self._cost(SumOfSquares, [value], coefficient, children)

    def gated_sum_of_squares(self, gate: str, value: str, *, coefficient: float, children: Sequence[str] = ()) -> str:
        return self._cost(GatedSumOfSquares, [gate, value], coefficient, children)

    def topographic_energy(self, value: str, *, coefficient: float, size: int, children: Sequence[str] = ()) -> str:
        """value: maps."""
        return self._cost(TopographicEnergy, [value], coefficient, children, size=size)

    def _cost(
        self,
        operator: type[Cost],
        inputs: Sequence[str],
        coefficient: float,
        children: Sequence[str],
        **attributes: Any,
    ) -> str:
        shape = Shape.of_vector(1)
        return self._add(operator, inputs, shape, coefficient=coefficient, children=tuple(children), **attributes)

    def _add(self, operator: type[Op], inputs: Sequence[str], shape: Shape, **attributes: Any) -> str:
        name = f"{self._layer}/{len(self._operators) - self._first}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        self._operators.append(
            operator(name=name, inputs=tuple(inputs), shape=shape, layers=(self._layer,), gpu=self._gpu, **attributes)
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

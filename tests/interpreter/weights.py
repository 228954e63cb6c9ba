"""Layers that learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

import numpy as np

from convspec.layers.conv import Conv
from convspec.layers.fc import FullyConnected, SplitFullyConnected
from convspec.layers.filters import FilterLayer
from convspec.layers.local import Local
from convspec.layers.sums import SummingLayer
from convspec.layers.treefc import TreeFullyConnected
from convspec.layers.weights import WeightLayer
from tests.interpreter.tape import Array, Pullback, Tape, interprets
from tests.interpreter.windows import as_maps, count_windows, spans


def weight_names(layer: WeightLayer, tape: Tape, leaf: str = "weight") -> list[str]:
    """Of the weights of each input: its own, or those that `weightSource=` leads to."""
    return [_name_of_owner(layer, i, tape, leaf) for i in range(len(layer.input_names))]


def _name_of_owner(layer: WeightLayer, index: int, tape: Tape, leaf: str) -> str:
    source = layer.weight_sources[index] if layer.weight_sources else None
    if source is not None:
        owner = tape.graph.layers[source.name.text]
        assert isinstance(owner, WeightLayer)
        return _name_of_owner(owner, source.input, tape, leaf)
    plural = leaf if leaf.endswith("s") else f"{leaf}s"
    return f"{layer.name}.{leaf}" if len(layer.input_names) == 1 else f"{layer.name}.{plural}.{index}"


# Layer types in which a layer teaches shared weights at its own rate, and not at that of the layer that has them.
_OWN_RATES = {"ccn1": "conv local fc", "ccn1_dnouri": "conv local fc", "alexnet2012": "fc local", "ccn2": "fc local"}


def counts(layer: WeightLayer, tape: Tape) -> list[float]:
    """How often the gradient of each input's weights counts: once, but for weights of other layers, by the rates."""
    result = []
    for index in range(len(layer.input_names)):
        owner, at, own = layer, index, _base_rate(layer, index)
        while owner.weight_sources and (source := owner.weight_sources[at]) is not None:
            above = tape.graph.layers[source.name.text]
            assert isinstance(above, WeightLayer)
            owner, at = above, source.input
        theirs = _base_rate(owner, at)
        if (owner, at) == (layer, index):
            result.append(1.0)
        elif own <= 0 or theirs <= 0:
            result.append(float(own > 0))
        else:
            is_own = layer.type in _OWN_RATES.get(tape.graph.dialect.name, "").split()
            result.append(own / theirs if is_own else 1.0)
    return result


def _base_rate(layer: WeightLayer, index: int) -> float:
    return dict(layer.eps_w[index].arguments)["base"]


def added(gradients: Iterable[tuple[str, Array]]) -> dict[str, Array]:
    """Gradients by name: those of one name, from several inputs, add up."""
    total: dict[str, Array] = {}
    for name, gradient in gradients:
        total[name] = total[name] + gradient if name in total else gradient
    return total


def biases(layer: SummingLayer, tape: Tape) -> Array:
    """Zeros, as many as there are maps or outputs, of a layer without biases."""
    if layer.has_biases:
        return tape.parameter(f"{layer.name}.bias")
    return np.zeros(len(tape.parameter(weight_names(layer, tape)[0])))


def of_biases(layer: SummingLayer, gradient: Array) -> dict[str, Array]:
    return {f"{layer.name}.bias": gradient} if layer.has_biases else {}


@interprets(Conv, Local)
def filters(layer: FilterLayer, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Bias + sum over inputs: y[f, oy, ox] = sum of w[f, c, ky, kx] x[c, oy*stride - padding + ky, ...].

    A local layer has w[f, c, ky, kx, oy, ox]. Its biases, and those of a convolution with sharedBiases=0, are b[f, oy, ox].
    """
    names = weight_names(layer, tape)
    terms = [
        _convolve(layer, index, source, tape.parameter(name), tape)
        for index, (source, name) in enumerate(zip(sources, names, strict=True))
    ]
    bias = biases(layer, tape)
    is_shared = not layer.has_biases or (isinstance(layer, Conv) and layer.shared_biases)

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_inputs, of_weights = zip(*(back(gradient) for _, back in terms), strict=True)
        of_weights = [count * each for count, each in zip(counts(layer, tape), of_weights, strict=True)]
        of_bias = gradient.sum((0, 2, 3) if is_shared else 0)
        return list(of_inputs), {**added(zip(names, of_weights, strict=True)), **of_biases(layer, of_bias)}

    return sum(value for value, _ in terms) + (bias[:, None, None] if is_shared else bias), pull


def _convolve(
    layer: FilterLayer, index: int, source: Array, weight: Array, tape: Tape
) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    channels = None if layer.channels is None else layer.channels[index]
    maps = as_maps(source, channels)
    x, connections = maps, None
    if layer.rand_sparse[index]:
        connections = tape.parameter(weight_names(layer, tape, "connections")[index])
        x = maps[:, connections]
    axes = zip(
        x.shape[2:],
        layer.filter_size[index],
        layer.padding[index],
        layer.stride[index],
        layer.modules[index],
        strict=True,
    )
    rows, columns = (
        spans(
            side, given or count_windows(side + 2 * padding - size, stride, layer, tape.graph), size, stride, -padding
        )
        for side, size, padding, stride, given in axes
    )

    def at(of_weight: Array, oy: int, ox: int) -> Array:
        """The filters of a window, as a view."""
        return of_weight[..., oy, ox] if isinstance(layer, Local) else of_weight

    parts = [_group(x.shape[1], len(weight), g, layer.groups[index]) for g in range(layer.groups[index])]
    value = np.zeros((len(x), len(weight), len(rows), len(columns)))
    for (oy, (ys, kys)), (ox, (xs, kxs)) in product(enumerate(rows), enumerate(columns)):
        for read, made in parts:
            seen = at(weight, oy, ox)[made, :, kys, kxs]
            value[:, made, oy, ox] = np.tensordot(x[:, read, ys, xs], seen, ([1, 2, 3], [1, 2, 3]))

    def pull(gradient: Array) -> tuple[Array, Array]:
        of_x, of_weight = np.zeros_like(x), np.zeros_like(weight)
        for (oy, (ys, kys)), (ox, (xs, kxs)) in product(enumerate(rows), enumerate(columns)):
            for read, made in parts:
                of_y = gradient[:, made, oy, ox]
                of_x[:, read, ys, xs] += np.tensordot(of_y, at(weight, oy, ox)[made, :, kys, kxs], 1)
                at(of_weight, oy, ox)[made, :, kys, kxs] += np.tensordot(of_y.T, x[:, read, ys, xs], 1)
        if connections is None:
            return of_x, of_weight
        of_maps = np.zeros_like(maps)
        for seen, channel in enumerate(connections):
            of_maps[:, channel] += of_x[:, seen]
        return of_maps, of_weight

    return value, pull


def _group(in_channels: int, out_channels: int, index: int, groups: int) -> tuple[slice, slice]:
    """Channels that group `index` reads and makes."""
    read, made = in_channels // groups, out_channels // groups
    return slice(index * read, (index + 1) * read), slice(index * made, (index + 1) * made)


@interprets(FullyConnected)
def fully_connected(layer: FullyConnected, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Bias + sum over inputs of x @ W; W is kept as (outputs, features)."""
    names = weight_names(layer, tape)
    flat = [source.reshape(len(source), -1) for source in sources]
    weights = [tape.parameter(name) for name in names]
    value = sum(np.einsum("ni,oi->no", x, w) for x, w in zip(flat, weights, strict=True))

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        each = zip(names, flat, counts(layer, tape), strict=True)
        of_weights = added((name, count * np.einsum("no,ni->oi", gradient, x)) for name, x, count in each)
        of_inputs = [np.einsum("no,oi->ni", gradient, w) for w in weights]
        return of_inputs, {**of_weights, **of_biases(layer, gradient.sum(0))}

    return value + biases(layer, tape), pull


@interprets(SplitFullyConnected)
def split(layer: SplitFullyConnected, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """Part p of the outputs is part p of the features times the rows of W that are its own."""
    names = weight_names(layer, tape)
    flat = [source.reshape(len(source), -1) for source in sources]
    weights = [tape.parameter(name) for name in names]
    made = layer.out_features
    value = np.tile(biases(layer, tape), (len(flat[0]), 1))
    for part in range(layer.parts):
        outputs = slice(part * made, (part + 1) * made)
        for x, w in zip(flat, weights, strict=True):
            read = x.shape[1] // layer.parts
            value[:, outputs] += x[:, part * read : (part + 1) * read] @ w[outputs, :, 0, 0].T

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_inputs = [np.zeros_like(x) for x in flat]
        of_weights = [np.zeros_like(w) for w in weights]
        for part in range(layer.parts):
            outputs = slice(part * made, (part + 1) * made)
            for x, of_x, of_w, w in zip(flat, of_inputs, of_weights, weights, strict=True):
                features = slice(part * x.shape[1] // layer.parts, (part + 1) * x.shape[1] // layer.parts)
                of_x[:, features] = gradient[:, outputs] @ w[outputs, :, 0, 0]
                of_w[outputs, :, 0, 0] = gradient[:, outputs].T @ x[:, features]
        counted = [count * of_w for count, of_w in zip(counts(layer, tape), of_weights, strict=True)]
        return of_inputs, {**added(zip(names, counted, strict=True)), **of_biases(layer, gradient.sum(0))}

    return value, pull


@interprets(TreeFullyConnected)
def tree(layer: TreeFullyConnected, sources: Sequence[Array], tape: Tape) -> tuple[Array, Pullback]:
    """X @ (W @ A) + bias, A[n, l] = 1 where node n is leaf l or above it; W is kept as (nodes, features)."""
    x = sources[0].reshape(len(sources[0]), -1)
    weight, bias = tape.parameter(f"{layer.name}.weight"), tape.parameter(f"{layer.name}.bias")
    children = layer.class_tree.children
    above = np.zeros((len(children), len(bias)))

    def mark(node: int, path: list[int]) -> None:
        if not children[node]:
            above[[*path, node], node] = 1
        for child in children[node]:
            mark(child, [*path, node])

    mark(layer.class_tree.root, [])
    of_leaves = above.T @ weight

    def pull(gradient: Array) -> tuple[list[Array], dict[str, Array]]:
        of_weight = above @ (gradient.T @ x)
        return [gradient @ of_leaves], {f"{layer.name}.weight": of_weight, f"{layer.name}.bias": gradient.sum(0)}

    return x @ of_leaves.T + bias, pull

"""The shape checker against torch on the meta device: every size and every parameter count of generated networks."""

from __future__ import annotations

from math import isqrt

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor

import convspec
from convspec.checker import Checked
from convspec.layers.base import Layer
from convspec.layers.conv import Conv
from convspec.layers.data import Data
from convspec.layers.fc import FullyConnected, SplitFullyConnected
from convspec.layers.filters import FilterLayer
from convspec.layers.join import ConcatLayer
from convspec.layers.pool import Pool
from convspec.layers.sums import SummingLayer
from convspec.layers.treefc import TreeFullyConnected
from convspec.layers.weights import WeightLayer
from convspec.resources import spec_path
from convspec.testing import specs
from convspec_kernels import TreeLinear


class MetaNetwork:
    """The layers of a graph as torch's own operators on tensors without data, (1, C, H, W) or (1, F)."""

    def __init__(self, checked: Checked, inputs: dict[str, tuple[int, ...]]) -> None:
        self.rounding = checked.graph.net.rounding_name
        self.weights: dict[str, int] = {}
        self.shared: dict[str, int] = {}
        self.biases: dict[str, int] = {}
        self.values: dict[str, Tensor] = {}
        for layer in checked.graph.order:
            if isinstance(layer, Data):
                width = checked.graph.net.classes or 1 if layer.data_index == Data.ONE_HOT else 1
                self.values[layer.name] = torch.empty((1, *inputs.get(layer.name, (width,))), device="meta")
            else:
                self.values[layer.name] = self.run(layer, [self.values[name] for name in layer.input_names])
                if isinstance(layer, SummingLayer) and not layer.has_biases:
                    del self.biases[layer.name]

    def rounds_up(self, layer: FilterLayer | Pool) -> bool:
        return (layer.own_rounding or self.rounding) == "ceil"

    def count(self, layer: WeightLayer, index: int, weights: int) -> None:
        """Weights of an input; those that stand in another layer's name are counted there."""
        self.weights[layer.name] = self.weights.get(layer.name, 0) + weights
        if layer.weight_sources and layer.weight_sources[index] is not None:
            self.shared[layer.name] = self.shared.get(layer.name, 0) + weights

    def run(self, layer: Layer, sources: list[Tensor]) -> Tensor:
        match layer:
            case FilterLayer():
                terms = [self.filters(layer, i, source) for i, source in enumerate(sources)]
                assert len({term.shape for term in terms}) == 1
                has_maps = not isinstance(layer, Conv) or not layer.shared_biases
                self.biases[layer.name] = terms[0].numel() if has_maps else terms[0].shape[1]
                return terms[0]
            case SplitFullyConnected():
                return self.split(layer, sources)
            case TreeFullyConnected():
                tree = TreeLinear(sources[0][0].numel(), layer.class_tree.parents)
                self.weights[layer.name], self.biases[layer.name] = tree.weight.numel(), tree.bias.numel()
                return sources[0].new_empty((1, tree.out_features))
            case FullyConnected():
                weights = [torch.empty(layer.out_features, x[0].numel(), device="meta") for x in sources]
                for index, weight in enumerate(weights):
                    self.count(layer, index, weight.numel())
                self.biases[layer.name] = layer.out_features
                return F.linear(sources[0].flatten(1), weights[0])
            case Pool():
                return self.pool(layer, as_maps(sources[0], layer.channels))
            case ConcatLayer():
                is_by_channel = len({x.shape[2:] for x in sources}) == 1 and sources[0].ndim == 4
                return torch.cat(sources if is_by_channel else [x.flatten(1) for x in sources], 1)
            case _:
                return self.run_by_type(layer, sources)

    def run_by_type(self, layer: Layer, sources: list[Tensor]) -> Tensor:
        match layer.type:
            case "softmax":
                return F.softmax(sources[0].flatten(1), 1)
            case "cmrnorm" | "rnorm" | "cnorm" | "href" | "blur":
                return F.local_response_norm(as_maps(sources[0], layer.channels), 3)
            case "nailbed":
                return as_maps(sources[0], layer.channels)[:, :, :: layer.stride, :: layer.stride]
            case "sum":
                return F.avg_pool1d(sources[0].flatten(1), layer.stride)
            case "eltsum" | "eltmax":
                is_alike = len({x.shape for x in sources}) == 1
                return sum(sources if is_alike else [x.flatten(1) for x in sources])
            case "cmpool":
                maps = as_maps(sources[0], layer.channels)
                seen = F.pad(maps.flatten(2).transpose(1, 2), (-layer.start, layer.stride - 1))
                return F.max_pool1d(seen, layer.size, layer.stride).transpose(1, 2).unflatten(2, maps.shape[2:])
            case "globalpool":
                return F.adaptive_avg_pool2d(as_maps(sources[0], layer.channels), 1)
            case "batchnorm":
                maps = as_maps(sources[0], layer.channels)
                norm = torch.nn.BatchNorm2d(maps.shape[1], device="meta")
                self.weights[layer.name], self.biases[layer.name] = norm.weight.numel(), norm.bias.numel()
                return maps
            case cost if cost.startswith("cost."):
                return sources[0].new_empty((1, 1))
            case _:
                return F.relu(sources[0])

    def split(self, layer: SplitFullyConnected, sources: list[Tensor]) -> Tensor:
        blocks = [torch.empty(layer.out_features, x[0].numel() // layer.parts, device="meta") for x in sources]
        for index, block in enumerate(blocks):
            self.count(layer, index, layer.parts * block.numel())
        features = sources[0].flatten(1).chunk(layer.parts, dim=1)
        joined = torch.cat([F.linear(part, blocks[0]) for part in features], 1)
        self.biases[layer.name] = joined.numel()
        return joined

    def filters(self, layer: FilterLayer, index: int, source: Tensor) -> Tensor:
        """Rounding up is rounding down on a map with stride - 1 more zeros; modulesX, one with as many as it needs."""
        maps = as_maps(source, None if layer.channels is None else layer.channels[index])
        size, padding, stride, groups = (
            getattr(layer, key)[index] for key in ("filter_size", "padding", "stride", "groups")
        )
        if layer.rand_sparse[index]:
            maps = maps[:, torch.zeros(groups * (layer.filter_channels[index] or maps.shape[1] // groups), dtype=int)]
        weight = torch.empty(layer.filters[index] * groups, maps.shape[1] // groups, *size, device="meta")
        frame: list[int] = []
        for axis in (1, 0):
            given = layer.modules[index][axis]
            reach = (given - 1) * stride[axis] + size[axis] - padding[axis] - maps.shape[2 + axis]
            more = stride[axis] - 1 if self.rounds_up(layer) else 0
            frame += [padding[axis], reach if given else padding[axis] + more]
        value = F.conv2d(F.pad(maps, frame), weight, stride=stride, groups=groups)
        windows = 1 if isinstance(layer, Conv) else value[0, 0].numel()
        self.count(layer, index, weight.numel() * windows)
        return value

    def pool(self, layer: Pool, maps: Tensor) -> Tensor:
        pooling = F.avg_pool2d if layer.pool == "avg" else F.max_pool2d
        frame: list[int] = []
        ends: list[int] = []
        keys = (layer.size, layer.stride, layer.start, layer.padding, layer.outputs_x)
        for axis in (1, 0):
            size, stride, start, padding, given = (key[axis] for key in keys)
            side, first = maps.shape[2 + axis], start - padding
            reach = first + (given - 1) * stride + size - side
            frame += [-first, reach if given else padding + (stride - 1 if self.rounds_up(layer) else 0)]
            ends.append(len(range(first, side, stride)))
        return pooling(F.pad(maps, frame), layer.size, layer.stride)[:, :, : ends[1], : ends[0]]


def as_maps(value: Tensor, channels: int | None) -> Tensor:
    if value.ndim == 4 or channels is None:
        return value
    side = isqrt(value.shape[1] // channels)
    return value.unflatten(1, (channels, side, side))


def assert_sizes_are_torch_s(checked: Checked, meta: MetaNetwork) -> None:
    for layer in checked.layers:
        assert layer.shape == tuple(meta.values[layer.name].shape[1:]), layer.name
        assert layer.weights == meta.weights.get(layer.name, 0) - meta.shared.get(layer.name, 0), layer.name
        assert layer.biases == meta.biases.get(layer.name, 0), layer.name


def image_size(checked: Checked) -> dict[str, tuple[int, ...]]:
    return {binding.name: binding.dims for binding in checked.graph.net.input}


@given(text=specs(max_layers=8))
@settings(max_examples=60)
def test_generated_networks(text: str) -> None:
    checked = convspec.check(text)
    assert_sizes_are_torch_s(checked, MetaNetwork(checked, image_size(checked)))


@given(text=specs(max_layers=8, is_square=False, layer_types=("conv", "local", "pool", "concat", "neuron")))
@settings(max_examples=30)
def test_generated_networks_on_images_that_are_not_square(text: str) -> None:
    checked = convspec.check(text)
    assert_sizes_are_torch_s(checked, MetaNetwork(checked, image_size(checked)))


@given(text=specs(towers=2))
@settings(max_examples=30)
def test_generated_towers(text: str) -> None:
    checked = convspec.check(text)
    assert_sizes_are_torch_s(checked, MetaNetwork(checked, image_size(checked)))


@pytest.mark.parametrize("side", [227, 224, 129, 67])
def test_alexnet_at_many_sizes(side: int) -> None:
    inputs = {"data": (3, side, side)}
    checked = convspec.check(spec_path("alexnet.cfg"), inputs=inputs)
    assert_sizes_are_torch_s(checked, MetaNetwork(checked, inputs))


def test_a_wrong_rule_is_noticed() -> None:
    """The same comparison fails where torch rounds down and the checker up."""
    inputs = {"data": (3, 224, 224)}
    rounded_up, rounded_down = (
        convspec.check(spec_path("alexnet.cfg"), inputs=inputs, overrides=[f"@net.rounding={way}"])
        for way in ("ceil", "floor")
    )
    with pytest.raises(AssertionError, match="conv1a"):
        assert_sizes_are_torch_s(rounded_up, MetaNetwork(rounded_down, inputs))

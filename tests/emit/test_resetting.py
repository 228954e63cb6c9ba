"""`reset_parameters` of an emitted module gives every tensor the first value that the program says, whatever it held."""

from __future__ import annotations

from math import nan, sqrt

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import convspec
from convspec.compiler import compile_spec
from convspec.emit.load import instantiate
from convspec.program.program import Program
from convspec.resources import spec_path
from convspec.testing import specs
from tests.emit.small_specs import classifier, layer


def reset(net: nn.Module) -> None:
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.fill_(nan if tensor.is_floating_point() else -1)
    torch.manual_seed(0)
    net.reset_parameters()  # type: ignore[operator]


def assert_starts(net: nn.Module, program: Program) -> None:
    """Drawn numbers have their mean and deviation to six standard errors."""
    for parameter in program.parameters:
        value = net.get_parameter(parameter.name).detach().double()
        std, constant, rows = parameter.initialization
        drawn = value[:rows]
        assert not value[len(drawn) :].any(), parameter.name
        error = 6 * std / sqrt(drawn.numel())
        assert (drawn.mean() - constant).abs() <= error, parameter.name
        if drawn.numel() > 1:
            assert (drawn.std() - std).abs() <= error, parameter.name
        assert bool(std) == (drawn.unique().numel() > 1) or drawn.numel() == 1, parameter.name
    for buffer in program.buffers:
        if isinstance(buffer.initial, float):
            assert (net.get_buffer(buffer.name) == buffer.initial).all(), buffer.name
        else:
            assert (net.get_buffer(buffer.name) >= 0).all(), buffer.name


@given(text=specs(towers=2, max_layers=6))
@settings(max_examples=20)
def test_generated_networks(text: str) -> None:
    compiled = compile_spec(text)
    net = instantiate(compiled.source, compiled.name)
    reset(net)
    assert_starts(net, compiled.program)


@pytest.mark.parametrize("name", ["resnet20.cfg", "lenet-digits.cfg", "cifar-lrn.cfg", "alexnet-small.cfg"])
def test_our_specs(name: str) -> None:
    compiled = compile_spec(spec_path(name))
    net = instantiate(compiled.source, compiled.name)
    reset(net)
    assert_starts(net, compiled.program)


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("keys", [{}, {"initB": 0.5}], ids=["as torch", "otherwise"])
def test_normalisations_that_start_as_torch_has_it_and_others(count: int, keys: dict[str, float]) -> None:
    """By their attribute, in a loop over attributes, or over modules; maps and vectors; and behind it what differs."""
    names = [f"{'normalisation' * 2}{i}" for i in range(count)]
    layers = "".join(
        layer(name, type="batchnorm", inputs=below, **(keys if below == "data" else {}))
        for name, below in zip(names, ["data", *names], strict=False)
    )
    layers += layer("flat", type="fc", inputs=names[-1], outputs=5) + layer("x", type="batchnorm", inputs="flat")
    text = classifier(layers, leaves="x")
    compiled = compile_spec(text)
    net = instantiate(compiled.source, compiled.name)
    reset(net)
    assert_starts(net, compiled.program)
    assert ("isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)" in compiled.source) == (count == 9)
    assert convspec.check(text).ok

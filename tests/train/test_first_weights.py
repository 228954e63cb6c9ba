"""First weights: every number is set, none is drawn for nothing, and they are those of the seed on any number of threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings

import convspec
from convspec.compiler import compile_checked, compile_spec
from convspec.emit.load import Undrawn, instantiate
from convspec.resources import spec_path
from convspec.testing import specs
from convspec.train.first_weights import draw_weights
from convspec.train.preparation import initial_network
from convspec.train.team import ALONE


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_nothing_is_drawn_that_is_set_next() -> None:
    """Torch's generator stays where it is, and no layer's values are computed."""
    compiled = compile_spec(spec_path("alexnet-small.cfg"))
    before = torch.get_rng_state()
    net = ALONE.network(compiled)
    assert torch.equal(torch.get_rng_state(), before)
    initial_network(compiled, None, is_drawn=False)
    assert torch.equal(torch.get_rng_state(), before)
    initial_network(compiled, None)
    assert torch.equal(torch.get_rng_state(), before)
    instantiate(compiled.source, compiled.name)
    assert not torch.equal(torch.get_rng_state(), before)
    shapes = {name: tensor.shape for name, tensor in instantiate(compiled.source, compiled.name).state_dict().items()}
    assert {name: tensor.shape for name, tensor in net.state_dict().items()} == shapes


@given(text=specs(max_side=8))
@settings(max_examples=25)
def test_every_number_is_set(text: str) -> None:
    compiled = compile_checked(convspec.check(text))
    with Undrawn():
        net = instantiate(compiled.source, compiled.name)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(torch.nan)
    draw_weights(net, compiled.program, 1)
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())


@pytest.mark.usefixtures("threads")
def test_threads_change_nothing() -> None:
    compiled = compile_spec(spec_path("alexnet-small.cfg"))
    states = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        net = initial_network(compiled, None)
        states.append(net.state_dict())
    for state in states[1:]:
        assert all(torch.equal(state[name], tensor) for name, tensor in states[0].items())
    other = ALONE.network(compiled)
    draw_weights(other, compiled.program, compiled.train.seed + 1)
    assert not torch.equal(other.state_dict()["conv1a.weight"], states[0]["conv1a.weight"])


def test_what_is_no_drawing_is_done() -> None:
    """A mode that lets no function of torch.nn.init do anything would leave out what is no drawing."""
    with Undrawn():
        layer = torch.nn.BatchNorm2d(3)
        torch.nn.init.constant_(layer.bias, 2.0)
    assert torch.equal(layer.weight.detach(), torch.ones(3))
    assert torch.equal(layer.bias.detach(), torch.full((3,), 2.0))

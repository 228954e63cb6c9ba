"""The parts of a network in processes of their own compute what the whole computes in one: values, gradients, bytes."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

import convspec
from convspec.cli import main
from convspec.compiler import compile_checked
from convspec.emit.load import instantiate, instantiate_part
from convspec.passes.part_by_gpu import with_judged
from convspec.passes.pipeline import PLACED, Target
from convspec.program.crossings import crossings, gpus_of
from convspec.resources import spec_path
from convspec.testing import specs
from convspec.train.bench import random_inputs
from convspec.train.first_weights import draw_weights
from convspec_kernels import Peers
from tests.distributed.processes import together
from tests.emit.comparison import assert_close, emitted, lowered, random_batch, random_state
from tests.emit.small_specs import TWO_TOWERS, scattered
from tests.interpreter import Array

Found = dict[str, Any]


def run_part(source: str, gpus: tuple[int, ...], batch: dict[str, Array], state: dict[str, Array]) -> Found:
    """In one of the processes: its outputs in training, its gradients by canonical name, and the bytes that it sent."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    peers = Peers(dist.group.WORLD, gpus, torch.device("cpu"))  # type: ignore[arg-type]
    net = instantiate_part(source, gpus[rank], peers).double().train()
    net.load_state_dict({name: torch.from_numpy(state[name]) for name in net.state_dict()})
    inputs = {name: torch.from_numpy(value) for name, value in batch.items()}
    for _ in range(2):  # the second time nothing is told of how values are laid out
        torch.manual_seed(0)
        net.zero_grad()
        net.load_state_dict({name: torch.from_numpy(state[name]) for name in net.state_dict()})
        peers.traffic.clear()
        outputs = net(inputs)
        net.objective(outputs).backward()
    values = {name: value.detach().numpy() for name, value in outputs.items()}
    return {"values": values, "gradients": gradients(net), "traffic": peers.traffic}


def gradients(net: torch.nn.Module) -> dict[str, Array]:
    holders = [module for module in net.modules() if hasattr(module, "peers")]
    peers = net.peers
    for holder in holders:
        holder.peers = None  # type: ignore[assignment]  # processes cannot be copied
    twin = copy.deepcopy(net)
    for holder in holders:
        holder.peers = peers
    with torch.no_grad():
        for parameter, own in zip(twin.parameters(), net.parameters(), strict=True):
            parameter.copy_(torch.zeros_like(own) if own.grad is None else own.grad)
        for buffer in twin.buffers():
            buffer.zero_()
    return {name: value.numpy() for name, value in twin.state_dict().items()}


def assert_parts_are_the_whole(text: Any, cases: int = 3) -> list[Found]:
    """Against the folded network. Gradients of what several parts have add up."""
    checked = convspec.check(text)
    compiled = compile_checked(checked, target=Target.SPMD)
    whole = emitted(lowered(checked)).train()
    state, batch = random_state(whole, 0), random_batch(checked, cases, 1)
    found = together(len(compiled.parts), run_part, compiled.source, tuple(compiled.parts), batch, state)
    assert_found_is_the_whole(whole, state, batch, found)
    return found


def assert_found_is_the_whole(
    whole: torch.nn.Module, state: dict[str, Array], batch: dict[str, Array], found: list[Found]
) -> None:
    torch.manual_seed(0)
    whole.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    outputs = whole({name: torch.from_numpy(value) for name, value in batch.items()})
    whole.objective(outputs).backward()  # type: ignore[operator]
    whole.peers = None  # type: ignore[assignment]
    given = {name: value for part in found for name, value in part["values"].items()}
    for name, value in outputs.items():
        assert_close(name, given[name], value.detach().numpy())
    for name, gradient in gradients(whole).items():
        own = [part["gradients"][name] for part in found if name in part["gradients"]]
        assert_close(f"gradient of {name}", np.sum(own, axis=0), gradient)


def assert_traffic_is_planned(text: Any, found: list[Found], cases: int, size: int = 8) -> None:
    """What crossed is what the placed program says, in numbers of `size` bytes; `cases` is a multiple of all numbers of
    slices."""
    program = with_judged(lowered(convspec.check(text), (), PLACED))
    sent = Counter({key: count for part in found for key, count in part["traffic"].items()})
    planned: Counter[tuple[str, int, int, str]] = Counter()
    for crossing in crossings(program):
        if crossing.source is not None:
            ends = crossing.source, crossing.target
            planned[crossing.value, *ends, "forward"] += round(cases * crossing.bytes_forward(size))
            planned[crossing.value, *ends, "backward"] += round(cases * crossing.bytes_backward(size))
    assert sent == +planned


@given(text=specs(towers=2, max_side=10))
@settings(max_examples=15)
def test_generated_towers(text: str) -> None:
    assert_traffic_is_planned(text, assert_parts_are_the_whole(text), 3)


@given(
    text=st.one_of(
        specs(replicas=2, max_side=8, max_layers=4),
        specs(towers=2, replicas=2, max_side=8, max_layers=4),
        specs(towers=4, max_side=8, max_layers=4),
        scattered(max_side=8),
    )
)
@settings(max_examples=20)
def test_generated_replicas_and_layers_anywhere(text: str) -> None:
    assert_traffic_is_planned(text, assert_parts_are_the_whole(text, 4), 4)


def run_in_bf16(text: Any, cases: int) -> Found:
    """As `run_part`, in float32 under bf16; in this process alone, all parts on devices of its own, where nobody launched it."""
    is_alone = "RANK" not in os.environ
    compiled = compile_checked(convspec.check(text), target=Target.DEVICES if is_alone else Target.SPMD)
    if is_alone:
        peers, program = None, compiled.program
        net = instantiate(compiled.source, compiled.name)
        net.place(*["cpu"] * len(gpus_of(program)))  # type: ignore[operator]
    else:
        dist.init_process_group("gloo")
        gpus = tuple(compiled.parts)
        gpu = gpus[dist.get_rank()]
        peers, program = Peers(dist.group.WORLD, gpus, torch.device("cpu")), compiled.parts[gpu]  # type: ignore[arg-type]
        net = instantiate_part(compiled.source, gpu, peers)
    draw_weights(net, program, 0)
    torch.manual_seed(0)
    inputs = random_inputs(compiled.program, cases, torch.device("cpu"))
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = net.train()(inputs)
    net.objective(outputs).backward()  # type: ignore[operator]
    values = {name: value.detach().float().numpy() for name, value in outputs.items()}
    found = {name: parameter.grad.numpy() for name, parameter in net.named_parameters() if parameter.grad is not None}
    return {"values": values, "gradients": found, "traffic": {} if peers is None else peers.traffic}


@pytest.mark.parametrize("text", [TWO_TOWERS, spec_path("alexnet-small.cfg")], ids=["towers", "alexnet-small"])
def test_bf16(text: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients are, to the bit, those of the same parts on devices of one process, and cross in two bytes each."""
    monkeypatch.delenv("RANK", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = run_in_bf16(text, 4)
    torch.set_num_threads(threads)
    found = together(2, run_in_bf16, text, 4)
    for kind in ("values", "gradients"):
        given = {name: value for part in found for name, value in part[kind].items()}
        assert given.keys() == whole[kind].keys()
        for name, value in whole[kind].items():
            assert np.array_equal(given[name], value), name
    assert_traffic_is_planned(text, found, 4, 2)


def test_a_cost_on_another_gpu_than_what_it_judges() -> None:
    """It reads the scores, and comes before the probabilities, which cross to it for the error rates alone."""
    text = TWO_TOWERS.replace("coeff=0.7\ntopk=2\ngpu=0", "coeff=0.7\ntopk=2\ngpu=1")
    assert text != TWO_TOWERS
    found = assert_parts_are_the_whole(text)
    assert_traffic_is_planned(text, found, 3)
    assert any(value == "probs" for part in found for value, *_ in part["traffic"])


def test_two_towers_with_dropout() -> None:
    assert_traffic_is_planned(TWO_TOWERS, assert_parts_are_the_whole(TWO_TOWERS), 3)


@pytest.mark.parametrize("name", ["alexnet-small.cfg"])
def test_specs(name: str) -> None:
    assert_parts_are_the_whole(spec_path(name), 2)


def test_the_paper_is_in_sight(capsys: pytest.CaptureFixture[str]) -> None:
    """Figure 2: which layers are whose, and where the GPUs talk, in both classes alike; no layer is in both."""
    assert main(["compile", str(spec_path("alexnet.cfg")), "--target", "spmd"]) == 0
    source = capsys.readouterr().out
    first, second = source.split("class AlexNetGPU1(nn.Module)")
    for layer_name in ("conv1a", "conv5a", "fc6a", "fc8"):
        assert f"self.{layer_name} = nn." in first
        assert f"self.{layer_name} = nn." not in second
    talk = 'self.peers.exchange(send={1: {"pool2a": pool2a}}, receive={1: ["pool2b"]})  # 128x13x13'
    assert talk in first
    assert 'self.peers.exchange(send={0: {"pool2b": pool2b}}, receive={0: ["pool2a"]})' in second
    assert first.count("self.peers.exchange(") == second.count("self.peers.exchange(") == 4
    assert "PARTS: dict[int, type[nn.Module]] = {0: AlexNetGPU0, 1: AlexNetGPU1}" in source
    assert 'return outputs["logprob"] + self.peers.sent()' in first
    arguments = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=120", "--diff", "-"]
    result = subprocess.run(arguments, input=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def load_part(text: str, batch: dict[str, Array], state: dict[str, Array]) -> Found:
    """What a user's own script does under torchrun."""
    dist.init_process_group("gloo")
    net = convspec.load(text, target="spmd", dtype=torch.float64).train()
    net.load_state_dict({name: torch.from_numpy(state[name]) for name in net.state_dict()})
    torch.manual_seed(0)
    outputs = net({name: torch.from_numpy(value) for name, value in batch.items()})
    net.objective(outputs).backward()  # type: ignore[operator]
    return {"values": {name: value.detach().numpy() for name, value in outputs.items()}, "gradients": gradients(net)}


def test_the_part_that_load_gives() -> None:
    checked = convspec.check(TWO_TOWERS)
    whole = emitted(lowered(checked)).train()
    state, batch = random_state(whole, 0), random_batch(checked, 3, 1)
    found = together(2, load_part, TWO_TOWERS, batch, state)
    assert_found_is_the_whole(whole, state, batch, found)


def refuse_to_load(text: str) -> str:
    dist.init_process_group("gloo")
    with pytest.raises(convspec.DiagnosticError) as caught:
        convspec.load(text, target="spmd")
    return str(caught.value)


def test_load_among_too_many() -> None:
    for message in together(3, refuse_to_load, TWO_TOWERS):
        assert "CS753: TwoTowers is on GPUs 0 and 1, one for each process, and there are 3 processes" in message

"""What an emitted module would do on several devices, where there are none: everything is where it is read, what crosses
is what the program says, and nothing waits for a device."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import convspec
from convspec.checker import Checked
from convspec.emit.load import instantiate
from convspec.emit.module import emit
from convspec.passes.pipeline import PLACED
from convspec.program.crossings import copies, crossings, gpus_of
from convspec.program.moves import Transfer
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.resources import spec_path
from tests.emit.comparison import lowered, random_batch
from tests.emit.shrinking import shrunk
from tests.emit.small_specs import parted
from tests.train.pretended import Pretended, WrongDeviceError, pretend_place
from tests.train.test_devices import NETWORKS

CASES = 8


def run_pretended(checked: Checked, program: Program, source: str = "") -> Pretended:
    """One pass in training on as many devices as the program has GPUs."""
    net = instantiate(source or emit(program, "net.cfg"), "net").double().train()
    pretend_place(net, [f"gpu{gpu}" for gpu in gpus_of(program)])
    batch = {name: torch.from_numpy(value) for name, value in random_batch(checked, CASES, 1).items()}
    with Pretended() as mode:
        net.objective(net(batch))  # type: ignore[operator]
    return mode


def assert_sends_what_the_program_says(checked: Checked) -> None:
    program = lowered(checked, (), PLACED)
    mode = run_pretended(checked, program)
    expected: Counter[tuple[str | None, str, int]] = Counter()
    for crossing in crossings(program):
        source = None if crossing.source is None else f"gpu{crossing.source}"
        expected[source, f"gpu{crossing.target}", round(crossing.numbers_forward * CASES)] += 1
    for copy in copies(program):
        for gpu in copy.others:
            expected[f"gpu{copy.home}", f"gpu{gpu}", prod(copy.parameter.shape)] += 1
    costs = [cost for cost in program.costs if cost.gpu != program.costs[0].gpu]
    for cost in costs:
        expected[f"gpu{cost.gpu}", f"gpu{program.costs[0].gpu}", 1] += 1
    assert Counter(mode.sent) == expected


@pytest.mark.parametrize("name", ["alexnet.cfg", "alexnet-2012.cfg", "alexnet-hybrid.cfg"])
def test_specs(name: str) -> None:
    assert_sends_what_the_program_says(shrunk(spec_path(name)))


@pytest.mark.parametrize("fc", ["0,1,2,3", "0,1", "2"])
def test_replicas(fc: str) -> None:
    assert_sends_what_the_program_says(convspec.check(parted(fc=fc)))


@given(text=NETWORKS)
@settings(max_examples=25)
def test_generated_networks(text: str) -> None:
    """No value is read where it is not."""
    checked = convspec.check(text)
    run_pretended(checked, lowered(checked, (), PLACED))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("self.full7b_fc(torch.cat(", "self.full7a_fc(torch.cat("),
        ("full6a_drop_on_1,", "full6a_drop,"),
        ("F.cross_entropy(fc8, labels_on_0)", "F.cross_entropy(fc8.to(gpu1), labels_on_0)"),
        ('conv2_weights_on_1["weight"], ', "self.conv2.weight, "),
        ("probs = F.softmax(fc8, dim=1)", "probs = F.softmax(fc8, dim=1) * fc8.max().item()"),
    ],
)
def test_wrong_modules_are_rejected(right: str, wrong: str) -> None:
    checked = shrunk(spec_path("alexnet-hybrid.cfg"))
    program = lowered(checked, (), PLACED)
    source = emit(program, "net.cfg")
    assert right in source
    run_pretended(checked, program, source)
    with pytest.raises(WrongDeviceError):
        run_pretended(checked, program, source.replace(right, wrong))


@pytest.mark.parametrize("name", ["alexnet.cfg", "alexnet-hybrid.cfg"])
def test_the_host_waits_for_nothing(name: str) -> None:
    """On torch's meta device no value can be had: one that the host asked for, forward or backward, would raise."""
    program = lowered(convspec.check(spec_path(name)), (), PLACED)
    with torch.device("meta"):
        net: nn.Module = instantiate(emit(program, "net.cfg"), "net").train()
    batch = {
        "data": torch.empty(16, 3, 227, 227, device="meta"),
        "labels": torch.zeros(16, dtype=torch.int64, device="meta"),
    }
    objective = net.objective(net(batch))  # type: ignore[operator]
    objective.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def share_at_work(program: Program, checked: Checked) -> float:
    """Of the time that a forward pass takes, how much a device is at work on average."""
    mode = run_pretended(checked, program)
    return sum(mode.work.values()) / (len(mode.clocks) * max(mode.clocks.values()))


def with_early_transfers(program: Program) -> Program:
    """Each value is sent as soon as it is there, whatever its target could do meanwhile."""
    operators: list[Op] = [op for op in program.operators if not isinstance(op, Transfer)]
    for op in program.operators:
        if isinstance(op, Transfer):
            source = next(i for i, other in enumerate(operators) if other.name == op.inputs[0])
            operators.insert(source + 1, op)
    return replace(program, operators=tuple(operators))


@pytest.mark.parametrize("name", ["alexnet.cfg", "alexnet-hybrid.cfg"])
def test_devices_work_at_the_same_time(name: str) -> None:
    """All the time, but for what the one with the classes does alone; less where transfers part what twins do at once."""
    checked = shrunk(spec_path(name))
    program = lowered(checked, (), PLACED)
    share = share_at_work(program, checked)
    assert share > 0.99
    assert 1 - share_at_work(with_early_transfers(program), checked) > 2 * (1 - share)

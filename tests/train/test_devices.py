"""Training on the GPUs of a spec is training on one device: losses, gradients, parameters, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import convspec
from convspec.compiler import Compiled, compile_spec
from convspec.diagnostics import DiagnosticError
from convspec.emit.load import instantiate
from convspec.emit.module import emit
from convspec.passes.pipeline import PLACED, Target
from convspec.program.crossings import is_placed
from convspec.program.moves import JoinCases, Transfer
from convspec.program.operator import Cases
from convspec.program.program import Program
from convspec.resources import spec_path
from convspec.testing import specs
from convspec.train.display import SilentDisplay
from convspec.train.trainer import train
from tests.emit.comparison import lowered
from tests.emit.shrinking import shrunk
from tests.emit.small_specs import classifier, layer, parted
from tests.train.placements import (
    PASSES,
    assert_placement_changes_nothing,
    assert_same_training,
    chains,
    module_of,
    train_steps,
)
from tests.train.runs import losses, weights
from tests.train.test_emitted import TOWERS

# Neurons whose values stay small over ten steps of training.
NEURONS = ("relu", "logistic", "tanh[1.7,0.66]", "abs")
NETWORKS = st.one_of(
    specs(towers=2, max_side=8, max_layers=5, neurons=NEURONS),
    specs(towers=4, max_side=6, max_layers=3, neurons=NEURONS),
    specs(replicas=2, max_side=8, max_layers=4, neurons=NEURONS),
    specs(towers=2, replicas=2, max_side=6, max_layers=4, neurons=NEURONS),
    chains(),
)


@given(text=NETWORKS)
@settings(max_examples=20)
def test_generated_networks(text: str) -> None:
    checked = convspec.check(text)
    folded = train_steps(checked, lowered(checked))
    assume(all(isfinite(loss) and abs(loss) < 1e3 for loss in folded.losses))
    assert_same_training(train_steps(checked, lowered(checked, (), PLACED)), folded)


@pytest.mark.parametrize("name", ["alexnet.cfg", "alexnet-2012.cfg", "alexnet-hybrid.cfg", "alexnet-small.cfg"])
def test_specs(name: str) -> None:
    """With their dropout, momentum, decay and schedules, at a few maps a layer."""
    assert_placement_changes_nothing(shrunk(spec_path(name)))


@pytest.mark.parametrize("fc", ["0,1,2,3", "0,1", "1,0", "2"])
def test_fewer_and_fewer_replicas(fc: str) -> None:
    assert_placement_changes_nothing(convspec.check(parted(fc=fc)))


def test_weights_that_layers_on_different_gpus_share() -> None:
    layers = layer("fc1a", type="fc", inputs="data", outputs=9, neuron="relu", gpu=0) + layer(
        "fc1b", type="fc", inputs="data", outputs=9, neuron="abs", gpu=1, weightSource="fc1a"
    )
    assert_placement_changes_nothing(convspec.check(classifier(layers, leaves="fc1a,fc1b")))


def test_costs_on_different_gpus() -> None:
    text = classifier(
        layer("fc1", type="fc", inputs="data", outputs=4, gpu=1)
        + layer("energy", type="cost.sum2", inputs="fc1", coeff=0.1, gpu=1),
        leaves="fc1",
    )
    source = emit(lowered(convspec.check(text), (), PLACED), "net.cfg")
    assert 'outputs["cost"] = F.cross_entropy(scores, labels_on_0).to(gpu1, non_blocking=True)' in source
    assert_placement_changes_nothing(convspec.check(text))


def test_a_tower_that_no_cost_is_above() -> None:
    """It decays as its twin does, whether they were merged or not."""
    layers = layer("fc1a", type="fc", inputs="data", outputs=9, gpu=0, wc=0.1) + layer(
        "fc1b", type="fc", inputs="data", outputs=9, gpu=1, wc=0.1
    )
    unheard = layer("energy", type="cost.sum2", inputs="fc1a", coeff=0, gpu=0)
    checked = convspec.check(classifier(layers + unheard, leaves="fc1b"))
    assert any(len(op.layers) > 1 for op in lowered(checked).operators)
    assert_placement_changes_nothing(checked)


Change = Callable[[Program], Program]


def other_slice(program: Program) -> Program:
    """The masks of the second replica are those of the first."""
    operators = [
        replace(op, cases=Cases(0, 1, 4)) if op.name.startswith("drop1@1") and op.cases == Cases(1, 2, 4) else op
        for op in program.operators
    ]
    return replace(program, operators=tuple(operators))


def joined_in_another_order(program: Program) -> Program:
    operators = [
        replace(op, inputs=op.inputs[::-1]) if isinstance(op, JoinCases) and "drop1" in op.layers else op
        for op in program.operators
    ]
    return replace(program, operators=tuple(operators))


@pytest.mark.parametrize("change", [other_slice, joined_in_another_order], ids=lambda change: change.__name__)
def test_wrong_programs_are_rejected(change: Change) -> None:
    checked = convspec.check(parted(fc="2"))
    program = lowered(checked, (), PLACED)
    folded = train_steps(checked, lowered(checked))
    assert_same_training(train_steps(checked, program), folded)
    changed = change(program)
    assert changed != program
    with pytest.raises(AssertionError, match="differs by"):
        assert_same_training(train_steps(checked, changed), folded)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("drop1_1.to(gpu2", "drop1_1.detach().to(gpu2"),
        ("parameter.to(device", "parameter.detach().to(device"),
        ("drop1_1.to(gpu2", "(2 * drop1_1).to(gpu2"),
    ],
)
def test_wrong_transfers_are_rejected(right: str, wrong: str) -> None:
    """A gradient that does not come back, one of a replica that does not add up, a value that changes on its way."""
    checked = convspec.check(parted(fc="2"))
    program = lowered(checked, (), PLACED)
    source = emit(program, "net.cfg")
    assert right in source
    net = instantiate(source.replace(right, wrong), "net").double().train()
    with pytest.raises(AssertionError, match="differs by"):
        assert_same_training(train_steps(checked, program, net), train_steps(checked, lowered(checked)))


# whole runs

IN_ONE_PROCESS = (Target.FOLDED, Target.DEVICES)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "towers.cfg").write_text(TOWERS)
    return tmp_path / "towers.cfg"


def go(compiled: Compiled, **options: Any) -> None:
    placed = {"devices": ("cpu", "cpu")} if is_placed(compiled.program) else {}
    train(compiled, display=SilentDisplay(), **placed, **options)


@pytest.mark.parametrize("first", IN_ONE_PROCESS)
@pytest.mark.parametrize("second", IN_ONE_PROCESS)
def test_a_run_goes_on_under_another_target(spec: Path, tmp_path: Path, first: Target, second: Target) -> None:
    """The same first weights, masks, momentum and losses."""
    compiled = {target: compile_spec(spec, target=target) for target in IN_ONE_PROCESS}
    go(compiled[Target.FOLDED], run_dir=tmp_path / "whole", max_steps=16, log_every=1)
    go(compiled[first], run_dir=tmp_path / "part", max_steps=8, log_every=1)
    go(compiled[second], resume=tmp_path / "part", max_steps=16)
    whole, part = weights(tmp_path / "whole"), weights(tmp_path / "part")
    assert set(whole) == set(part)
    assert losses(tmp_path / "part") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    for name, tensor in whole.items():
        torch.testing.assert_close(part[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_run_on_several_devices_goes_on_to_the_bit(spec: Path, tmp_path: Path) -> None:
    compiled = compile_spec(spec, target=Target.DEVICES)
    go(compiled, run_dir=tmp_path / "whole", max_steps=40)
    go(compiled, run_dir=tmp_path / "part", max_steps=30)
    go(compiled, resume=tmp_path / "part", max_steps=40)
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "part")[name]), name


def test_both_targets_have_a_state_of_one_shape() -> None:
    checked = shrunk(spec_path("alexnet-hybrid.cfg"))
    states = [module_of(lowered(checked, (), passes)).state_dict() for passes in PASSES.values()]
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("devices", "code", "words"),
    [
        (["cpu"], "CS750", "is for 2 GPUs, and 1 device would run it"),
        (["cpu"] * 3, "CS750", "is for 2 GPUs, and 3 devices would run it"),
        (["cuda:0", "cuda:7"], "CS710", "there is no device 'cuda:"),
        (["cpu", "nonsense"], "CS710", "there is no device 'nonsense' here"),
    ],
)
def test_devices_that_do_not_fit(spec: Path, devices: list[str], code: str, words: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        train(compile_spec(spec, target=Target.DEVICES), devices=devices, display=SilentDisplay())
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    assert words in diagnostic.message
    assert "--devices" in (diagnostic.help or "")


def test_transfers_say_where_they_go() -> None:
    """In the emitted source, one line each, under the name of the value."""
    program = lowered(convspec.check(spec_path("alexnet.cfg")), (), PLACED)
    source = emit(program, "alexnet.cfg")
    transfers = [op for op in program.operators if isinstance(op, Transfer) and op.source is not None]
    for op in transfers:
        line = f"{op.inputs[0]}_on_{op.gpu} = {op.inputs[0]}.to(gpu{op.gpu}, non_blocking=True)"
        assert f"{line}  # {op.shape}, GPU {op.source} to GPU {op.gpu}\n" in source
    assert source.count(".to(gpu") == len(transfers) + 3 + 2

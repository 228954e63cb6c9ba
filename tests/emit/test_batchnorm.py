"""Batch normalisation, at test and in training, alone and in towers; and the buffers that it brought along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import convspec
from convspec.checker import Checked
from convspec.emit.load import instantiate
from convspec.emit.module import emit
from convspec.passes.merge_towers import merge_towers
from convspec.passes.pipeline import FOLDED
from convspec.program.parameter import Block, Buffer, Permutations
from convspec.program.program import Program
from convspec.program.weighted import BatchNorm
from tests.emit.comparison import (
    all_layers,
    assert_program_is_spec,
    assert_same,
    emitted,
    lowered,
    random_batch,
    random_state,
    run,
)
from tests.emit.small_specs import classifier
from tests.interpreter import interpret

ON_MAPS = "[x]\ntype=batchnorm\ninputs=data\nneuron=relu\n"
ON_A_VECTOR = "[f]\ntype=fc\ninputs=data\noutputs=12\n[x]\ntype=batchnorm\ninputs=f\neps=0.01\nmomentum=0.3\n"
ON_A_VECTOR_AS_MAPS = ON_A_VECTOR + "channels=3\n"
TOWERS = classifier(
    "\n".join(
        f"[conv{tower}]\ntype=conv\ninputs=data\nfilters=3\nfilterSize=3\ngpu={gpu}\n"
        f"[bn{tower}]\ntype=batchnorm\ninputs=conv{tower}\nneuron=relu\n"
        f"[fc{tower}]\ntype=fc\ninputs=bna,bnb\noutputs=4\ngpu={gpu}\n"
        f"[bv{tower}]\ntype=batchnorm\ninputs=fc{tower}\n"
        for gpu, tower in enumerate("ab")
    ),
    leaves="bva,bvb",
)


def assert_trains_as_its_spec(program: Program, checked: Checked) -> None:
    """Outputs, gradients and moved statistics of a step in training."""
    net = emitted(program).train()
    state, batch = random_state(net, 0), random_batch(checked, 5, 1)
    expected = interpret(checked.graph, batch, state, in_training=True)
    assert expected.buffers
    assert_same(run(net, batch, state), expected)


@pytest.mark.parametrize("layers", [ON_MAPS, ON_A_VECTOR, ON_A_VECTOR_AS_MAPS], ids=["maps", "vector", "as maps"])
def test_at_test_and_in_training(layers: str) -> None:
    checked = convspec.check(classifier(layers, leaves="x"))
    for program in (lowered(checked), lowered(checked, all_layers(checked))):
        assert_program_is_spec(program, checked)
        assert_trains_as_its_spec(program, checked)


def test_towers_keep_their_own_statistics() -> None:
    checked = convspec.check(TOWERS)
    program = lowered(checked)
    assert [op.layers for op in program.operators if isinstance(op, BatchNorm)] == [("bna", "bnb"), ("bva", "bvb")]
    assert_program_is_spec(program, checked)
    assert_trains_as_its_spec(program, checked)
    apart = lowered(checked, (), tuple(rewrite for rewrite in FOLDED if rewrite is not merge_towers))
    assert_trains_as_its_spec(apart, checked)
    assert emitted(apart).state_dict().keys() == emitted(program).state_dict().keys()


@pytest.mark.parametrize("key", ["eps", "momentum"])
def test_twins_with_other_numbers_stay_apart(key: str) -> None:
    checked = convspec.check(TOWERS, overrides=[f"bnb.{key}=0.2"])
    program = lowered(checked)
    assert [op.layers for op in program.operators if isinstance(op, BatchNorm)][:2] == [("bna",), ("bnb",)]
    assert_trains_as_its_spec(program, checked)


def test_state_moves_between_placements() -> None:
    """Statistics of a merged module load into the one of towers, and back, the count of batches with them."""
    checked = convspec.check(TOWERS)
    apart = emitted(lowered(checked, (), tuple(rewrite for rewrite in FOLDED if rewrite is not merge_towers)))
    merged = emitted(lowered(checked)).train()
    batch = random_batch(checked, 4, 1)
    merged({"data": torch.from_numpy(batch["data"])})
    state = {name: value.clone() for name, value in merged.state_dict().items()}
    assert {name.rpartition(".")[2] for name in state} == {
        *("weight", "0", "1", "bias"),
        *("running_mean", "running_var", "num_batches_tracked"),
    }
    assert state["bvb.num_batches_tracked"] == 1
    apart.load_state_dict(state)
    again = emitted(lowered(checked))
    again.load_state_dict(apart.state_dict())
    for name, value in again.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_torch_starts_the_same() -> None:
    """A fresh module has the parameters and statistics of a fresh torch.nn.BatchNorm2d, under torch's names."""
    net = convspec.load(classifier(ON_MAPS, leaves="x"))
    own = {name.removeprefix("x."): value for name, value in net.state_dict().items() if name.startswith("x.")}
    theirs = torch.nn.BatchNorm2d(3).state_dict()
    assert list(own) == list(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in own.items())


def test_scales_start_around_one() -> None:
    layers = ON_A_VECTOR.replace("outputs=12", "outputs=400") + "initW=0.1\n"
    net = convspec.load(classifier(layers, leaves="x"))
    scales = net.get_parameter("x.weight")
    assert scales.mean().item() == pytest.approx(1, abs=0.05)
    assert scales.std().item() == pytest.approx(0.1, abs=0.03)


def changed(program: Program, **attributes: object) -> Program:
    operators = tuple(replace(op, **attributes) if isinstance(op, BatchNorm) else op for op in program.operators)
    return replace(program, operators=operators)


@pytest.mark.parametrize("attributes", [{"eps": 1e-4}, {"momentum": 0.2}], ids=str)
def test_wrong_numbers_are_rejected(attributes: dict[str, float]) -> None:
    checked = convspec.check(classifier(ON_MAPS, leaves="x"))
    program = lowered(checked)
    assert_trains_as_its_spec(program, checked)
    with pytest.raises(AssertionError, match="differs by"):
        assert_trains_as_its_spec(changed(program, **attributes), checked)


def test_swapped_statistics_are_rejected() -> None:
    """Blocks of a merged buffer with their rows exchanged."""
    checked = convspec.check(TOWERS)
    program = lowered(checked)
    buffers = []
    for buffer in program.buffers:
        if buffer.name == "bn.running_mean":
            first, second = buffer.blocks
            buffer = buffer._replace(blocks=(first._replace(rows=second.rows), second._replace(rows=first.rows)))
        buffers.append(buffer)
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(replace(program, buffers=tuple(buffers)), checked)


def test_biased_variance_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = convspec.check(classifier(ON_MAPS, leaves="x"))
    net = emitted(lowered(checked)).train()
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    right = interpret(checked.graph, batch, state, in_training=True)
    old, new = state["x.running_var"], right.buffers["x.running_var"]
    count = batch["data"][:, 0].size
    wrong = {**right.buffers, "x.running_var": 0.9 * old + (new - 0.9 * old) * (count - 1) / count}
    with pytest.raises(AssertionError, match="running_var differs"):
        assert_same(run(net, batch, state), replace(right, buffers=wrong))


def test_a_buffer_that_no_module_of_torch_brings() -> None:
    """Indices are drawn with the weights, stand in the state under their own name, and come back from it."""
    checked = convspec.check(classifier("[c]\ntype=conv\ninputs=data\nfilters=4\nfilterSize=3\n", leaves="c"))
    program = lowered(checked)
    drawn = Buffer("c.connections", (2, 3), Permutations(3), (Block("c.connections", (0, 2), (0, 3)),), is_integer=True)
    filled = Buffer("c.level", (2,), 0.25, (Block("c.level", (0, 2)),))
    source = emit(replace(program, buffers=(drawn, filled)), "net.cfg")
    torch.manual_seed(0)
    net = instantiate(source, "net")
    connections = net.state_dict()["c.connections"].clone()
    assert connections.dtype == torch.int64
    assert np.array_equal(np.sort(connections.numpy()), [[0, 1, 2]] * 2)
    assert net.state_dict()["c.level"].tolist() == [0.25, 0.25]
    orders = set()
    for _ in range(30):
        net.reset_parameters()  # type: ignore[operator]
        orders.add(tuple(net.state_dict()["c.connections"].flatten().tolist()))
    assert len(orders) > 10
    net.load_state_dict({**net.state_dict(), "c.connections": connections})
    assert torch.equal(net.state_dict()["c.connections"], connections)

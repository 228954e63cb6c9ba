"""Merging towers changes how a network runs, and nothing of what it computes or of how its parameters are called."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings

import convspec
from convspec.checker import Checked
from convspec.passes.merge_towers import merge_towers
from convspec.passes.pipeline import FOLDED
from convspec.program.operators import Conv2d, Linear, LocalResponseNorm, Slice
from convspec.program.program import Program
from convspec.resources import spec_path
from convspec.testing import specs
from tests.emit.comparison import UNFUSED, all_layers, assert_close, emitted, lowered, random_batch, random_state, run
from tests.emit.small_specs import TWO_TOWERS, classifier

UNMERGED = tuple(rewrite for rewrite in FOLDED if rewrite is not merge_towers)


def assert_merging_changes_nothing(checked: Checked, outputs: list[str]) -> None:
    apart, merged = (emitted(lowered(checked, outputs, passes)) for passes in (UNMERGED, FOLDED))
    state, batch = random_state(apart, 0), random_batch(checked, 2, 1)
    assert {name: tuple(value.shape) for name, value in merged.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }
    expected, actual = run(apart, batch, state), run(merged, batch, state)
    assert actual.values.keys() == expected.values.keys()
    for name, value in expected.values.items():
        assert_close(name, actual.values[name], value)
    for name, gradient in expected.gradients.items():
        assert_close(f"gradient of {name}", actual.gradients[name], gradient)
    for name, value in merged.state_dict().items():
        assert np.array_equal(value.numpy(), state[name]), name


@given(text=specs(towers=2, max_side=10, max_layers=8))
@settings(max_examples=75)
def test_generated_towers(text: str) -> None:
    assert_merging_changes_nothing(convspec.check(text), [])


@given(text=specs(towers=3, max_side=8, max_layers=4))
@settings(max_examples=50)
def test_every_layer_of_three_towers(text: str) -> None:
    checked = convspec.check(text)
    assert_merging_changes_nothing(checked, all_layers(checked))


def weighted(program: Program) -> dict[str, Conv2d | Linear]:
    return {"+".join(op.layers): op for op in program.operators if isinstance(op, Conv2d | Linear)}


def test_alexnet_becomes_one_tower() -> None:
    """Eight weight layers, grouped where the paper has a GPU each, dense where it has a crossing; nothing is cut."""
    program = lowered(convspec.check(spec_path("alexnet.cfg")), passes=UNFUSED)
    operators = weighted(program)
    assert list(operators) == [
        *(f"conv{i}a+conv{i}b" for i in range(1, 6)),
        "fc6a+fc6b",
        "fc7a+fc7b",
        "fc8",
    ]
    groups = [op.groups for op in operators.values() if isinstance(op, Conv2d)]
    assert groups == [1, 2, 1, 2, 2]
    assert [op.shape.channels for op in operators.values()] == [96, 256, 384, 384, 256, 4096, 4096, 1000]
    assert [op.groups for op in program.operators if isinstance(op, LocalResponseNorm)] == [2, 2]
    assert not [op for op in program.operators if isinstance(op, Slice)]
    assert all(len(op.inputs) == 1 for op in operators.values())


@pytest.mark.parametrize(
    ("twin", "different"),
    [
        ("conv1b", "epsW=0.02"),
        ("conv1b", "epsB=0.03"),
        ("conv1b", "momW=0.8"),
        ("conv1b", "wc=0"),
        ("conv1b", "initW=0.2"),
        ("conv1b", "initB=1"),
    ],
)
def test_twins_that_learn_otherwise_stay_apart(twin: str, different: str) -> None:
    """One parameter has one rate, one momentum, one decay and one start."""
    program = lowered(convspec.check(TWO_TOWERS, overrides=[f"{twin}.{different}"]))
    assert "conv1a+conv1b" not in weighted(program)
    assert "conv3a+conv3b" in weighted(program)
    assert_merging_changes_nothing(convspec.check(TWO_TOWERS, overrides=[f"{twin}.{different}"]), [])


def test_a_twin_with_another_neuron() -> None:
    checked = convspec.check(TWO_TOWERS, overrides=["conv2b.neuron=abs"])
    assert "conv2a+conv2b" in weighted(lowered(checked))
    assert_merging_changes_nothing(checked, all_layers(checked))


def test_layers_of_one_gpu_are_no_twins() -> None:
    text = classifier(
        "\n".join(f"[conv{i}]\ntype=conv\ninputs=data\nfilters=4\nfilterSize=3\ngpu=0\n" for i in (1, 2)),
        leaves="conv1,conv2",
    )
    assert set(weighted(lowered(convspec.check(text)))) == {"conv1", "conv2", "scores"}


def test_an_output_in_the_middle_of_a_tower_is_a_slice() -> None:
    checked = convspec.check(TWO_TOWERS)
    program = lowered(checked, ["conv2b"])
    assert [(op.name, op.start, op.stop) for op in program.operators if isinstance(op, Slice)] == [("conv2b", 4, 8)]
    assert_merging_changes_nothing(checked, ["conv2b", "fc4a"])


def test_state_moves_between_placements() -> None:
    """A state_dict of the merged module loads into the one of towers, and back, bit for bit."""
    checked = convspec.check(TWO_TOWERS)
    apart, merged = (emitted(lowered(checked, (), passes)) for passes in (UNMERGED, FOLDED))
    apart.load_state_dict(merged.state_dict())
    state = {name: value.clone() for name, value in merged.state_dict().items()}
    with torch.no_grad():
        for parameter in merged.parameters():
            parameter.zero_()
    merged.load_state_dict(apart.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in merged.state_dict().items())


def test_a_state_that_lacks_a_layer_is_refused() -> None:
    net = emitted(lowered(convspec.check(TWO_TOWERS)))
    state = net.state_dict()
    del state["conv2b.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*conv2"):
        net.load_state_dict(state)


def test_a_network_without_towers_is_left_alone() -> None:
    program = lowered(convspec.check(spec_path("lenet-digits.cfg")), (), ())
    assert merge_towers(program) is program

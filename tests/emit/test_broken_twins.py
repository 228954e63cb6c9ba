"""What the comparison must reject: programs and modules that are wrong in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convspec
from convspec.emit.load import instantiate
from convspec.emit.module import emit
from convspec.program.costs import NegativeLogLikelihood
from convspec.program.features import Dropout
from convspec.program.images import Pad
from convspec.program.operators import Op
from convspec.program.parameter import Block
from convspec.program.program import Program
from convspec.program.weighted import LocallyConnected2d, TreeLinear
from convspec.program.windows import AvgPool2d, FusedLRNPool, LocalResponseNorm, MaxPool2d
from tests.emit.comparison import (
    TOLERANCE,
    UNFUSED,
    assert_close,
    assert_program_is_spec,
    assert_same,
    emitted,
    lowered,
    random_batch,
    random_state,
    run,
    with_blocks,
)
from tests.emit.small_specs import TWO_TOWERS, UNSHARED, classifier, layer
from tests.interpreter import interpret

Change = Callable[[Op], Op]


def norm_window_too_large(op: Op) -> Op:
    """One channel more, each with the weight that it had."""
    assert isinstance(op, LocalResponseNorm)
    return replace(op, size=op.size + 1, alpha=op.alpha * (op.size + 1) / op.size)


def norm_without_tower_border(op: Op) -> Op:
    assert isinstance(op, LocalResponseNorm)
    assert op.groups == 2
    return replace(op, groups=1)


def norm_without_division_by_size(op: Op) -> Op:
    assert isinstance(op, LocalResponseNorm)
    return replace(op, alpha=op.alpha * op.size)


def padding_on_the_other_side(op: Op) -> Op:
    assert isinstance(op, Pad)
    left, right, top, bottom = op.padding
    return replace(op, padding=(right, left, bottom, top))


def mean_for_maximum(op: Op) -> Op:
    assert isinstance(op, MaxPool2d)
    return AvgPool2d(**{name: getattr(op, name) for name in (*SHARED, "kernel_size", "stride", "start")})


def windows_one_pixel_on(op: Op) -> Op:
    assert isinstance(op, MaxPool2d)
    return replace(op, start=(-1, -1))


def dropout_without_rescaling(op: Op) -> Op:
    assert isinstance(op, Dropout)
    return replace(op, rescale_at_test=False)


def cost_at_full_weight(op: Op) -> Op:
    assert isinstance(op, NegativeLogLikelihood)
    return replace(op, coefficient=1.0)


def cost_of_probabilities(op: Op) -> Op:
    """-log softmax of what is a probability already."""
    assert isinstance(op, NegativeLogLikelihood)
    return replace(op, inputs=(op.inputs[0], op.predictions))


def axes_of_the_stride_swapped(op: Op) -> Op:
    assert isinstance(op, LocallyConnected2d)
    height, width = op.stride
    assert height != width
    return replace(op, stride=(width, height))


def axes_of_the_padding_swapped(op: Op) -> Op:
    assert isinstance(op, LocallyConnected2d)
    height, width = op.padding
    assert height != width
    return replace(op, padding=(width, height))


def axes_of_the_start_swapped(op: Op) -> Op:
    assert isinstance(op, MaxPool2d)
    height, width = op.start
    assert height != width
    return replace(op, start=(width, height))


def the_largest_of_other_rows(op: Op) -> Op:
    assert isinstance(op, MaxPool2d)
    return replace(op, kernel_size=(op.kernel_size[0] + 1, op.kernel_size[1]))


SHARED = ("name", "inputs", "shape", "layers", "gpu")
BROKEN: dict[Change, type[Op]] = {
    norm_window_too_large: LocalResponseNorm,
    norm_without_tower_border: LocalResponseNorm,
    norm_without_division_by_size: LocalResponseNorm,
    padding_on_the_other_side: Pad,
    mean_for_maximum: MaxPool2d,
    windows_one_pixel_on: MaxPool2d,
    dropout_without_rescaling: Dropout,
    cost_at_full_weight: NegativeLogLikelihood,
    cost_of_probabilities: NegativeLogLikelihood,
}


def fused_with_relu_behind(op: Op) -> Op:
    assert isinstance(op, FusedLRNPool)
    return replace(op, relu_before=False, relu_after=True)


def fused_without_relu(op: Op) -> Op:
    assert isinstance(op, FusedLRNPool)
    return replace(op, relu_before=False)


def fused_without_norm(op: Op) -> Op:
    assert isinstance(op, FusedLRNPool)
    assert op.norm is not None
    return replace(op, norm=None)


def fused_without_tower_border(op: Op) -> Op:
    assert isinstance(op, FusedLRNPool)
    assert op.norm is not None
    assert op.norm.groups == 2
    return replace(op, norm=op.norm._replace(groups=1))


def fused_one_pixel_on(op: Op) -> Op:
    assert isinstance(op, FusedLRNPool)
    assert op.pool is not None
    return replace(op, pool=op.pool._replace(start=(-1, -1)))


BROKEN_FUSED = (
    fused_with_relu_behind,
    fused_without_relu,
    fused_without_norm,
    fused_without_tower_border,
    fused_one_pixel_on,
)

BROKEN_UNSHARED: dict[Change, type[Op]] = {
    axes_of_the_stride_swapped: LocallyConnected2d,
    axes_of_the_padding_swapped: LocallyConnected2d,
    axes_of_the_start_swapped: MaxPool2d,
    the_largest_of_other_rows: MaxPool2d,
}


def with_change(program: Program, change: Change, kind: type[Op]) -> Program:
    """The program with the first operator of a kind changed."""
    first = next(op for op in program.operators if isinstance(op, kind))
    return replace(program, operators=tuple(change(op) if op is first else op for op in program.operators))


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_wrong_operators_are_rejected(change: Change) -> None:
    checked = convspec.check(TWO_TOWERS)
    program = lowered(checked, passes=UNFUSED)
    assert_program_is_spec(program, checked)
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(with_change(program, change, BROKEN[change]), checked)


@pytest.mark.parametrize("change", BROKEN_FUSED, ids=lambda change: change.__name__)
def test_wrong_fused_operators_are_rejected(change: Change) -> None:
    checked = convspec.check(TWO_TOWERS)
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(with_change(program, change, FusedLRNPool), checked)


@pytest.mark.parametrize("change", BROKEN_UNSHARED, ids=lambda change: change.__name__)
def test_wrong_operators_of_unshared_filters_are_rejected(change: Change) -> None:
    checked = convspec.check(UNSHARED)
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(with_change(program, change, BROKEN_UNSHARED[change]), checked)


@pytest.mark.parametrize("parameter", ["conv1.bias", "local2.weight", "local2.bias", "local3.bias", "split4.weight"])
def test_swapped_towers_of_unshared_filters_are_rejected(parameter: str) -> None:
    checked = convspec.check(UNSHARED)
    program = lowered(checked)
    first, second = program.parameter[parameter].blocks
    swapped = (Block(first.name, second.rows, first.columns), Block(second.name, first.rows, second.columns))
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(with_blocks(program, parameter, swapped), checked)


@pytest.mark.parametrize("parents", [(4, 4, 5, 5, 6, 6, -1), (4, 5, 4, 5, 6, 6, -1), (6, 4, 5, 5, 6, 6, -1)])
def test_another_tree_is_rejected(parents: tuple[int, ...]) -> None:
    """The right one passes; classes under other nodes do not."""
    tree = '{"children": [[], [], [], [], [0, 1], [2, 3], [4, 5]], "root": 6}'
    checked = convspec.check(classifier(layer("x", type="treefc", inputs="data", tree=tree), leaves="x", image="2x2x2"))
    program = lowered(checked)
    changed = with_change(program, lambda op: replace(op, parents=parents), TreeLinear)
    if changed == program:
        assert_program_is_spec(program, checked)
        return
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(changed, checked)


def test_weights_that_are_not_shared_are_rejected() -> None:
    """A module in which only the gradient of the first reader comes back."""
    layers = layer("a", type="fc", inputs="data", outputs=5) + layer(
        "b", type="fc", inputs="data", outputs=5, weightSource="a", neuron="abs"
    )
    checked = convspec.check(classifier(layers, leaves="a,b"))
    program = lowered(checked)
    source = emit(program, "net.cfg")
    assert source.count("self.a.weight") == 1
    net = instantiate(source.replace("self.a.weight", "self.a.weight.detach()"), "net").double().eval()
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    expected = interpret(checked.graph, batch, state)
    assert_same(run(emitted(program), batch, state), expected)
    with pytest.raises(AssertionError, match=r"gradient of a\.weight differs by"):
        assert_same(run(net, batch, state), expected)


def test_other_connections_are_rejected() -> None:
    """A module whose second group sees the channels of the first."""
    keys = {"filters": 2, "filterSize": 2, "groups": 2, "randSparse": 1}
    checked = convspec.check(classifier(layer("x", type="conv", inputs="data", **keys), leaves="x", image="6x4x4"))
    net = emitted(lowered(checked))
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    expected = interpret(checked.graph, batch, state)
    assert_same(run(net, batch, state), expected)
    exchanged = {**state, "x.connections": np.roll(state["x.connections"], 3)}
    with pytest.raises(AssertionError, match="differs by"):
        assert_same(run(net, batch, exchanged), expected)


def test_filters_in_another_order_of_windows_are_rejected() -> None:
    """A module whose local filters lie column by column, not row by row."""
    checked = convspec.check(UNSHARED)
    net = emitted(lowered(checked))
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    expected = interpret(checked.graph, batch, state)
    assert_same(run(net, batch, state), expected)
    turned = {name: value.swapaxes(-1, -2) if name.startswith("local3") else value for name, value in state.items()}
    with pytest.raises(AssertionError, match="differs by"):
        assert_same(run(net, batch, turned), expected)


@pytest.mark.parametrize("weight", ["conv3.weight", "fc4.weight"])
def test_swapped_columns_are_rejected(weight: str) -> None:
    """The second tower names its inputs in the other order: its columns without that order."""
    checked = convspec.check(TWO_TOWERS)
    program = lowered(checked)
    first, second, third, fourth = program.parameter[weight].blocks
    assert third.name.endswith(".weights.1" if third.columns[0] == 0 else ".weights.0")
    swapped = (
        first,
        second,
        Block(third.name, third.rows, fourth.columns),
        Block(fourth.name, fourth.rows, third.columns),
    )
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(with_blocks(program, weight, swapped), checked)


@pytest.mark.parametrize("weight", ["conv1.weight", "conv2.weight", "conv3.bias"])
def test_swapped_towers_are_rejected(weight: str) -> None:
    checked = convspec.check(TWO_TOWERS)
    program = lowered(checked)
    blocks = program.parameter[weight].blocks
    rotated = tuple(
        Block(block.name, other.rows, block.columns) for block, other in zip(blocks, blocks[::-1], strict=True)
    )
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(with_blocks(program, weight, rotated), checked)


def without_bias(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    bias = module.bias.detach()
    return output - (bias[:, None, None] if output.ndim == 4 else bias)


def with_half_its_gradient(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """Equal values, wrong slopes."""
    return output / 2 + output.detach() / 2


@pytest.mark.parametrize("name", ["conv1", "conv2", "conv3", "fc4", "scores"])
@pytest.mark.parametrize("hook", [without_bias, with_half_its_gradient], ids=lambda hook: hook.__name__)
def test_wrong_modules_are_rejected(name: str, hook: Callable[..., Tensor]) -> None:
    checked = convspec.check(TWO_TOWERS)
    net = emitted(lowered(checked, passes=UNFUSED))
    net.get_submodule(name).register_forward_hook(hook)
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    with pytest.raises(AssertionError, match="differs by"):
        assert_same(run(net, batch, state), interpret(checked.graph, batch, state))


def test_the_tolerance_is_what_it_says() -> None:
    """A single number that is wrong in the ninth digit is rejected; one that is wrong in the twelfth is not."""
    expected = np.random.default_rng(0).normal(size=(50, 50))
    expected[0, 0] = np.abs(expected).max()
    for error, is_right in ((TOLERANCE / 100, True), (TOLERANCE * 10, False)):
        actual = expected.copy()
        actual[0, 0] *= 1 + error
        if is_right:
            assert_close("x", actual, expected)
        else:
            with pytest.raises(AssertionError, match="x differs by"):
                assert_close("x", actual, expected)


def test_what_is_not_a_number_is_rejected() -> None:
    with pytest.raises(AssertionError):
        assert_close("x", np.array([np.nan]), np.array([1.0]))
    with pytest.raises(AssertionError, match="not finite"):
        assert_close("x", np.array([np.nan]), np.array([np.nan]))


def test_float32_is_rejected() -> None:
    """The comparison is one of float64: the same module in single precision does not pass."""
    checked = convspec.check(TWO_TOWERS)
    net = emitted(lowered(checked))
    state, batch = random_state(net, 0), random_batch(checked, 2, 1)
    expected = interpret(checked.graph, batch, state)
    net.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    outputs = net.float()({"data": torch.from_numpy(batch["data"]).float()})
    with pytest.raises(AssertionError, match="probs differs by"):
        assert_close("probs", outputs["probs"].detach().double().numpy(), expected.values["probs"])

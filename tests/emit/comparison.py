"""A compiled network and the interpreter on the same random numbers: what the tests of the emitter compare."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import convspec
from convspec.checker import Checked
from convspec.emit.load import instantiate
from convspec.emit.module import emit
from convspec.graph.lower import lower
from convspec.layers.costs import LogisticRegression, MultiSoftmax
from convspec.layers.data import Data
from convspec.passes.fuse_lrn_pool import fuse_lrn_pool
from convspec.passes.pipeline import FOLDED, Pass, run_passes
from convspec.program.parameter import Block, Parameter
from convspec.program.program import Program
from tests.interpreter import Array, Interpretation, interpret

# The pipeline with normalisation and pooling as operators of their own.
UNFUSED = tuple(rewrite for rewrite in FOLDED if rewrite is not fuse_lrn_pool)
TOLERANCE = 1e-10
# Numbers below this are compared as if they were as large: what cancels to nothing has no digits to agree in.
FLOOR = 1e-3


@dataclass(frozen=True)
class Run:
    """What an emitted module gave: values by layer, gradients of its objective by parameter and by data layer, and what
    its state_dict holds afterwards."""

    values: Mapping[str, Array]
    objective: float
    gradients: Mapping[str, Array]
    state: Mapping[str, Array]


def lowered(checked: Checked, outputs: Sequence[str] = (), passes: tuple[Pass, ...] = FOLDED) -> Program:
    """The program of a network after `passes`, each of them verified."""
    program = lower("net", checked.graph, checked.shapes, checked.placement, outputs)
    return run_passes(program, passes, after=lambda name, program: None)


def emitted(program: Program) -> nn.Module:
    """The module of a program, in float64 and at test."""
    return instantiate(emit(program, "net.cfg"), "net").double().eval()


def with_blocks(program: Program, name: str, blocks: Sequence[Block]) -> Program:
    """The program with other blocks of one parameter."""
    changed = [
        Parameter(p.name, p.shape, p.initialization, p.update, tuple(blocks)) if p.name == name else p
        for p in program.parameters
    ]
    return replace(program, parameters=tuple(changed))


def all_layers(checked: Checked) -> list[str]:
    """Every layer that can be an output and is none by itself."""
    return [layer.name for layer in checked.graph.layers.values() if layer.input_names and not layer.is_cost]


def random_state(net: nn.Module, seed: int) -> dict[str, Array]:
    """Parameters and buffers by canonical name, such that values keep their magnitude through the network; a function of
    `seed`, whatever `net` has drawn."""
    generator = np.random.default_rng(seed)
    state = {}
    for name, value in sorted(net.state_dict().items()):
        if not value.is_floating_point():
            is_drawn = ".connections" in name
            state[name] = (
                generator.permutation(np.sort(value.numpy())) if is_drawn else np.zeros(tuple(value.shape), np.int64)
            )
            continue
        fan_in = value[0].numel() if value.ndim > 1 else 4
        state[name] = generator.normal(size=tuple(value.shape)) / np.sqrt(fan_in)
        if name.endswith("running_var"):
            state[name] = 0.5 + np.abs(state[name])
    return state


def random_batch(checked: Checked, cases: int, seed: int) -> dict[str, NDArray[np.generic]]:
    """Images, labels where costs of a label alone read them, and targets in [0, 1], many of them 0 or 1."""
    generator = np.random.default_rng(seed)
    rows = {layer.name: layer.shape for layer in checked.layers}
    batch: dict[str, NDArray[np.generic]] = {}
    for layer in checked.graph.layers.values():
        if not isinstance(layer, Data):
            continue
        readers = checked.graph.readers[layer.name]
        of_labels = [reader for reader in readers if isinstance(reader, LogisticRegression | MultiSoftmax)]
        is_first = all(reader.input_names[0] == layer.name for reader in readers)
        if prod(rows[layer.name]) == 1 and len(of_labels) == len(readers) and is_first:
            classes = min((prod(rows[cost.input_names[1]]) for cost in of_labels), default=2)
            batch[layer.name] = generator.integers(0, classes, cases)
        elif any(reader.is_cost and len(reader.input_names) == 2 for reader in readers) and is_first:
            targets = generator.uniform(-1, 2, size=(cases, *rows[layer.name])).clip(0, 1)
            batch[layer.name] = targets.round() if of_labels else targets
        else:
            matrix = checked.shapes.inferences[layer.name].matrix
            dims = rows[layer.name] if matrix is None else matrix.dims
            batch[layer.name] = generator.normal(size=(cases, *dims))
    return batch


def run(net: nn.Module, batch: Mapping[str, NDArray[np.generic]], state: Mapping[str, Array]) -> Run:
    """Forward and backward with these parameters. The module stays in its mode."""
    net.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    inputs = {name: torch.from_numpy(value) for name, value in batch.items()}
    images = {name: value.requires_grad_() for name, value in inputs.items() if value.is_floating_point()}
    outputs = net({**inputs, **images})
    objective = net.objective(outputs)
    objective.backward()
    gradients = {**canonical_gradients(net), **{name: _gradient(image) for name, image in images.items()}}
    values = {name: value.detach().numpy() for name, value in outputs.items()}
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    return Run(values, objective.item(), gradients, state)


def canonical_gradients(net: nn.Module) -> dict[str, Array]:
    """Gradients under the names of the spec's layers, through the hooks that name parameters so."""
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter, own in zip(twin.parameters(), net.parameters(), strict=True):
            parameter.copy_(torch.from_numpy(_gradient(own)))
        for buffer in twin.buffers():
            buffer.zero_()
    return {name: value.numpy() for name, value in twin.state_dict().items()}


def _gradient(tensor: Tensor) -> Array:
    gradient = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
    return gradient.numpy()


def assert_close(name: str, actual: Array, expected: Array) -> None:
    """Equal to ten digits of the largest number among them."""
    assert actual.shape == expected.shape, f"{name} is {actual.shape}, not {expected.shape}"
    assert np.isfinite(expected).all(), f"{name} is not finite"
    error = np.abs(actual - expected).max() / max(np.abs(expected).max(), FLOOR)
    assert error <= TOLERANCE, f"{name} differs by {error:.1e} of its largest number"


def assert_same(actual: Run, expected: Interpretation) -> None:
    """All values that the module gave, the objective, and all gradients."""
    for name, value in actual.values.items():
        wanted = expected.values[name]
        assert_close(name, value, wanted[0] if value.ndim == 0 else wanted)
    assert_close("objective", np.array(actual.objective), np.array(expected.objective))
    assert actual.gradients.keys() == expected.gradients.keys() - _labels(expected)
    for name, gradient in actual.gradients.items():
        assert_close(f"gradient of {name}", gradient, expected.gradients[name])
    for name, value in expected.buffers.items():
        assert_close(name, actual.state[name], value)


def _labels(expected: Interpretation) -> set[str]:
    return {name for name, value in expected.values.items() if value.ndim == 1 and name in expected.gradients}


def assert_program_is_spec(program: Program, checked: Checked, seed: int = 0, cases: int = 2) -> None:
    """The emitted module of `program` computes what the interpreter computes of the graph."""
    net = emitted(program)
    state, batch = random_state(net, seed), random_batch(checked, cases, seed + 1)
    assert_same(run(net, batch, state), interpret(checked.graph, batch, state))


def assert_spec_is_right(text: str, seed: int = 0) -> None:
    checked = convspec.check(text)
    assert checked.ok, checked.diagnostics
    assert_program_is_spec(lowered(checked), checked, seed)
    assert_program_is_spec(lowered(checked, all_layers(checked)), checked, seed)

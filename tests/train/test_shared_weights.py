"""Weights that several layers read through, in the trainer: one rule, the owner's, for the gradients of all."""

from __future__ import annotations

import pytest
import torch

import convspec
from convspec.compiler import compile_spec
from convspec.emit.load import instantiate
from convspec.train.optimizer import PaperSGD
from tests.emit.small_specs import classifier, layer

LAYERS = layer("a", type="fc", inputs="data", outputs=4, epsW=0.5, momW=0.75, wc=0.25) + layer(
    "b", type="fc", inputs="data", outputs=4, weightSource="a", epsW=0.001, momW=0, wc=0.125, neuron="tanh[1,1]"
)
APART = LAYERS.replace("weightSource=a", "")


def gradients(text: str, state: dict[str, torch.Tensor], images: torch.Tensor) -> dict[str, torch.Tensor]:
    compiled = compile_spec(text)
    net = instantiate(compiled.source, compiled.name).double()
    net.load_state_dict(state)
    net.objective(net({"data": images, "labels": torch.tensor([0, 3])})).backward()
    return {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}


def test_the_owner_s_rule_moves_them_by_the_sum_of_all_gradients() -> None:
    """Against two layers with weights of their own that are equal: v <- 0.75 v - 0.25 rate w - rate (g_a + g_b)."""
    shared, apart = (classifier(layers, leaves="a,b", image="2x3x3") for layers in (LAYERS, APART))
    compiled = compile_spec(shared)
    torch.manual_seed(0)
    net = instantiate(compiled.source, compiled.name).double()
    optimizer = PaperSGD(compiled.program, net)
    w, v = net.get_parameter("a.weight").detach().clone(), torch.zeros(4, 18, dtype=torch.float64)
    for step in range(3):
        images = torch.randn(2, 2, 3, 3, dtype=torch.float64)
        state = {name: value.clone() for name, value in net.state_dict().items()}
        found = gradients(apart, {**state, "b.weight": state["a.weight"]}, images)
        v = 0.75 * v - 0.25 * 0.5 * w - 0.5 * (found["a.weight"] + found["b.weight"])
        w = w + v
        net.objective(net({"data": images, "labels": torch.tensor([0, 3])})).backward()
        optimizer.step(step)
        optimizer.zero_grad()
        torch.testing.assert_close(net.get_parameter("a.weight").detach(), w, rtol=1e-12, atol=1e-12)
        assert found["b.weight"].abs().max() > 1e-6


def test_a_checkpoint_has_them_once() -> None:
    compiled = compile_spec(classifier(LAYERS, leaves="a,b", image="2x3x3"))
    net = instantiate(compiled.source, compiled.name)
    optimizer = PaperSGD(compiled.program, net)
    net.objective(net({"data": torch.randn(2, 2, 3, 3), "labels": torch.tensor([0, 3])})).backward()
    optimizer.step(0)
    buffers, _ = optimizer.momentum()
    assert sorted(buffers) == sorted(net.state_dict())
    assert "b.weight" not in buffers


@pytest.mark.parametrize(
    ("kind", "keys"),
    [("conv", {"filters": 4, "filterSize": 3}), ("fc", {"outputs": 4}), ("sfc", {"outputs": 2, "parts": 3})],
)
def test_check_counts_them_once(kind: str, keys: dict[str, object]) -> None:
    layers = layer("a", type=kind, inputs="data", **keys) + layer(
        "b", type=kind, inputs="data", weightSource="a", **keys
    )
    rows = {row.name: row for row in convspec.check(classifier(layers, leaves="a,b")).layers}
    assert rows["a"].weights > 0
    assert (rows["b"].weights, rows["b"].biases, rows["b"].macs) == (0, rows["a"].biases, rows["a"].macs)
    assert (rows["a"].shares, rows["b"].shares) == ((), ("b[0] = a[0]",))


def test_the_nodes_of_a_tree_learn_by_the_classes_below_them() -> None:
    """By the 2012 code (softmaxtree.cu:68-143): v <- m v - epsW/s (g + wc/s w) for a node above s classes, g being the sum
    of the gradients below it; the class weights are W @ A at every step."""
    tree = '{"children": [[], [], [], [], [0, 1], [2, 3, 4]], "root": 5}'
    above = torch.tensor([*torch.eye(4).tolist(), [1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.float64)
    counts = above.sum(1, keepdim=True)
    text = classifier(
        layer("x", type="treefc", inputs="data", tree=tree, epsW=0.5, momW=0.75, wc=0.25, neuron="tanh[1,1]"),
        leaves="x",
        image="2x3x3",
    )
    plain = classifier(layer("x", type="fc", inputs="data", outputs=4, neuron="tanh[1,1]"), leaves="x", image="2x3x3")
    compiled = compile_spec(text)
    torch.manual_seed(0)
    net = instantiate(compiled.source, compiled.name).double()
    optimizer = PaperSGD(compiled.program, net)
    w, v = net.get_parameter("x.weight").detach().clone(), torch.zeros(6, 18, dtype=torch.float64)
    for step in range(3):
        images = torch.randn(2, 2, 3, 3, dtype=torch.float64)
        state = {name: value.clone() for name, value in net.state_dict().items()}
        of_leaves = gradients(plain, {**state, "x.weight": above.T @ w}, images)["x.weight"]
        v = 0.75 * v - 0.5 / counts * (above @ of_leaves + 0.25 / counts * w)
        w = w + v
        net.objective(net({"data": images, "labels": torch.tensor([0, 3])})).backward()
        optimizer.step(step)
        optimizer.zero_grad()
        torch.testing.assert_close(net.get_parameter("x.weight").detach(), w, rtol=1e-12, atol=1e-12)

"""`TreeLinear` against the matrix product that defines it, and the trees that it refuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convspec_kernels import TreeLinear

BALANCED = (4, 4, 5, 5, 6, 6, -1)


@st.composite
def trees(draw: st.DrawFn) -> list[int]:
    """Parents of classes, then of inner nodes, each of which has something below it."""
    nodes, parents = list(range(draw(st.integers(1, 6)))), {}
    count = len(nodes)
    while len(nodes) > 1 or draw(st.booleans()):
        below = draw(st.lists(st.sampled_from(nodes), min_size=1, unique=True))
        parents |= dict.fromkeys(below, count)
        nodes = [node for node in nodes if node not in below] + [count]
        count += 1
        if count > 20:
            parents |= dict.fromkeys(nodes, count)
            nodes, count = [count], count + 1
            break
    return [parents.get(node, -1) for node in range(count)]


def ancestry(parents: Sequence[int], classes: int) -> np.ndarray:
    """A[n, l]: 1 where node n is leaf l or above it."""
    above = np.zeros((len(parents), classes))
    for leaf in range(classes):
        node = leaf
        while node != -1:
            above[node, leaf] = 1
            node = parents[node]
    return above


@given(parents=trees(), seed=st.integers(0, 99))
def test_is_the_product_with_the_weights_of_the_leaves(parents: list[int], seed: int) -> None:
    net = TreeLinear(5, parents).double()
    random = np.random.default_rng(seed)
    weight, bias = random.normal(size=(len(parents), 5)), random.normal(size=net.out_features)
    x, gradient = random.normal(size=(3, 5)), random.normal(size=(3, net.out_features))
    net.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    data = torch.from_numpy(x).requires_grad_()
    y = net(data)
    y.backward(torch.from_numpy(gradient))
    above = ancestry(parents, net.out_features)
    np.testing.assert_allclose(y.detach().numpy(), x @ weight.T @ above + bias, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(net.weight.grad.numpy(), above @ gradient.T @ x, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(net.bias.grad.numpy(), gradient.sum(0), rtol=1e-12)
    np.testing.assert_allclose(data.grad.numpy(), gradient @ (above.T @ weight), rtol=1e-12, atol=1e-12)


def test_leaves_alone_are_rejected() -> None:
    """The same comparison fails for a plain linear layer of the leaves, and for another tree."""
    net = TreeLinear(5, BALANCED).double()
    weight = np.random.default_rng(0).normal(size=(7, 5))
    net.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.zeros(4, dtype=torch.float64)})
    x = np.random.default_rng(1).normal(size=(3, 5))
    y = net(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(y, x @ weight.T @ ancestry(BALANCED, 4))
    assert not np.allclose(y, x @ weight[:4].T)
    assert not np.allclose(y, x @ weight.T @ ancestry((4, 5, 4, 5, 6, 6, -1), 4))


def test_the_state_is_the_weights_alone() -> None:
    net = TreeLinear(5, BALANCED)
    assert list(net.state_dict()) == ["weight", "bias"]
    assert "in_features=5, out_features=4, nodes=7" in repr(net)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    x = torch.randn(2, 5)
    torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((), "one root, -1, not 0"),
        ((-1, -1), "one root, -1, not 2"),
        ((2, 2, 7), "nodes below 3"),
        ((-1, 0, 0), "must be the first nodes"),
        ((3, -1, 1, 2, 3), "must be the first nodes"),
        ((-1, 2, 1), "no class below node 1"),
        ((2, -1, 3, 2), "round in a circle"),
        ((3, 3, -1, 4, 3), "round in a circle"),
    ],
)
def test_what_is_no_tree(parents: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeLinear(5, parents)

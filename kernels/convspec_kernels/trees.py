"""Linear layers over classes whose weights a tree ties together. Plain torch, in sight of autograd."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TreeLinear(nn.Module):
    """Scores of classes that are the leaves of a tree: the weights of a class are the sum of those on its way to the root.

        y[n, c] = bias[c] + x[n] . sum of weight[node] for node in {c, parent(c), parent(parent(c)), ..., root}

    Classes under one node have its weights in common, so that they learn from one another; each also has weights of its
    own. The gradient of a node is the sum of those of the nodes below it. The sums are taken once a call; beside them it
    keeps the way up of each class, as numbers of nodes.

    Args:
        in_features: numbers a case.
        parents: of each node, counted from 0, and -1 for the root. The C nodes that are no parent are the classes; they
            are nodes 0 to C - 1.

    Attributes:
        weight: (nodes, in_features); zero until it is set.
        bias: (C,), the same.

    Raises:
        ValueError: a parent that is no node, nodes that go round in a circle, not one root, or a class behind a parent.

    In state_dict are weight and bias alone: the tree is what the module was made from.
    """

    nodes: Tensor
    offsets: Tensor

    def __init__(self, in_features: int, parents: Sequence[int]) -> None:
        super().__init__()
        paths = leaf_paths(parents)
        self.in_features, self.out_features = in_features, len(paths)
        self.weight = nn.Parameter(torch.zeros(len(parents), in_features))
        self.bias = nn.Parameter(torch.zeros(len(paths)))
        ends = torch.tensor([0, *map(len, paths)]).cumsum(0)
        self.register_buffer("nodes", torch.tensor([node for path in paths for node in path]), persistent=False)
        self.register_buffer("offsets", ends[:-1], persistent=False)

    def leaf_weight(self) -> Tensor:
        """The weights of the classes, (C, in_features): those of the plain linear layer that this one is."""
        return F.embedding_bag(self.nodes, self.weight, self.offsets, mode="sum")

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in_features). Returns (N, C)."""
        return F.linear(x, self.leaf_weight(), self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, nodes={len(self.weight)}"


def leaf_paths(parents: Sequence[int]) -> list[list[int]]:
    """For each class the nodes from it to the root, itself first. Arguments and errors as those of `TreeLinear`."""
    count = len(parents)
    inner = set(parents) - {-1}
    roots = [node for node, parent in enumerate(parents) if parent == -1]
    if len(roots) != 1 or any(not 0 <= parent < count for parent in inner):
        raise ValueError(f"parents must name nodes below {count} and have one root, -1, not {len(roots)}")
    classes = count - len(inner)
    if any(node in inner for node in range(classes)):
        raise ValueError(f"the {classes} classes must be the first nodes, and one of these is the parent of another")
    paths = []
    for leaf in range(classes):
        path = [leaf]
        while parents[path[-1]] != -1:
            path.append(parents[path[-1]])
            if len(path) > count:
                raise ValueError(f"the way up from node {leaf} goes round in a circle")
        paths.append(path)
    unused = set(range(count)).difference(*paths)
    if unused:
        raise ValueError(f"there is no class below node {min(unused)}")
    return paths

"""A tree of classes: what `tree=` of a treefc layer holds or names, read and checked.

    {"children": [[], [], [], [], [0, 1], [2, 3], [4, 5]], "root": 6}

`children` has a list for each node, the nodes below it; the leaves are the classes, nodes 0 to C - 1 in their order, and
the inner nodes follow. From the root every node is reached once. It is `meta['tree']` and `meta['all_wnids']['gproot']` of
the 2012 code's data (layer.py:888-908).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

MAXIMUM_BYTES = 2**24


class TreeError(Exception):
    """What is wrong with a tree, as a clause, and what to do about it."""

    def __init__(self, problem: str, help: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.help = help


class ClassTree(NamedTuple):
    """children: of each node; empty for the classes, which come first. root: the node above all others."""

    children: tuple[tuple[int, ...], ...]
    root: int

    @property
    def classes(self) -> int:
        return sum(not below for below in self.children)

    @property
    def parents(self) -> tuple[int, ...]:
        """Of each node; -1 for the root."""
        parents = [-1] * len(self.children)
        for node, below in enumerate(self.children):
            for child in below:
                parents[child] = node
        return tuple(parents)

    @property
    def leaf_counts(self) -> tuple[int, ...]:
        """How many classes there are below each node, itself included."""
        counts = [int(not below) for below in self.children]
        for node in reversed(self._from_root()):
            counts[node] += sum(counts[child] for child in self.children[node])
        return tuple(counts)

    def _from_root(self) -> list[int]:
        """Each node after the one above it."""
        order = [self.root]
        for node in order:
            order.extend(self.children[node])
        return order

    def as_text(self) -> str:
        """As `tree=` may hold it, on one line."""
        return json.dumps({"children": self.children, "root": self.root}, separators=(",", ":"))


def read_tree(value: str, beside: str) -> ClassTree:
    """The tree that `value` is, or that stands in the file that it names, relative to the folder of the file `beside`.

    Raises TreeError, and OSError for a file that cannot be read.
    """
    text = value if value.startswith("{") else _read(Path(beside).parent / value)
    return checked_tree(_parsed(text))


def _read(path: Path) -> str:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise TreeError("it is neither a file nor a folder, and reading it might never end", "name a file")
    with path.open("rb") as stream:
        data = stream.read(MAXIMUM_BYTES + 1)
    if len(data) > MAXIMUM_BYTES:
        raise TreeError(f"the file is longer than {MAXIMUM_BYTES} bytes", "name the file of the tree alone")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise TreeError("the file is not text", _FORM) from None


_FORM = 'write {"children": [[], [], [0, 1]], "root": 2}: a list of nodes for each node, and the node above all'


def _parsed(text: str) -> ClassTree:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f" in line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise TreeError(f"it is not JSON{place}", _FORM) from None
    if not isinstance(value, dict) or not isinstance(value.get("children"), list) or not _is_node(value.get("root")):
        raise TreeError("it is no object with children and root", _FORM)
    for node, below in enumerate(value["children"]):
        if not isinstance(below, list) or not all(map(_is_node, below)):
            raise TreeError(f"the children of node {node} are no list of nodes", _FORM)
    return ClassTree(tuple(map(tuple, value["children"])), value["root"])


def _is_node(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def checked_tree(tree: ClassTree) -> ClassTree:
    """The tree itself. Raises TreeError where it is none, or where the classes do not come first."""
    count = len(tree.children)
    for node, parent in [
        (tree.root, None),
        *((child, node) for node, below in enumerate(tree.children) for child in below),
    ]:
        if not 0 <= node < count:
            where = "the root is" if parent is None else f"{parent} has the child"
            raise TreeError(
                f"{where} {node}, and there are {count} nodes, 0 to {count - 1}", "nodes are counted from 0"
            )
    _require_each_once(tree)
    first_inner = next((node for node, below in enumerate(tree.children) if below), count)
    late = next((node for node in range(first_inner, count) if not tree.children[node]), None)
    if late is not None:
        raise TreeError(
            f"node {late} has no children and stands behind node {first_inner}, which has some",
            "the nodes without children are the classes: give them the first numbers, in the order of the classes",
        )
    return tree


def _require_each_once(tree: ClassTree) -> None:
    above: dict[int, int] = {tree.root: -1}
    order = [tree.root]
    for node in order:
        for child in tree.children[node]:
            if child in above:
                twice = "is above itself" if child == tree.root else f"stands below {_listed(above[child], node)}"
                raise TreeError(f"node {child} {twice}", "each node has one parent, and the root none")
            above[child] = node
            order.append(child)
    missing = [node for node in range(len(tree.children)) if node not in above]
    if missing:
        more = f" and {len(missing) - 1} more nodes are" if len(missing) > 1 else " is"
        raise TreeError(
            f"node {missing[0]}{more} not below the root, {tree.root}", "name each node in the children of another one"
        )


def _listed(first: int, second: int) -> str:
    return f"{first} twice" if first == second else f"both {first} and {second}"

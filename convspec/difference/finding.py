"""One difference, and how equal differences of several layers become one: towers say everything twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from convspec.diagnostics import listed

_MANY = 4


class Category(Enum):
    """What a difference is about, in the order in which a reader wants to know."""

    LAYERS = "layers"
    ORDER = "order and wiring"
    NUMERICS = "numerics"
    SHAPES = "shapes"
    PARAMETERS = "hyper-parameters"
    PLACEMENT = "GPUs"
    SETTINGS = "settings"


class Change(Enum):
    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    REPLACED = "replaced"
    MOVED = "moved"
    REWIRED = "rewired"
    CHANGED = "changed"


class LayerPair(NamedTuple):
    """A layer by its name in each network; None where it is not there."""

    a: str | None
    b: str | None

    def __str__(self) -> str:
        if self.a is None or self.b is None or self.a == self.b:
            return self.a or self.b or ""
        return f"{self.a}/{self.b}"


class Difference(NamedTuple):
    """layers: those that it is true of, in file order; none for settings of the whole network.

    key: as a spec spells it, `conv.initW` without the layer, or empty. before, after: what it says in either network;
    None where there is no such thing. text: a sentence for people, without the names of the layers and the values.
    is_everywhere: it is true of every layer that has the key, and those are many.
    """

    category: Category
    change: Change
    layers: tuple[LayerPair, ...]
    key: str
    before: str | None
    after: str | None
    text: str
    is_everywhere: bool = False


class Finding(NamedTuple):
    """A difference of one layer. text: with `{}` for each of `names`, which differ from layer to layer."""

    category: Category
    change: Change
    layer: LayerPair | None
    key: str = ""
    before: str | None = None
    after: str | None = None
    text: str = ""
    names: tuple[str, ...] = ()


def gather(findings: Iterable[Finding], holders: Mapping[str, int]) -> tuple[Difference, ...]:
    """Findings that say the same of several layers as one difference, by category, in the order of their first.

    holders: how many layers have each key, in both networks.
    """
    groups: dict[Finding, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding._replace(layer=None, names=()), []).append(finding)
    ranks = {category: rank for rank, category in enumerate(Category)}
    return tuple(
        _difference(group, holders) for group in sorted(groups.values(), key=lambda group: ranks[group[0].category])
    )


def _difference(group: list[Finding], holders: Mapping[str, int]) -> Difference:
    first = group[0]
    names = (listed(column) for column in zip(*(finding.names for finding in group), strict=True))
    layers = tuple(finding.layer for finding in group if finding.layer is not None)
    is_everywhere = len(layers) >= _MANY and first.change is Change.CHANGED and holders.get(first.key) == len(layers)
    text = first.text.format(*names)
    return Difference(first.category, first.change, layers, first.key, first.before, first.after, text, is_everywhere)

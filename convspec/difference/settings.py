"""What differs beside the layers: `[@net]`, `[@train]`, `[@data]`, and the dialect that learning follows."""

from __future__ import annotations

from collections.abc import Iterator

from convspec.checker import Checked
from convspec.difference.finding import Category, Change, Finding
from convspec.difference.written import written
from convspec.layers.base import Rounding
from convspec.layers.keyed import Keyed

# Keys of `[@net]` that are told of elsewhere, or change nothing.
_TOLD = frozenset({"input", "name", "note", "rounding", "dialect", "extends"})


def find_settings(a: Checked, b: Checked) -> Iterator[Finding]:
    if a.graph.net.rounding is not b.graph.net.rounding:
        ways = {Rounding.CEIL: "ceil", Rounding.FLOOR: "floor"}
        before, after = (ways[checked.graph.net.rounding] for checked in (a, b))
        text = "how the count of windows rounds where they do not fit exactly"
        yield Finding(Category.NUMERICS, Change.CHANGED, None, "@net.rounding", before, after, text)
    if a.graph.dialect.learning != b.graph.dialect.learning:
        before, after = a.graph.dialect.program, b.graph.dialect.program
        text = "whose rules of learning are followed; wball, superEps and short minibatches mean different things"
        yield Finding(Category.NUMERICS, Change.CHANGED, None, "@net.dialect", before, after, text)
    for name, one, other in (
        ("@net", a.graph.net, b.graph.net),
        ("@train", a.graph.train, b.graph.train),
        ("@data", a.graph.data, b.graph.data),
    ):
        yield from _section(name, one, other)


def _section(name: str, one: Keyed, other: Keyed) -> Iterator[Finding]:
    for key in one.keys.values():
        before, after = written(getattr(one, key.attribute)), written(getattr(other, key.attribute))
        if before != after and not (name == "@net" and key.name in _TOLD):
            text = key.doc.replace("{", "{{").replace("}", "}}")
            yield Finding(Category.SETTINGS, Change.CHANGED, None, f"{name}.{key.spelling}", before, after, text)

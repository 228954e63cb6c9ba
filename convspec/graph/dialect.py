"""Which dialect a spec is written in, read off the words that only one of the original programs knew.

Rows of a table, tried from the top: what only one program could read comes before what it merely insisted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from convspec.layers.dialects import ALEXNET2012, CCN1, CCN1_DNOURI, CCN2, CONVSPEC, DIALECTS, Dialect
from convspec.syntax.document import Entry


class Sign(NamedTuple):
    """dialect: whose sign it is; ours where none of the originals could have read it. text: what it looks like, for people.
    is_in: whether an entry bears it."""

    dialect: Dialect
    text: str
    is_in: Callable[[Entry], bool]


def _has_type_of(dialect: Dialect) -> Sign:
    """A layer type that no other original program had."""
    others = frozenset[str]().union(*(d.layer_types or () for d in DIALECTS.values() if d is not dialect))
    own = (dialect.layer_types or frozenset()) - others
    return Sign(dialect, f"type={', '.join(sorted(own))}", lambda e: e.key == "type" and e.value in own)


def _has_key(dialect: Dialect, *spellings: str) -> Sign:
    keys = {spelling.lower() for spelling in spellings}
    return Sign(dialect, ", ".join(f"{spelling}=" for spelling in spellings), lambda e: e.key in keys)


def _has_positions(entry: Entry) -> bool:
    return entry.key in ("schedw", "schedb") and "[" in entry.value and "=" not in entry.value


SIGNS: tuple[Sign, ...] = (
    _has_type_of(ALEXNET2012),
    _has_type_of(CCN2),
    _has_key(CCN2, "sumWidth"),
    Sign(CCN2, "gpu= with several numbers", lambda e: e.key == "gpu" and "," in e.value),
    Sign(CCN2, "epsW= or epsB= with brackets", lambda e: e.key in ("epsw", "epsb") and "[" in e.value),
    Sign(CONVSPEC, "schedW= or schedB= whose arguments have no names, which no released program took", _has_positions),
    _has_key(ALEXNET2012, "schedW", "schedB", "quantF", "quantB"),
)


def recognize(layers: Iterable[Entry], params: Iterable[Entry] | None, *, has_settings: bool) -> Dialect:
    """The dialect of a spec with these entries: ours in the one-file form (params None), else the first whose sign is there.

    Where there is no sign: a file with `partialSum` is of 2012 if it says `gpu=`, else of cuda-convnet, and of dnouri's
    where a parameter section has `dropout=`. A file without is ours if it has a section that starts with `@`
    (has_settings); else of cuda-convnet2 if it says `gpu=`, or of cuda-convnet again.
    """
    if params is None:
        return CONVSPEC
    layers, params = tuple(layers), tuple(params)
    for sign in SIGNS:
        if any(map(sign.is_in, layers + params)):
            return sign.dialect
    keys = {entry.key for entry in layers}
    if "partialsum" not in keys and has_settings:
        return CONVSPEC
    if "gpu" in keys:
        return ALEXNET2012 if "partialsum" in keys else CCN2
    return CCN1_DNOURI if any(entry.key == "dropout" for entry in params) else CCN1

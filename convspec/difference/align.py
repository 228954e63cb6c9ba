"""Which step of one network is which step of another, whatever they are called.

What both networks begin and end with in equal words is one to begin with. The rest is compared by kind, keys, size, name,
depth, and by how like the neighbours are; the best alignment of both networks in order comes first (dynamic
programming as for two texts), then what is alike and stands in another order.

Names alone would call every layer behind an inserted one changed; structure alone cannot tell the towers of a network
apart. Both together find the layers again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

from convspec.difference.steps import Step, Steps, neuron_name

# Pairs of steps to compare at most, some 500 layers that share nothing; of more, names decide. Neighbours are looked at
# for so many pairs only: that takes a few seconds.
MAXIMUM_PAIRS = 1_000_000
_PAIRS_WITH_NEIGHBOURS = 120_000
_ROUNDS = 4
# A pair less alike than this is no pair. Of steps that stand in another order, it takes more, unless they say the same
# and are not far apart.
_LEAST = 0.45
_LEAST_OUT_OF_ORDER = 0.5
_FAR_APART = 0.35

# Kinds that do nearly the same, so that one may have replaced the other.
_FAMILIES = (
    {"conv", "local"},
    {"fc", "sfc", "treefc"},
    {"pool", "cmpool"},
    {"cmrnorm", "rnorm", "cnorm"},
    {"dropout", "dropout2", "hs"},
    {"eltsum", "eltmax", "sum", "concat"},
)
_FAMILY_OF = {kind: number for number, family in enumerate(_FAMILIES) for kind in family}

Pairs = dict[str, str]


def align(a: Steps, b: Steps) -> Pairs:
    """Names of steps of `b` by the names of steps of `a` that they are. Steps that have no counterpart are left out."""
    pairs = _equal_steps(a, b)
    taken = set(pairs.values())
    rest_a = [step for step in a.by_name.values() if step.name not in pairs]
    rest_b = [step for step in b.by_name.values() if step.name not in taken]
    if len(rest_a) * len(rest_b) > MAXIMUM_PAIRS:
        return {**pairs, **_same_names(rest_a, rest_b)}
    likeness = _likeness(a, b, rest_a, rest_b, pairs)
    pairs |= _best_in_order(rest_a, _guided(b, rest_b, rest_a, likeness), likeness)
    pairs |= _out_of_order(a, b, pairs, likeness)
    return pairs | _neurons(a, b, pairs)


def _equal_steps(a: Steps, b: Steps) -> Pairs:
    """What both networks begin with, from the data on, and what they end with. Equal names in the middle say less."""
    alike = {
        name
        for name, step in a.by_name.items()
        if (other := b.by_name.get(name)) is not None
        and (step.kind, step.values, step.gpus) == (other.kind, other.values, other.gpus)
    }
    equal: dict[str, str] = {}
    for name, step in a.by_name.items():
        if name in alike and step.inputs == b[name].inputs and all(source in equal for source in step.inputs):
            equal[name] = name
    ending: set[str] = set()
    for name in reversed(list(a.by_name)):
        if name in alike and a.readers[name] == b.readers[name] and all(r in ending for r in a.readers[name]):
            ending.add(name)
    return equal | {name: name for name in a.by_name if name in ending}


def _same_names(rest_a: Sequence[Step], rest_b: Sequence[Step]) -> Pairs:
    kinds = {step.name: step.kind for step in rest_b}
    return {step.name: step.name for step in rest_a if kinds.get(step.name) == step.kind}


_Likeness = dict[tuple[str, str], float]


def _likeness(a: Steps, b: Steps, rest_a: Sequence[Step], rest_b: Sequence[Step], pairs: Pairs) -> _Likeness:
    """0 to 1 for each pair of steps that may be one. It takes in the neighbours, theirs in turn, and so on."""
    own = {
        (x.name, y.name): _own_likeness(x, y, a.depths[x.name] - b.depths[y.name])
        for x in rest_a
        for y in rest_b
        if _may_be_one(x, y)
    }
    known = dict.fromkeys(pairs.items(), 1.0)
    likeness = own
    for _ in range(_ROUNDS if len(own) <= _PAIRS_WITH_NEIGHBOURS else 0):
        before = {**likeness, **known}
        likeness = {
            (x, y): 0.6 * alike
            + 0.2 * _neighbours(a[x].inputs, b[y].inputs, before)
            + 0.2 * _neighbours(a.readers[x], b.readers[y], before)
            for (x, y), alike in own.items()
        }
    return likeness


def _may_be_one(x: Step, y: Step) -> bool:
    if x.kind == y.kind:
        return True
    is_related = _FAMILY_OF.get(x.kind, -1) == _FAMILY_OF.get(y.kind, -2)
    return is_related or (x.name == y.name and x.layer.is_cost == y.layer.is_cost)


def _own_likeness(x: Step, y: Step, depth_apart: float) -> float:
    """Of the steps alone: what they are, what their keys say, how large they are, how they are called, where they are."""
    kind = 1.0 if x.kind == y.kind else 0.4 if x.kind in _FAMILY_OF else 0.0
    shaping = x.shaping | y.shaping
    equal = sum(x.values.get(key) == y.values.get(key) for key in shaping)
    keys = equal / len(shaping) if shaping else 1.0
    size = 1.0 if x.shape == y.shape else 0.5 if x.shape.channels == y.shape.channels else 0.0
    name = _name_likeness(x.layer.name, y.layer.name)
    place, gpu = 1.0 - abs(depth_apart), float(x.gpus == y.gpus)
    return 0.2 * kind + 0.3 * keys + 0.1 * size + 0.25 * name + 0.1 * place + 0.05 * gpu


def _name_likeness(x: str, y: str) -> float:
    if x == y:
        return 1.0
    shared = next((i for i, (p, q) in enumerate(zip(x, y, strict=False)) if p != q), min(len(x), len(y)))
    return 0.6 * shared / max(len(x), len(y))


def _neighbours(xs: Sequence[str], ys: Sequence[str], likeness: Mapping[tuple[str, str], float]) -> float:
    """How alike two sets of neighbours are; 1 where both are empty."""
    if not xs or not ys:
        return float(len(xs) == len(ys))
    best = sum(max(likeness.get((x, y), 0.0) for y in ys) for x in xs)
    return best / max(len(xs), len(ys))


def _guided(b: Steps, rest_b: Sequence[Step], rest_a: Sequence[Step], likeness: _Likeness) -> list[Step]:
    """The steps of `rest_b` in an order of the graph that follows, where there is a choice, the order of `rest_a`.

    Which of two towers comes first in a file says nothing.
    """
    place = {step.name: number for number, step in enumerate(rest_a)}
    wanted: dict[str, tuple[float, int]] = {}
    for (x, y), alike in likeness.items():
        wanted[y] = max(wanted.get(y, (0.0, 0)), (alike, -place[x]))
    # Steps that have their counterpart already do not hold up the others.
    free = {step.name for step in rest_b}
    waiting = {step.name: sum(name in free for name in set(step.inputs)) for step in rest_b}
    ready: list[tuple[int, int, str]] = []
    numbers = {step.name: number for number, step in enumerate(rest_b)}
    order: list[Step] = []
    for name, count in waiting.items():
        if count == 0:
            heappush(ready, (-wanted.get(name, (0.0, 0))[1], numbers[name], name))
    while ready:
        name = heappop(ready)[2]
        order.append(b[name])
        for reader in b.readers[name]:
            if reader in free:
                waiting[reader] -= 1
                if waiting[reader] == 0:
                    heappush(ready, (-wanted.get(reader, (0.0, 0))[1], numbers[reader], reader))
    return order


def _best_in_order(xs: Sequence[Step], ys: Sequence[Step], likeness: _Likeness) -> Pairs:
    """The pairs, in the order of both, whose likeness above the least adds up to most (Needleman and Wunsch, 1970)."""
    table = [[0.0] * (len(ys) + 1)]
    for x in xs:
        above, row = table[-1], [0.0]
        for j, y in enumerate(ys):
            gain = likeness.get((x.name, y.name), 0.0) - _LEAST
            best = above[j + 1] if above[j + 1] >= row[j] else row[j]
            row.append(max(best, above[j] + gain) if gain > 0 else best)
        table.append(row)
    pairs: Pairs = {}
    i, j = len(xs), len(ys)
    while i and j:
        if table[i][j] == table[i - 1][j]:
            i -= 1
        elif table[i][j] == table[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs[xs[i].name] = ys[j].name
    return dict(reversed(pairs.items()))


def _out_of_order(a: Steps, b: Steps, pairs: Pairs, likeness: _Likeness) -> Pairs:
    """Pairs among what is left, the most alike first. Equal names of one kind are a pair however little is alike."""
    taken = set(pairs.values())
    left = ((pair, alike) for pair, alike in likeness.items() if pair[0] not in pairs and pair[1] not in taken)
    ranked = sorted(left, key=lambda item: (not _is_same(a, b, item[0]), -item[1], item[0]))
    found: Pairs = {}
    for (x, y), alike in ranked:
        if x in found or y in taken:
            continue
        if _is_same(a, b, (x, y)) or alike >= _LEAST_OUT_OF_ORDER or _says_the_same_near(a, b, (x, y)):
            found[x] = y
            taken.add(y)
    return found


def _is_same(a: Steps, b: Steps, pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1] and a[pair[0]].kind == b[pair[1]].kind


def _says_the_same_near(a: Steps, b: Steps, pair: tuple[str, str]) -> bool:
    x, y = a[pair[0]], b[pair[1]]
    is_near = abs(a.depths[x.name] - b.depths[y.name]) <= _FAR_APART
    return is_near and (x.kind, x.values, x.gpus, x.shape.channels) == (y.kind, y.values, y.gpus, y.shape.channels)


def _neurons(a: Steps, b: Steps, pairs: Pairs) -> Pairs:
    """The neurons of paired layers that have no other counterpart: one function took the place of another."""
    taken = set(pairs.values())
    found = {}
    for x, y in pairs.items():
        own, other = neuron_name(x), neuron_name(y)
        if own in a.by_name and other in b.by_name and own not in pairs and other not in taken:
            found[own] = other
    return found

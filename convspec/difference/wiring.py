"""What was moved and what reads something else, once it is known which step is which.

A step put between two others changes what the second one reads, and is no change of the second: sources are followed
through steps that have no counterpart. A step that was moved changes what three others read; it is found as the one
without which they all read what they did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from convspec.difference.align import Pairs
from convspec.difference.steps import NEURON, Steps

# So many rewired steps are tried as the one that was moved; of more, the network was rebuilt and nothing was moved.
_MOST_TRIED = 200
# What an author moves rather than the others, so that the sentence speaks of the ReLU and not of all it passed.
_MOVES_FIRST = (NEURON, "dropout", "dropout2", "hs", "cmrnorm", "rnorm", "cnorm", "pool", "cmpool")


@dataclass(frozen=True)
class Move:
    """`step` and `other` are one, in `a` and in `b`. passed: names in `a` of the steps that it changed places with.

    is_later: whether it comes behind them in `b`, and came before them in `a`.
    """

    step: str
    other: str
    passed: tuple[str, ...]
    is_later: bool


@dataclass(frozen=True)
class Wiring:
    """moves: in the order of `a`. rewired: names in `a` of the others that read something else."""

    moves: tuple[Move, ...]
    rewired: tuple[str, ...]


def find_wiring(a: Steps, b: Steps, pairs: Pairs) -> Wiring:
    """What was moved, and what reads something else for no such reason."""
    rewired = _rewired(a, b, pairs, ())
    moved: list[str] = []
    while 1 < len(rewired) <= _MOST_TRIED:
        tried = {
            name: _rewired(a, b, pairs, (*moved, name))
            for name in sorted(rewired, key=lambda name: _readiness(a, name))
            if len(a[name].inputs) == len(b[pairs[name]].inputs) == 1
        }
        # What was moved explains itself and one step more, at the least.
        found = {name: left for name, left in tried.items() if len(left) <= len(rewired) - 2}
        if not found:
            break
        best = min(found, key=lambda name: len(found[name]))
        moved.append(best)
        rewired = found[best]
    order = {name: number for number, name in enumerate(a.by_name)}
    moves = (_move(a, b, pairs, name) for name in sorted(moved, key=order.__getitem__))
    return Wiring(tuple(moves), tuple(rewired))


def _readiness(a: Steps, name: str) -> tuple[int, str]:
    kind = a[name].kind
    return (_MOVES_FIRST.index(kind) if kind in _MOVES_FIRST else len(_MOVES_FIRST), name)


def _rewired(a: Steps, b: Steps, pairs: Pairs, moved: Collection[str]) -> list[str]:
    """Steps of `a` whose counterparts read other steps, if one looks through those without one and those that moved."""
    names = {step: (step, pairs[step]) for step in pairs if step not in moved}
    seen_a = {x: x for x, _ in names.values()}
    seen_b = {y: x for x, y in names.values()}
    return [
        name
        for name in a.by_name
        if name in names and not _read_alike(_sources(a, name, seen_a), _sources(b, pairs[name], seen_b))
    ]


class _Source(NamedTuple):
    """An input of a step: names, in `a`, of the steps behind it. is_seen: it is one of those itself."""

    behind: tuple[str, ...]
    is_seen: bool


def _read_alike(before: Sequence[_Source], after: Sequence[_Source]) -> bool:
    """Whether two steps read the same. What a step that is new or gone brought with it is told of that one."""
    if [name for source in before for name in source.behind] == [name for source in after for name in source.behind]:
        return True
    seen, seen_after = ([source.behind for source in side if source.is_seen] for side in (before, after))
    if seen and seen == seen_after:
        return True
    return len(before) == len(after) and all(
        x.behind == y.behind
        or (not (x.is_seen and y.is_seen) and (set(x.behind) <= set(y.behind) or set(y.behind) <= set(x.behind)))
        for x, y in zip(before, after, strict=True)
    )


def _sources(steps: Steps, name: str, seen: Mapping[str, str]) -> list[_Source]:
    """What a step reads, looking through steps that are not in `seen`, which has their names in `a`."""
    return [
        _Source((seen[source],), True) if source in seen else _Source(_behind(steps, source, seen), False)
        for source in steps[name].inputs
    ]


def _behind(steps: Steps, name: str, seen: Mapping[str, str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    looked: set[str] = set()
    waiting = [name]
    while waiting:
        source = waiting.pop()
        if source in seen:
            found[seen[source]] = None
        elif source not in looked:
            looked.add(source)
            waiting.extend(reversed(steps[source].inputs))
    return tuple(found)


def _move(a: Steps, b: Steps, pairs: Pairs, name: str) -> Move:
    """The steps between where it was and where it is: those before it in one network and behind it in the other."""
    back = {other: step for step, other in pairs.items()}
    behind, before = _reached(name, a.readers), _reached(name, _inputs(a))
    behind_now = {back[y] for y in _reached(pairs[name], b.readers) if y in back}
    before_now = {back[y] for y in _reached(pairs[name], _inputs(b)) if y in back}
    later, earlier = behind & before_now, before & behind_now
    passed = later or earlier
    return Move(name, pairs[name], tuple(step for step in a.by_name if step in passed), bool(later))


def _inputs(steps: Steps) -> Mapping[str, tuple[str, ...]]:
    return {name: step.inputs for name, step in steps.by_name.items()}


def _reached(name: str, edges: Mapping[str, tuple[str, ...]]) -> set[str]:
    """All steps that one gets to along the edges, the first excepted."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        for step in edges[waiting.pop()]:
            if step not in reached:
                reached.add(step)
                waiting.append(step)
    return reached

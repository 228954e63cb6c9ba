"""Everything that differs between two checked networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from convspec.checker import Checked
from convspec.diagnostics import joined
from convspec.difference.align import Pairs, align
from convspec.difference.finding import Category, Change, Difference, Finding, LayerPair, gather
from convspec.difference.lone import described, find_twin, names_around, source_names
from convspec.difference.settings import find_settings
from convspec.difference.steps import NEURON, Step, Steps, steps_of
from convspec.difference.wiring import Move, find_wiring
from convspec.difference.words import phrase
from convspec.layers.base import Rounding
from convspec.layers.keys import Key
from convspec.layers.norm import CrossMapResponseNorm, SameMapResponseNorm
from convspec.layers.pool import Pool
from convspec.syntax.values import WeightSource

# Types that compute the same under two names.
_SYNONYMS = (frozenset({"dropout2", "hs"}),)
# Functions that never fall, so that the largest of a window is the largest after them too.
_MONOTONE = frozenset({"relu", "logistic", "tanh", "softrelu", "brelu"})


class Counts(NamedTuple):
    """layers: sections of the network. parameters: numbers that learn. macs: multiply-adds an image, forward."""

    layers: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class Comparison:
    """differences: by category. a, b: what either network has."""

    differences: tuple[Difference, ...]
    a: Counts
    b: Counts


def compare(a: Checked, b: Checked) -> Comparison:
    """The differences from `a` to `b`. Both must be without errors."""
    assert a.ok
    assert b.ok
    pair = _Pair(steps_of(a), steps_of(b))
    findings = sorted(pair.findings(), key=_place_in(a, b))
    return Comparison(gather([*findings, *find_settings(a, b)], pair.holders()), _counts(a), _counts(b))


def _place_in(a: Checked, b: Checked) -> Callable[[Finding], tuple[int, int]]:
    """A key that sorts findings as their layers stand in the files, in that of `a` first."""
    places_a, places_b = ({name: i for i, name in enumerate(checked.graph.layers)} for checked in (a, b))

    def place(finding: Finding) -> tuple[int, int]:
        layer = finding.layer or LayerPair(None, None)
        return places_a.get(layer.a or "", len(places_a)), places_b.get(layer.b or "", len(places_b))

    return place


def _counts(checked: Checked) -> Counts:
    total = checked.totals.network
    return Counts(len(checked.graph.layers), total.parameters, total.macs)


class _Pair:
    """Two networks as steps, and which step is which."""

    def __init__(self, a: Steps, b: Steps) -> None:
        self.a = a
        self.b = b
        self.pairs: Pairs = align(a, b)
        self.back = {other: step for step, other in self.pairs.items()}

    def findings(self) -> Iterator[Finding]:
        yield from self._lone(self.a, self.pairs, Change.REMOVED)
        yield from self._lone(self.b, self.back, Change.ADDED)
        wiring = find_wiring(self.a, self.b, self.pairs)
        for move in wiring.moves:
            yield self._moved(move)
        for name in wiring.rewired:
            yield self._rewired(name)
        for name, other in self.pairs.items():
            yield from self._changes(self.a[name], self.b[other])

    def holders(self) -> Mapping[str, int]:
        """How many layers have each key, in both networks."""
        shared = (self.a[x].values.keys() & self.b[y].values.keys() for x, y in self.pairs.items())
        return Counter(key for keys in shared for key in keys)

    def _lone(self, steps: Steps, paired: Mapping[str, str], change: Change) -> Iterator[Finding]:
        """Steps of one network that the other lacks. The neuron of such a layer goes without saying."""
        for step in steps.by_name.values():
            if step.name in paired or (step.is_neuron_of_a_layer and step.layer.name not in paired):
                continue
            layer = self._layer_pair(step, change)
            if step.is_neuron_of_a_layer:
                yield Finding(Category.NUMERICS, change, layer, text=f"{phrase(step)} behind it")
            elif (twin := find_twin(steps, step, paired)) is not None:
                gpus = f" on GPU {','.join(map(str, step.gpus))}" if step.gpus != twin.gpus else ""
                yield Finding(Category.LAYERS, change, layer, text=f"twins{gpus} of {{}}", names=(twin.name,))
            else:
                yield Finding(
                    Category.LAYERS, change, layer, text=described(steps, step), names=names_around(steps, step)
                )

    def _layer_pair(self, step: Step, change: Change) -> LayerPair:
        name = step.layer.name
        if change is Change.ADDED:
            return LayerPair(self.back.get(name), name)
        return LayerPair(name, self.pairs.get(name))

    def _moved(self, move: Move) -> Finding:
        step, other = self.a[move.step], self.b[move.other]
        passed = [self.a[name] for name in move.passed]
        layer = LayerPair(step.layer.name, self.pairs.get(step.layer.name, other.layer.name))
        shown = [p for p in passed if not p.is_neuron_of_a_layer] or passed
        way, was = ("behind", "before") if move.is_later else ("before", "behind")
        slots = joined([f"{phrase(p)} ({{}})" for p in shown])
        text = (
            f"the {phrase(step)} comes {way} {slots} instead of {was}" if shown else f"another place for {phrase(step)}"
        )
        numeric = [p for p in passed if not _commute(step, p)]
        equal = joined([phrase(p) for p in shown if _commute(step, p)])
        if equal:
            text += f" (before or behind {equal}, the outputs are the same)"
        category = Category.NUMERICS if numeric else Category.ORDER
        return Finding(category, Change.MOVED, layer, text=text, names=tuple(p.layer.name for p in shown))

    def _rewired(self, name: str) -> Finding:
        step, other = self.a[name], self.b[self.pairs[name]]
        before = [(source, self.pairs.get(source)) for source in step.inputs]
        after = [(self.back.get(source), source) for source in other.inputs]
        lost = [self.a[source].layer.name for source, one in before if one not in other.inputs]
        gained = [self.b[source].layer.name for one, source in after if one not in step.inputs]
        what = [f"{words} {{}}" for words, names in (("no longer reads", lost), ("now reads", gained)) if names]
        return Finding(
            Category.ORDER,
            Change.REWIRED,
            LayerPair(step.layer.name, other.layer.name),
            "inputs",
            ", ".join(source_names(self.a, step)),
            ", ".join(source_names(self.b, other)),
            joined(what) or "reads the same in another order",
            tuple(joined(names) for names in (lost, gained) if names),
        )

    def _changes(self, step: Step, other: Step) -> Iterator[Finding]:
        layer = LayerPair(step.layer.name, other.layer.name)
        if step.is_neuron_of_a_layer or other.is_neuron_of_a_layer:
            yield from self._neuron_changes(step, other, layer)
            return
        if step.name != other.name:
            yield Finding(Category.LAYERS, Change.RENAMED, layer, text="renamed")
        if step.kind != other.kind:
            is_same = frozenset((step.kind, other.kind)) in _SYNONYMS
            text = "two names of the same" if is_same else f"{phrase(step)} became {phrase(other)}"
            yield Finding(Category.LAYERS, Change.REPLACED, layer, "type", step.kind, other.kind, text)
        yield from self._key_changes(step, other, layer)
        if step.shape != other.shape:
            yield Finding(Category.SHAPES, Change.CHANGED, layer, "", str(step.shape), str(other.shape))
        if step.is_inexact != other.is_inexact:
            hangs, ends = "the last window now hangs over the edge", "the last window now ends before the edge"
            loose = hangs if other.layer.rounds(self.b.rounding) is Rounding.CEIL else ends
            text = loose if other.is_inexact else "the windows now fit exactly"
            yield Finding(Category.NUMERICS, Change.CHANGED, layer, "", step.window, other.window, text)
        if step.gpus != other.gpus:
            before, after = (",".join(map(str, s.gpus)) for s in (step, other))
            yield Finding(Category.PLACEMENT, Change.CHANGED, layer, "gpu", before, after)

    def _neuron_changes(self, step: Step, other: Step, layer: LayerPair) -> Iterator[Finding]:
        if step.values[NEURON] != other.values[NEURON]:
            before, after = step.values[NEURON], other.values[NEURON]
            yield Finding(
                Category.NUMERICS, Change.CHANGED, layer, NEURON, before, after, "the function of each output"
            )

    def _key_changes(self, step: Step, other: Step, layer: LayerPair) -> Iterator[Finding]:
        keys = {key.spelling: key for key in step.layer.keys.values()}
        for spelling, before in step.values.items():
            after = other.values.get(spelling)
            if after is None or before == after or self._names_the_same(step, other, keys[spelling]):
                continue
            is_function = spelling == NEURON or (isinstance(step.layer, Pool) and before == step.layer.pool)
            category = Category.NUMERICS if is_function else Category.PARAMETERS
            text = _alpha(step, other) if spelling == "scale" else keys[spelling].doc.split(";")[0]
            yield Finding(
                category, Change.CHANGED, layer, spelling, before, after, text.replace("{", "{{").replace("}", "}}")
            )

    def _names_the_same(self, step: Step, other: Step, key: Key[Any]) -> bool:
        """Whether a key that says whose weights a layer has says the same of layers that have other names."""
        one, two = (getattr(layer, key.attribute, None) for layer in (step.layer, other.layer))
        if not (isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two)):
            return False
        return all(
            isinstance(x, WeightSource)
            and isinstance(y, WeightSource)
            and (self.pairs.get(x.name.text), x.input) == (y.name.text, y.input)
            for x, y in zip(one, two, strict=True)
        )


def _commute(step: Step, passed: Step) -> bool:
    """Whether two steps can change places and the outputs stay the same: the largest of a window is found before a
    function that never falls, or after it. (Gradients differ where values are equal.)"""
    neurons = [s.values[NEURON].partition("[")[0] for s in (step, passed) if s.kind == NEURON]
    pools = [s for s in (step, passed) if isinstance(s.layer, Pool) and s.kind != NEURON and s.layer.pool == "max"]
    return len(neurons) == len(pools) == 1 and neurons[0] in _MONOTONE


def _alpha(step: Step, other: Step) -> str:
    """What `scale` is in the paper: it is divided by the numbers of a window."""
    alphas = []
    for layer in (step.layer, other.layer):
        if not isinstance(layer, CrossMapResponseNorm | SameMapResponseNorm):
            return "divided by the size of the window"
        window = layer.size if isinstance(layer, CrossMapResponseNorm) else layer.size**2
        alphas.append(f"{layer.scale / window:.12f}".rstrip("0"))
    return f"alpha of the paper, scale / window: {alphas[0]} became {alphas[1]}"

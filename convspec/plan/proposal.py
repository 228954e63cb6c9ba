"""A placement for a spec that names no GPUs: ways to share its layers among several, and which is fastest on paper.

    one GPU           as it is
    data parallel     every layer on each GPU, a slice of the minibatch on each
    one weird trick   convolutions data parallel; fully-connected layers split by their outputs, each part over all images
                      (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014)
    split             convolutions split by their filters as well, each part reading the maps of all GPUs
    towers            the paper's scheme (section 3.2): most convolutions read the maps of their own GPU alone

All but the last compute the same function of the same weights, those of a split layer parted by rows, and learn alike but
for which units a dropout drops. Towers are another network, which is proposed where it is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from string import ascii_lowercase
from typing import NamedTuple

from convspec.checker import Checked, check
from convspec.diagnostics import DiagnosticError, Report, SourceFile
from convspec.passes.pipeline import Target
from convspec.plan.memory import Memory
from convspec.plan.plan import Plan, plan
from convspec.plan.rates import Rates
from convspec.plan.recorder import Precision, Processor
from convspec.syntax.document import Section
from convspec.syntax.parser import parse_document

# Layers that treat each map, or each number, by itself.
_BY_MAP = frozenset("batchnorm cnorm dropout dropout2 eltmax eltsum globalpool hs neuron pool rnorm".split())
_ACROSS_MAPS = frozenset(("cmrnorm",))
_FULL = frozenset(("fc",))
_CONVOLUTIONS = frozenset(("conv",))
_COUNTED = {"fc": "outputs", "conv": "filters"}
# Ideal times in this ratio are told apart by nothing that is known of a machine.
_AS_FAST = 1.01
# Keys with an entry for each input, and others that tie a layer to its size or to another one.
_SINGLE = ("initw", "epsw", "momw", "wc", "wball", "stride", "padding", "filtersize")
_TYING = ("weightsource", "initwfunc", "initbfunc", "coeffs", "randsparse", "modulesx")


class Scheme(Enum):
    """How layers are shared among GPUs."""

    ONE = "one GPU"
    DATA = "data parallel"
    TRICK = "one weird trick"
    SPLIT = "split"
    TOWERS = "towers"


class Proposal(NamedTuple):
    """A scheme for a network. text: of the spec. checked, plan: of that text, at these rates."""

    scheme: Scheme
    text: str
    checked: Checked
    plan: Plan
    rates: Rates

    @property
    def sent(self) -> float:
        """Bytes that cross between GPUs in a step, forward and backward, and for sums of gradients, of all GPUs together."""
        width, batch = self.plan.precision.value, self.plan.batch
        values = sum(each.bytes_forward(width) + each.bytes_backward(width) for each in self.plan.crossings) * batch
        return values + sum(each.bytes_a_gpu * len(each.gpus) for each in self.plan.reduced)


class Replicas(NamedTuple):
    """A network as it is, in several processes that share each minibatch. seconds: that a step takes at least. sent: bytes
    of all GPUs together, for sums of gradients. memory: of each GPU."""

    seconds: float
    sent: float
    memory: Memory


def replicas(
    checked: Checked, gpus: int, *, batch: int, precision: Precision, processor: Processor, rates: Rates
) -> Replicas:
    """What `propose` is to be compared with where nothing but speed is asked for: it needs no placement, and knows no
    layer that it cannot have twice. The sums of gradients go round a ring, at best beside everything else."""
    cases = -(-batch // gpus)
    alone = plan(checked, batch=cases, precision=precision, processor=processor, target=Target.FOLDED, rates=rates)
    [share] = alone.shares
    sent = 2 * (gpus - 1) * share.memory.gradients
    return Replicas(max(alone.time.seconds, sent / gpus / rates.link), sent, share.memory)


def propose(
    checked: Checked,
    gpus: int,
    *,
    batch: int,
    precision: Precision,
    processor: Processor,
    rates: Rates,
    rooms: Sequence[int] = (),
    towers: Collection[str] | None = None,
) -> list[Proposal]:
    """Proposals for a network without errors that names no GPUs, best first: what fits before what does not, then by the
    ideal time of a step; of those that are as good as fastest, the one that sends least.

    gpus: at least 2. rooms: bytes of each, or none. towers: None, or the convolutions that read both towers where towers
    are asked for. A scheme that changes nothing, or that the dialect of the spec cannot say, is left out.

    Raises DiagnosticError for a network that is not known without what the caller gave to `check` beside it, such as sizes.
    """
    found: dict[str, Proposal] = {}
    for scheme in Scheme:
        if scheme is Scheme.TOWERS and towers is None:
            continue
        text = _Writer(checked, gpus, scheme, towers or ()).text()
        placed = check(text)
        if scheme is Scheme.ONE and not placed.ok:
            raise DiagnosticError(*placed.diagnostics)
        if text in found or not placed.ok:
            continue
        target = Target.FOLDED if scheme is Scheme.ONE else Target.SPMD
        given = rooms[:1] if scheme is Scheme.ONE else rooms
        planned = plan(
            placed, batch=batch, precision=precision, processor=processor, target=target, rates=rates, rooms=given
        )
        found[text] = Proposal(scheme, text, placed, planned, rates)
    return _best_first(list(found.values()))


def _best_first(proposals: Sequence[Proposal]) -> list[Proposal]:
    fastest, *others = sorted(proposals, key=lambda each: (each.plan.fits is False, each.plan.time.seconds, each.sent))
    limit = _AS_FAST * fastest.plan.time.seconds
    near = [each for each in others if each.plan.fits == fastest.plan.fits and each.plan.time.seconds <= limit]
    best = min((fastest, *near), key=lambda each: each.sent)
    return [best, *(each for each in (fastest, *others) if each is not best)]


class _Writer:
    """Writes the text of a scheme: the spec as one file, its sections parted, put on GPUs, and read anew."""

    def __init__(self, checked: Checked, gpus: int, scheme: Scheme, crossing: Collection[str]) -> None:
        self.graph, self.gpus, self.scheme, self.crossing = checked.graph, gpus, scheme, crossing
        document = parse_document(SourceFile("proposal", checked.resolved_text), Report())
        self.sections = document.sections
        self.values = {s.name: {entry.key: entry.value for entry in s.entries} for s in document.sections}
        self.split = self._split_layers()
        self.parts = {name: self._part_names(name) for name in self.split}

    def text(self) -> str:
        blocks: list[str] = []
        for section in self.sections:
            layer = self.graph.layers.get(section.name)
            if layer is None or not layer.input_names or self.scheme is Scheme.ONE:
                blocks.append(_block(section.name, _lines(section)))
            elif section.name in self.split:
                blocks += [self._part(section, number) for number in range(self.gpus)]
            else:
                blocks += self._whole(section)
        return "\n\n".join(blocks) + "\n"

    # which layers are split

    def _split_layers(self) -> set[str]:
        """Layers with weights that the scheme splits, and what stands on them map by map, as long as everything that reads
        one can read its parts."""
        weighted = {Scheme.TRICK: _FULL}.get(self.scheme, _FULL | _CONVOLUTIONS)
        if self.scheme in (Scheme.ONE, Scheme.DATA):
            return set()
        by_map = _BY_MAP | (_ACROSS_MAPS if self.scheme is Scheme.TOWERS else frozenset())
        split: set[str] = set()
        for layer in self.graph.order:
            is_above = bool(layer.input_names) and all(name in split for name in layer.input_names)
            if (layer.type in weighted and self._divides(layer.name)) or (layer.type in by_map and is_above):
                split.add(layer.name)
        while True:
            unfit = {name for name in split if not self._can_be_read(name, split)}
            # what stands on a layer that stays whole is not split either
            unfit |= {
                layer.name
                for layer in self.graph.order
                if layer.name in split and layer.type in by_map and not split.issuperset(layer.input_names)
            }
            if not unfit:
                return split
            split -= unfit

    def _divides(self, name: str) -> bool:
        values = self.values[name]
        count = values.get(_COUNTED[self.graph.layers[name].type], "")
        return count.isdigit() and int(count) % self.gpus == 0 and self._is_plain(name)

    def _is_plain(self, name: str) -> bool:
        """Whether the layer can have several inputs in the place of one, and fewer outputs."""
        values = self.values[name]
        is_single = all("," not in values.get(key, "") for key in _SINGLE)
        return is_single and values.get("groups", "1") == "1" and not any(key in values for key in _TYING)

    def _can_be_read(self, name: str, split: Collection[str]) -> bool:
        """Whether all readers have parts of their own, or weights, which read any number of inputs."""
        readers = self.graph.readers[name]
        return bool(readers) and all(
            reader.name in split or (reader.type in _COUNTED and self._is_plain(reader.name)) for reader in readers
        )

    def _part_names(self, name: str) -> list[str]:
        """`fc6a`, `fc6b`; with numbers where such a name is taken, or the letters do not suffice."""
        lettered = [f"{name}{letter}" for letter in ascii_lowercase[: self.gpus]]
        if self.gpus <= len(ascii_lowercase) and not any(each in self.graph.layers for each in lettered):
            return lettered
        stem = f"{name}_"
        while any(f"{stem}{number}" in self.graph.layers for number in range(self.gpus)):
            stem += "_"
        return [f"{stem}{number}" for number in range(self.gpus)]

    # what they are

    def _part(self, section: Section, number: int) -> str:
        layer = self.graph.layers[section.name]
        counted = _COUNTED.get(layer.type)
        replaced = {"inputs": ",".join(self._inputs_of_part(section.name, number)), "gpu": str(number)}
        if counted is not None:
            replaced[counted] = str(int(self.values[section.name][counted]) // self.gpus)
        return _block(self.parts[section.name][number], _lines(section, replaced))

    def _inputs_of_part(self, name: str, number: int) -> list[str]:
        """A layer with weights reads all parts of what it reads, others their own; in towers convolutions do so too."""
        layer = self.graph.layers[name]
        is_own = layer.type not in _COUNTED or (
            self.scheme is Scheme.TOWERS and layer.type in _CONVOLUTIONS and name not in self.crossing
        )
        if is_own:
            return [self.parts[each][number] if each in self.parts else each for each in layer.input_names]
        return self._all_parts(layer.input_names)

    def _all_parts(self, names: Sequence[str]) -> list[str]:
        return [part for name in names for part in self.parts.get(name, [name])]

    def _whole(self, section: Section) -> list[str]:
        """A layer that is not split: a replica on each GPU, or on the first one."""
        layer = self.graph.layers[section.name]
        replaced = {"gpu": self._place(section.name)}
        if any(name in self.parts for name in layer.input_names):
            replaced["inputs"] = ",".join(self._all_parts(layer.input_names))
        return [_block(section.name, _lines(section, replaced))]

    def _place(self, name: str) -> str:
        everywhere = ",".join(map(str, range(self.gpus)))
        if self.scheme is Scheme.DATA:
            return everywhere
        is_below = self.scheme is Scheme.TRICK and not self._stands_on_full(name)
        return everywhere if is_below else "0"

    def _stands_on_full(self, name: str) -> bool:
        """Whether the layer, or one below it, is fully connected."""
        waiting, seen = [name], {name}
        while waiting:
            layer = self.graph.layers[waiting.pop()]
            if layer.type in _FULL:
                return True
            new = set(layer.input_names) - seen
            seen |= new
            waiting += new
        return False


def _lines(section: Section, replaced: Mapping[str, str] | None = None) -> list[str]:
    """The entries of a section with other values; those that are not there follow."""
    values = dict(replaced or {})
    lines = []
    for entry in section.entries:
        if replaced is not None and entry.key == "channels":
            continue
        lines.append(f"{entry.written_key}={values.pop(entry.key, entry.value)}")
    return lines + [f"{key}={value}" for key, value in values.items()]


def _block(name: str, lines: Sequence[str]) -> str:
    return "\n".join([f"[{name}]", *lines])

"""`remove=1` and `after=LAYER`: a layer is taken out of the network, or put into it, and its neighbours are joined.

- `remove=1`: who read the layer reads what the layer read; who had its GPU from it keeps that GPU.
- `after=LAYER`: the layer reads LAYER, unless it says its own `inputs`, and who read LAYER in a file that is extended
  reads the layer instead. What the file itself writes as `inputs` stays as it is written. Layers that one file puts
  after the same layer follow one another in the order of the file. A layer that an extended file has already is moved.

All `after=` come first, those of the file at the bottom of a chain before those of the next one, then all `remove=1`:
with both, a new layer takes the place of an old one.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping

from convspec.diagnostics import Label, Report, Span, did_you_mean, joined
from convspec.graph.extension import Ranks
from convspec.graph.merging import EDITS, Merged
from convspec.graph.wires import Wire, inputs_entry, read_wires, write_wires
from convspec.layers.keys import Key, flag
from convspec.syntax.document import Entry
from convspec.syntax.forms import NAME
from convspec.syntax.values import Name

REMOVE = flag("remove", doc="1: take the layer out; who reads it reads what it reads")
AFTER: Key[Name] = Key("after", NAME, doc="the layer that it reads, and whose readers read it instead")


def apply_edits(
    sections: Mapping[str, Merged], ranks: Ranks, report: Report
) -> tuple[dict[str, Merged], tuple[Merged, ...]]:
    """The sections after all `after=` and `remove=1`, and those that were taken out.

    Reports CS301, CS307 and CS308.
    """
    network = _Network(sections)
    _place_all(network, ranks, report)
    removed = _remove_all(network, report)
    return network.result(removed), tuple(network.layers[name] for name in removed)


class _Network:
    """Sections with their inputs name by name, while these are being changed.

    wires: what each layer reads. readers: who reads each layer. gpus: entries `gpu=` that layers take over.
    misplaced: layers with an `after=` that has been reported, so that nobody asks for their inputs.
    """

    def __init__(self, sections: Mapping[str, Merged]) -> None:
        self.layers = {name: section for name, section in sections.items() if section.is_layer}
        self.wires: dict[str, tuple[Wire, ...]] = {}
        self.readers: dict[str, dict[str, None]] = {}
        self.gpus: dict[str, Entry] = {}
        self.misplaced: set[str] = set()
        self._sections = sections
        self._rewired: dict[str, Span] = {}
        self._leaders: dict[str, str] = {}
        for name, section in self.layers.items():
            entry = section.entries.get("inputs")
            self._connect(name, (read_wires(entry) or ()) if entry is not None else ())

    def _connect(self, name: str, wires: tuple[Wire, ...]) -> None:
        self.wires[name] = wires
        for wire in wires:
            self.readers.setdefault(wire.source, {})[name] = None

    def rewire(self, name: str, wires: tuple[Wire, ...], place: Span) -> None:
        """Give a layer other inputs. place: what asks for it, where the layer had none."""
        if wires == self.wires[name]:
            return
        for wire in self.wires[name]:
            self.readers[wire.source].pop(name, None)
        self._connect(name, wires)
        self._rewired[name] = place

    def substitute(self, name: str, old: str, new: Iterable[str], when: Callable[[Wire], bool]) -> None:
        """In the inputs of a layer, put other names in the place of one, each at most once."""
        wires = self.wires[name]
        taken = {wire.source for wire in wires if wire.source != old or not when(wire)}
        result: list[Wire] = []
        for wire in wires:
            if wire.source != old or not when(wire):
                result.append(wire)
                continue
            added = [source for source in new if source not in taken]
            taken.update(added)
            result.extend(Wire(source, wire.span) for source in added)
        self.rewire(name, tuple(result), wires[0].span)

    def list_behind(self, name: str, leader: str) -> None:
        """Where the layer stands in tables and in the resolved spec: right behind another one."""
        self._leaders[name] = leader

    def result(self, removed: Container[str]) -> dict[str, Merged]:
        followers: dict[str, list[str]] = {}
        for name, leader in self._leaders.items():
            followers.setdefault(leader, []).insert(0, name)
        order: dict[str, None] = {}
        stack = [name for name in reversed(list(self._sections)) if name not in self._leaders]
        while stack:
            name = stack.pop()
            order[name] = None
            stack.extend(reversed(followers.get(name, ())))
        # Those of layers that stand after one another in a circle, which is reported as a cycle, come last.
        order.update(dict.fromkeys(self._leaders))
        return {name: self._edited(self._sections[name]) for name in order if name not in removed}

    def _edited(self, section: Merged) -> Merged:
        section = section.without(*EDITS)
        if section.name in self._rewired:
            wires, old = self.wires[section.name], section.entries.get("inputs")
            place = self._rewired[section.name]
            section = section.with_entry(inputs_entry(wires, place) if old is None else write_wires(old, wires))
        if section.name in self.misplaced:
            section = section._replace(unreadable=section.unreadable | {"inputs"})
        if section.name in self.gpus:
            section = section.with_entry(self.gpus[section.name])
        return section


def _place_all(network: _Network, ranks: Ranks, report: Report) -> None:
    """Put every layer with `after=` where it says, those of the lowest file first."""
    with_after = [section for section in network.layers.values() if AFTER.name in section.entries]
    with_after.sort(key=lambda section: -ranks.of(section.entries[AFTER.name].key_span))
    last: dict[tuple[str, int], str] = {}
    for section in with_after:
        entry = section.entries[AFTER.name]
        name = AFTER.read(section.name, entry, report)
        if name is None or _report_bad_place(section, entry, name, network, ranks, report):
            network.misplaced.add(section.name)
        else:
            group = name.text, ranks.of(entry.key_span)
            _place(network, section, entry, Wire(last.get(group, name.text), entry.part(name.start, name.end)), ranks)
            last[group] = section.name


def _place(network: _Network, section: Merged, entry: Entry, leader: Wire, ranks: Ranks) -> None:
    rank = ranks.of(entry.key_span)

    def is_of_a_lower_file(wire: Wire) -> bool:
        return ranks.of(wire.span) > rank

    inputs = section.entries.get("inputs")
    is_moved = inputs is not None and section.maker is None and ranks.of(inputs.key_span) > rank
    if is_moved:
        sources = [wire.source for wire in network.wires[section.name]]
        for reader in list(network.readers.get(section.name, ())):
            network.substitute(reader, section.name, sources, is_of_a_lower_file)
    for reader in list(network.readers.get(leader.source, ())):
        if reader != section.name:
            network.substitute(reader, leader.source, [section.name], is_of_a_lower_file)
    if inputs is None or is_moved:
        network.rewire(section.name, (leader,), entry.value_span)
    for name in _listed_together(section, leader.source, network):
        network.list_behind(name, leader.source)
        leader = leader._replace(source=name)


def _listed_together(section: Merged, leader: str, network: _Network) -> list[str]:
    """The layer, or all that are made for the same section, unless the layer stands after one of these."""
    if section.maker is None or network.layers[leader].maker == section.maker:
        return [section.name]
    return [name for name, layer in network.layers.items() if layer.maker == section.maker]


def _report_bad_place(
    section: Merged, entry: Entry, name: Name, network: _Network, ranks: Ranks, report: Report
) -> bool:
    """Whether a layer cannot stand where it says. Reports CS301 and CS308."""
    span = entry.part(name.start, name.end)
    if name.text not in network.layers:
        help = did_you_mean(name.text, network.layers) or "name a layer of this spec, or of one that it extends"
        report.add("CS301", span, f"{section.name} stands after {name.text}, which does not exist", help=help)
    elif name.text == section.name:
        report.add("CS308", span, f"{section.name} stands after itself", help="name the layer that it is to read")
    elif ranks.of(entry.key_span) >= ranks.last:
        report.add(
            "CS308",
            entry.key_span,
            f"after of {section.name} joins it to the layers of a file that is extended, and this file extends none",
            help=f"write inputs={name.text}, and name {section.name} in inputs= of the layers that are to read it",
        )
    elif section.maker is not None and min(ranks.of(section.maker), ranks.of(section.header)) > ranks.of(
        entry.key_span
    ):
        report.add(
            "CS308",
            span,
            f"{section.name} comes of a template, and stands in the network already",
            labels=[Label(section.maker, "made here")],
            help="take it out with remove=1, and add one under another name",
        )
    else:
        return False
    return True


def _remove_all(network: _Network, report: Report) -> dict[str, Merged]:
    """Take out every layer with `remove=1`, and return them. Reports CS307."""
    removed: dict[str, Merged] = {}
    for name, section in network.layers.items():
        entry = section.entries.get(REMOVE.name)
        if entry is not None and REMOVE.read(name, entry, report):
            removed[name] = section
        if name in removed and "type" not in section.entries:
            _report_nothing_to_remove(section, network, report)
    kept: set[str] = set()
    for name, section in removed.items():
        readers = [reader for reader in network.readers.get(name, ()) if reader not in removed]
        sources = _sources(name, removed, network) if readers else []
        for reader in readers:
            if _report_unjoinable(network.layers[reader], section, sources, network, report):
                kept.add(name)
                break
            _take_over_gpu(reader, removed, network)
            network.substitute(reader, name, sources, lambda wire: True)
    return {name: section for name, section in removed.items() if name not in kept}


def _report_nothing_to_remove(section: Merged, network: _Network, report: Report) -> None:
    others = [name for name, other in network.layers.items() if "type" in other.entries]
    report.add(
        "CS307",
        section.header,
        f"there is no layer {section.name} to take out",
        help=did_you_mean(section.name, others) or "name a layer of this spec, or of one that it extends",
    )


def _sources(name: str, removed: Container[str], network: _Network) -> list[str]:
    """What a reader of a removed layer reads instead: its inputs, and in the place of removed ones theirs."""
    found: dict[str, None] = {}
    seen = {name}
    stack = [name]
    while stack:
        source = stack.pop()
        if source in removed:
            inputs = [wire.source for wire in network.wires[source]]
            stack.extend(source for source in reversed(inputs) if source not in seen)
            seen.update(source for source in inputs if source in removed)
        else:
            found[source] = None
    return list(found)


def _report_unjoinable(reader: Merged, section: Merged, sources: list[str], network: _Network, report: Report) -> bool:
    """Whether the reader of a removed layer cannot read what that layer read. Reports CS307."""
    cls = reader.layer_class
    most = cls.input_counts[1] if cls is not None else None
    count = len({wire.source for wire in network.wires[reader.name]} - {section.name} | set(sources))
    if sources and (most is None or count <= most):
        return False
    label = next(wire.span for wire in network.wires[reader.name] if wire.source == section.name)
    message = f"{section.name} cannot be taken out: {reader.name} reads it, and {section.name} reads nothing"
    if sources:
        message = (
            f"{section.name} cannot be taken out: it reads {joined(sources[:4])}, and its reader "
            f"{reader.name} can read one layer only"
        )
    report.add(
        "CS307",
        section.entries[REMOVE.name].key_span,
        message,
        labels=[Label(label, "read here")],
        help=f"say what {reader.name} reads instead: [{reader.name}] with inputs=",
    )
    return True


def _take_over_gpu(reader: str, removed: Mapping[str, Merged], network: _Network) -> None:
    """Keep the reader of a removed layer on the GPU that it had from its first input."""
    name = network.wires[reader][0].source
    seen: set[str] = set()
    while "gpu" not in network.layers[reader].entries and name in removed and name not in seen:
        seen.add(name)
        if "gpu" in removed[name].entries:
            network.gpus[reader] = removed[name].entries["gpu"]
            return
        name = next((wire.source for wire in network.wires[name]), "")

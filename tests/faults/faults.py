"""Seeded single faults: one edit of a clean spec that its author would call a mistake.

Each kind is a function that takes a spec apart and gives one fault, or None where the spec has no place for it. A kind only
makes what is a fault by the rules of the language, never merely another network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from convspec.layers import layer_type, layer_types
from convspec.layers.base import NEURON_ARGUMENTS
from tests.faults.specs import Spec


@dataclass(frozen=True)
class Place:
    """A key of a spec. line: from 0, in the lines of the layer file, or of the parameter file."""

    section: str
    type: str
    key: str
    value: str
    line: int
    in_params: bool


@dataclass(frozen=True)
class Fault:
    """text: of the file with the fault in it. line: where that is, from 1. section, key: what an answer may name."""

    kind: str
    spec: Spec
    text: str
    in_params: bool
    line: int
    section: str
    key: str


class Anatomy:
    """The sections and keys of a spec, found by a few regular expressions: no code of the parser's."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.files = [spec.layers.splitlines(), (spec.params or "").splitlines()]
        self.headers: dict[str, int] = {}
        self.places: list[Place] = []
        types: dict[str, str] = {}
        for number, lines in enumerate(self.files):
            section = ""
            for index, line in enumerate(lines):
                if header := re.match(r"\[([^\]]+)\]", line):
                    section = header.group(1)
                    if number == 0:
                        self.headers[section] = index
                elif entry := re.match(r"([A-Za-z]\w*)\s*[=:]\s*(.*?)(\s+;.*)?\s*$", line):
                    key, value = entry.group(1).lower(), entry.group(2)
                    if key == "type":
                        types[section] = value
                    self.places.append(Place(section, "", key, value, index, number == 1))
        self.places = [Place(p.section, types.get(p.section, ""), *_rest(p)) for p in self.places]
        self.layers = [name for name in self.headers if not name.startswith("@")]

    def keys(self, *names: str, of: str = "") -> list[Place]:
        """The places of these keys, in layers of a type if one is named, that their layers read."""
        return [p for p in self.places if p.key in names and (not of or p.type == of) and self.is_read(p)]

    def value(self, section: str, key: str) -> str | None:
        return next((p.value for p in self.places if (p.section, p.key) == (section, key)), None)

    @staticmethod
    def is_read(place: Place) -> bool:
        cls = layer_type(place.type)
        return cls is not None and (place.key == "type" or place.key in cls.keys)

    def edit(self, kind: str, place: Place, *lines: str) -> Fault:
        """The fault of replacing the line of a key."""
        return self._fault(kind, place.in_params, place.line, place.section, place.key, lines)

    def edit_header(self, kind: str, section: str, *lines: str) -> Fault:
        return self._fault(kind, False, self.headers[section], section, "", lines)

    def set(self, kind: str, place: Place, value: str) -> Fault:
        return self.edit(kind, place, f"{place.key}={value}")

    def _fault(self, kind: str, in_params: bool, line: int, section: str, key: str, lines: tuple[str, ...]) -> Fault:
        old = self.files[in_params]
        text = "\n".join([*old[:line], *lines, *old[line + 1 :]]) + "\n"
        return Fault(kind, self.spec, text, in_params, line + 1, section, key)


def _rest(place: Place) -> tuple[str, str, int, bool]:
    return place.key, place.value, place.line, place.in_params


def misspelt(word: str, rng: Random, known: object) -> str:
    """The word with one slip of a finger in it, such that it is none of the known ones."""
    while True:
        i = rng.randrange(len(word))
        slip = rng.choice(["drop", "double", "swap", "neighbour"])
        new = {
            "drop": word[:i] + word[i + 1 :],
            "double": word[: i + 1] + word[i:],
            "swap": word[:i] + word[i + 1 : i + 2] + word[i : i + 1] + word[i + 2 :],
            "neighbour": word[:i] + rng.choice("qwertyuiopasdfghjklzxcvbnm") + word[i + 1 :],
        }[slip]
        if new and new[0].isalpha() and new.lower() != word.lower() and new not in known:  # type: ignore[operator]
            return new


Kind = Callable[[Anatomy, Random], Fault | None]
KINDS: list[Kind] = []


def kind(make: Kind) -> Kind:
    KINDS.append(make)
    return make


def pick(places: list[Place], rng: Random) -> Place | None:
    return rng.choice(places) if places else None


@kind
def misspelt_key(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if a.is_read(p) and len(p.key) > 2], rng)
    if place is None:
        return None
    cls = layer_type(place.type)
    assert cls is not None
    return a.edit("misspelt key", place, f"{misspelt(place.key, rng, {*cls.keys, 'type'})}={place.value}")


@kind
def misspelt_input(a: Anatomy, rng: Random) -> Fault | None:
    place = pick(a.keys("inputs"), rng)
    if place is None:
        return None
    names = [name.strip() for name in place.value.split(",")]
    i = rng.randrange(len(names))
    names[i] = misspelt(names[i], rng, a.headers)
    return a.set("input that does not exist", place, ",".join(names))


@kind
def long_list(a: Anatomy, rng: Random) -> Fault | None:
    per_input = ("filters", "filtersize", "padding", "stride", "channels", "groups", "initw", "epsw", "momw", "wc")
    place = pick([p for p in a.keys(*per_input) if p.type in ("conv", "fc")], rng)
    if place is None:
        return None
    inputs = a.value(place.section, "inputs") or ""
    count = inputs.count(",") + 2
    return a.set("list too long", place, ",".join([place.value.split(",")[0]] * count))


@kind
def missing_key(a: Anatomy, rng: Random) -> Fault | None:
    required = {
        "conv": ("type", "inputs", "filters", "filtersize"),
        "fc": ("type", "inputs", "outputs"),
        "pool": ("type", "inputs", "sizex", "stride", "pool"),
        "cmrnorm": ("type", "inputs", "size"),
        "softmax": ("type", "inputs"),
        "data": ("type", "dataidx"),
        "neuron": ("type", "inputs", "neuron"),
        "cost.logreg": ("type", "inputs", "coeff"),
    }
    place = pick([p for p in a.places if p.key in required.get(p.type, ())], rng)
    return None if place is None else a.edit("missing key", place)


@kind
def missing_rate(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if p.key in ("epsw", "epsb", "momw", "momb") and p.section != "DEFAULT"], rng)
    return None if place is None else a.edit("missing rate", place)


@kind
def bad_integer(a: Anatomy, rng: Random) -> Fault | None:
    keys = ("filters", "filtersize", "padding", "stride", "outputs", "sizex", "size", "start", "dataidx", "groups")
    place = pick(a.keys(*keys), rng)
    if place is None:
        return None
    first = place.value.split(",")[0].strip()
    bad = rng.choice([f"{first}px", f"{first}.5", "O", f"{first} {first}", "", f"{first}x{first}"])
    return a.set("bad integer", place, bad)


@kind
def bad_number(a: Anatomy, rng: Random) -> Fault | None:
    keys = ("initw", "initb", "epsb", "momb", "coeff", "scale", "pow", "keep")
    place = pick([p for p in a.places if p.key in keys and (p.section == "@params" or a.is_read(p))], rng)
    if place is None:
        return None
    bad = rng.choice(["0.o1", "0..1", "1e", "nan", "0.01;", "0.0.1", "1/2", "half"])
    return a.set("bad number", place, bad)


@kind
def out_of_range(a: Anatomy, rng: Random) -> Fault | None:
    wrong = {"filters": "0", "filtersize": "0", "stride": "0", "padding": "-1", "outputs": "0", "sizex": "0"}
    wrong |= {"momw": "9", "momb": "1.9", "initw": "-0.01", "groups": "0", "topk": "0", "gpu": "-1", "epsb": "-0.1"}
    place = pick([p for p in a.places if p.key in wrong and (p.section == "@params" or a.is_read(p))], rng)
    return None if place is None else a.set("out of range", place, wrong[place.key])


@kind
def unknown_type(a: Anatomy, rng: Random) -> Fault | None:
    place = pick(a.keys("type"), rng)
    return None if place is None else a.set("unknown type", place, misspelt(place.value, rng, layer_types()))


@kind
def unknown_neuron(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.keys("neuron") if p.value.isalpha()], rng)
    return None if place is None else a.set("unknown neuron", place, misspelt(place.value, rng, NEURON_ARGUMENTS))


@kind
def neuron_arguments(a: Anatomy, rng: Random) -> Fault | None:
    place = pick(a.keys("neuron"), rng)
    return (
        None if place is None else a.set("neuron arguments", place, rng.choice(["relu[1]", "tanh[1]", "tanh", "relu["]))
    )


@kind
def unknown_choice(a: Anatomy, rng: Random) -> Fault | None:
    place = pick(a.keys("pool", of="pool"), rng)
    return None if place is None else a.set("unknown choice", place, rng.choice(["mean", "maximum", "Max", "average"]))


@kind
def wrong_channels(a: Anatomy, rng: Random) -> Fault | None:
    """`channels` off by one; added after `inputs` where a layer does without."""
    given = [p for p in a.keys("channels", of="conv") if p.value.isdigit()]
    if given:
        place = rng.choice(given)
        return a.set("wrong channels", place, str(int(place.value) + rng.choice([1, 2])))
    readers = [p for p in a.keys("filtersize", of="conv") if (a.value(p.section, "inputs") or "").count(",") == 0]
    place = pick([p for p in readers if _channels(a, p.section) > 0], rng)
    if place is None:
        return None
    channels = _channels(a, place.section) + rng.choice([1, 2])
    return _with_line_above(a, "wrong channels", place, f"channels={channels}", "channels")


def _with_line_above(a: Anatomy, kind: str, place: Place, line: str, key: str) -> Fault:
    old = a.files[place.in_params]
    return replace(a.edit(kind, place, line, old[place.line]), key=key)


def _channels(a: Anatomy, section: str) -> int:
    """Maps that the first input of a layer gives, by reading upwards; 0 where that is not plain."""
    source = (a.value(section, "inputs") or "").split(",")[0].strip()
    for _ in a.headers:
        filters = a.value(source, "filters")
        if filters is not None:
            return int(filters) * int(a.value(source, "groups") or 1) if filters.isdigit() else 0
        source = (a.value(source, "inputs") or "").split(",")[0].strip()
    return 0


@kind
def wrong_groups(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.keys("filtersize", of="conv") if _channels(a, p.section) % 7], rng)
    if place is None or a.value(place.section, "groups") is not None:
        return None
    return _with_line_above(a, "groups that do not divide", place, "groups=7", "groups")


@kind
def large_window(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([*a.keys("filtersize", of="conv"), *a.keys("sizex", of="pool")], rng)
    return None if place is None else a.set("window larger than the map", place, "500")


@kind
def gaps_between_windows(a: Anatomy, rng: Random) -> Fault | None:
    places = [p for p in a.keys("stride", of="pool") if (a.value(p.section, "sizex") or "").isdigit()]
    place = pick(places, rng)
    if place is None:
        return None
    return a.set("stride larger than sizeX", place, str(int(a.value(place.section, "sizex") or 0) + 1))


@kind
def missing_bracket(a: Anatomy, rng: Random) -> Fault | None:
    section = rng.choice(a.layers)
    return a.edit_header("missing bracket", section, rng.choice([f"[{section}", f"{section}]"]))


@kind
def missing_equals(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if p.value and " " not in p.value and not set(p.value) & set("=:")], rng)
    return None if place is None else a.edit("missing =", place, f"{place.key} {place.value}")


@kind
def indented_line(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if a.is_read(p) and p.key not in ("inputs",)], rng)
    if place is None or a.files[place.in_params][place.line - 1].startswith("["):
        return None
    return a.edit("indented line", place, f"    {place.key}={place.value}")


@kind
def wrong_classes(a: Anatomy, rng: Random) -> Fault | None:
    """The outputs of the fc layer below the softmax, off by one."""
    sources = {p.value.strip() for p in a.keys("inputs", of="softmax")}
    place = pick([p for p in a.keys("outputs", of="fc") if p.section in sources], rng)
    return None if place is None else a.set("wrong classes", place, str(int(place.value) - 1))


@kind
def large_top_k(a: Anatomy, rng: Random) -> Fault | None:
    place = pick(a.keys("topk"), rng)
    return None if place is None else a.set("topk above classes", place, "100000")


@kind
def cycle(a: Anatomy, rng: Random) -> Fault | None:
    """A layer reads a layer that reads it."""
    sources = {p.section: p for p in a.keys("inputs") if "," not in p.value}
    pairs = [(sources[p.value], p) for p in sources.values() if p.value in sources]
    if not pairs:
        return None
    place, reader = rng.choice(pairs)
    return a.set("cycle", place, reader.section)


@kind
def reads_itself(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.keys("inputs") if p.type in ("conv", "fc", "pool", "cmrnorm", "neuron")], rng)
    return None if place is None else a.set("reads itself", place, place.section)


@kind
def swapped_inputs(a: Anatomy, rng: Random) -> Fault | None:
    place = pick(a.keys("inputs", of="cost.logreg"), rng)
    return None if place is None else a.set("swapped inputs", place, ",".join(reversed(place.value.split(","))))


@kind
def no_softmax(a: Anatomy, rng: Random) -> Fault | None:
    place = pick(a.keys("inputs", of="cost.logreg"), rng)
    probabilities = None if place is None else place.value.split(",")[-1].strip()
    below = a.value(probabilities, "inputs") if probabilities else None
    if place is None or below is None:
        return None
    return a.set("no softmax", place, f"{place.value.split(',')[0]},{below}")


@kind
def too_many_inputs(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.keys("inputs") if p.type in ("pool", "cmrnorm", "softmax", "neuron", "dropout2")], rng)
    others = [name for name in a.layers if place is not None and name not in (place.section, place.value)]
    return None if place is None else a.set("too many inputs", place, f"{place.value},{rng.choice(others)}")


@kind
def same_name_twice(a: Anatomy, rng: Random) -> Fault | None:
    """A section that was copied and not renamed: its header repeats the one before."""
    if len(a.layers) < 2:
        return None
    i = rng.randrange(1, len(a.layers))
    before = a.layers[i - 1]
    fault = a.edit_header("section not renamed", a.layers[i], f"[{before}]")
    return replace(fault, section=before)


@kind
def reads_a_cost(a: Anatomy, rng: Random) -> Fault | None:
    costs = [p.section for p in a.keys("type") if p.type == "cost.logreg"]
    place = pick(list(a.keys("inputs", of="pool")), rng)
    return None if place is None or not costs else a.set("reads a cost", place, costs[0])


@kind
def deleted_header(a: Anatomy, rng: Random) -> Fault | None:
    """The header of the first section of the file is lost."""
    first = min(a.headers, key=lambda name: a.headers[name])
    return a.edit_header("header lost", first)


@kind
def unknown_settings(a: Anatomy, rng: Random) -> Fault | None:
    sections = [name for name in a.headers if name.startswith("@")]
    if not sections:
        return None
    section = rng.choice(sections)
    return a.edit_header(
        "unknown @ section", section, f"[@{misspelt(section[1:], rng, ('net', 'train', 'data', 'params'))}]"
    )


@kind
def misspelt_setting(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if p.section in ("@net", "@train", "@data", "@params")], rng)
    return None if place is None else a.edit("misspelt setting", place, f"{misspelt(place.key, rng, ())}={place.value}")


@kind
def bad_size(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if p.section == "@net" and p.key == "input"], rng)
    if place is None:
        return None
    bad = rng.choice(["3,227,227", "data:3x227", "data=3x227x227", "dta:3x227x227", "data:3x0x227", "data"])
    return a.set("bad size", place, bad)


@kind
def bad_schedule(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if p.key == "epsw" and (p.section == "@params" or a.is_read(p))], rng)
    bad = [
        "exp[base=0.01]",
        "step[base=0.01;tgtFactor=10]",
        "exp[tgtFactor=10;base=0.01]",
        "exp[base=0.01;tgtFactor=0]",
        "exp[base=0.01,tgtFactor=10]",
        "dexp[base=0.01;tgtFactor=10;numSteps=0]",
        "exp(0.01,10)",
    ]
    return None if place is None else a.set("bad schedule", place, rng.choice(bad))


@kind
def twins_differ(a: Anatomy, rng: Random) -> Fault | None:
    """Of two towers that a convolution joins, a window of one is off by one."""
    joined = [p.value for p in a.keys("inputs", of="conv") if p.value.count(",") == 1]
    for value in joined:
        first, second = (name.strip() for name in value.split(","))
        place = _window_above(a, first, second, rng)
        if place is not None:
            return a.set("twin towers differ", place, str(int(place.value) + 1))
    return None


def _window_above(a: Anatomy, first: str, second: str, rng: Random) -> Place | None:
    """A padding or stride on the way up from `first` that is not on the way up from `second`."""
    way, other = _way(a, first), _way(a, second)
    keys = ("padding",) if rng.random() < 0.5 else ("padding", "sizex")
    places = [p for p in a.keys(*keys) if p.section in set(way) - set(other) and p.value.isdigit()]
    return pick([p for p in places if p.key == "padding" or int(p.value) > 2], rng)


def _way(a: Anatomy, name: str) -> list[str]:
    way = [name]
    while (source := (a.value(way[-1], "inputs") or "").split(",")[0].strip()) and source not in way:
        way.append(source)
    return way


@kind
def misspelt_base(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if p.section == "@net" and p.key == "extends"], rng)
    return None if place is None else a.set("spec to extend that is not there", place, misspelt(place.value, rng, ()))


@kind
def misspelt_removed_layer(a: Anatomy, rng: Random) -> Fault | None:
    """A section of a variant whose layer the extended spec does not have."""
    of_variant = [
        p.section for p in a.places if p.type == "" and not p.section.startswith("@") and p.section in a.headers
    ]
    if not of_variant or not any(p.key == "extends" for p in a.places):
        return None
    section = rng.choice(of_variant)
    fault = a.edit_header("layer that is not extended", section, f"[{section}x]")
    return replace(fault, section=f"{section}x")


@kind
def misspelt_reference(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if p.value.startswith("$") and p.value != "$inputs"], rng)
    return None if place is None else a.set("unknown parameter", place, f"${misspelt(place.value[1:], rng, ())}")


@kind
def misspelt_parameter(a: Anatomy, rng: Random) -> Fault | None:
    """A parameter of an instance of a template."""
    templates = [name.removeprefix("@template ") for name in a.headers if name.startswith("@template ")]
    own = ("type", "inputs", "repeat", "expect")
    place = pick([p for p in a.places if p.type in templates and p.key not in own], rng)
    return (
        None if place is None else a.edit("misspelt parameter", place, f"{misspelt(place.key, rng, ())}={place.value}")
    )


@kind
def wrong_claim(a: Anatomy, rng: Random) -> Fault | None:
    place = pick([p for p in a.places if p.key == "expect"], rng)
    return None if place is None else a.set("wrong claim", place, place.value + "0")


def seeded_faults(specs: tuple[Spec, ...], count: int) -> Iterator[Fault]:
    """`count` faults, every kind in turn, each in a spec that the seed chooses among those that have a place for it."""
    anatomies = [Anatomy(spec) for spec in specs]
    made = seed = 0
    while made < count:
        rng = Random(seed)
        make = KINDS[seed % len(KINDS)]
        seed += 1
        for anatomy in rng.sample(anatomies, len(anatomies)):
            fault = make(anatomy, rng)
            if fault is not None:
                made += 1
                yield fault
                break

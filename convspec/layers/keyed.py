"""Typed views of a section: its keys as attributes, with the place where each value stands.

A subclass of `Keyed` declares its keys as class attributes; reading one from an instance gives the value:

    class Pool(Layer):
        stride = integer("stride", minimum=1, doc="pixels from one window to the next")

    pool.stride            # 2
    pool.span("stride")    # where the 2 stands

Every key that is missing, malformed or out of range is reported; reading never stops at the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from convspec.diagnostics import Label, Report, Span, closest, joined
from convspec.layers.dialects import CONVSPEC, Dialect
from convspec.layers.foreign import key_meant
from convspec.layers.keys import REQUIRED, Home, Key
from convspec.syntax.document import Entry
from convspec.syntax.values import Name

DEFAULTS = "@params"


class RawSection(NamedTuple):
    """The entries of one section, later ones over earlier ones, from all the places that may supply them.

    layers: from the section of the layer file (or of the one file). params: from the parameter file, or None in the
    one-file form, where both kinds of keys stand together. defaults: `[@params]`, for keys with `takes_default`.
    type_defaults: `[@params TYPE]` of its type, for all keys but the individual ones, over `defaults`.
    lacks_params: the parameter file is missing, which has been reported, so its keys are not asked for.
    params_header: the header in the parameter file, if it has this section. for_all: the entries of `[DEFAULT]`, which
    `layers` and `params` hold too. unreadable: words that were perhaps to be keys, on lines that have been reported.
    dialect: in which it is to be read. maker: the header of the section for which a template makes this one.
    """

    name: str
    header: Span
    layers: Mapping[str, Entry]
    params: Mapping[str, Entry] | None = None
    defaults: Mapping[str, Entry] = {}
    lacks_params: bool = False
    params_header: Span | None = None
    for_all: Mapping[str, Entry] = {}
    unreadable: frozenset[str] = frozenset()
    dialect: Dialect = CONVSPEC
    type_defaults: Mapping[str, Entry] = {}
    maker: Span | None = None

    def entry(self, key: Key[Any]) -> Entry | None:
        entry = self.home_of(key).get(key.name)
        if entry is None and not key.is_individual:
            entry = self.type_defaults.get(key.name)
        if entry is None and key.takes_default:
            entry = self.defaults.get(key.name)
        return entry

    def home_of(self, key: Key[Any]) -> Mapping[str, Entry]:
        """The entries among which a key must stand."""
        return self.layers if self.params is None or key.home is Home.LAYERS else self.params

    def is_shared(self, entry: Entry) -> bool:
        """Whether other sections read this entry too."""
        return self.sharing_section(entry) is not None

    def sharing_section(self, entry: Entry) -> str | None:
        """The section whose entry this is, if it serves others too."""
        if not (self.type_defaults or self.defaults or self.for_all):
            return None
        if _same_place(entry, self.type_defaults.get(entry.key)):
            return f"{DEFAULTS} {self.layers['type'].value}"
        if _same_place(entry, self.defaults.get(entry.key)):
            return DEFAULTS
        return "DEFAULT" if _same_place(entry, self.for_all.get(entry.key)) else None


def _same_place(entry: Entry, other: Entry | None) -> bool:
    """Whether two entries are one of the file, whatever was put into their values."""
    return other is not None and entry.key_span == other.key_span


class Remark(NamedTuple):
    """What a diagnostic will say of a value, once for all sections in which the same is to be said."""

    code: str
    span: Span
    message: str
    note: str
    help: str | None


class Keyed:
    """A section whose keys have been read. Immutable.

    `keys` of an instance are those that its dialect reads, without those that are `idle`: another key of it leaves them
    nothing to say, and is what `idle` holds for them. All others are at their defaults, or None where they have none.
    `is_broken` is True where a key was missing or wrong: the section stands in the graph, its shape is not known.
    `explained` holds the keys that another diagnostic spoke of already, so that nobody says again that nothing reads
    them. `remarks` are for the whole spec to make, once for all sections that say the same.
    """

    keys: Mapping[str, Key[Any]] = MappingProxyType({})

    def __init_subclass__(cls, *, without: Sequence[str] = ()) -> None:
        """without: names of keys of the parent that the subclass does not have."""
        inherited = {name: key for name, key in cls.keys.items() if name not in without}
        own = {key.name: key for key in vars(cls).values() if isinstance(key, Key)}
        cls.keys = {**inherited, **own}

    @classmethod
    def keys_in(cls, dialect: Dialect) -> Mapping[str, Key[Any]]:
        """The keys that a section of this class has in a dialect, by name."""
        return cls.keys

    @classmethod
    def idle_keys(cls, raw: RawSection) -> Mapping[str, str]:
        """The keys, by name, that another key of the section leaves nothing to say, with that one as it is written."""
        return {}

    def __init__(self, raw: RawSection, report: Report) -> None:
        """Read the keys of `raw`, in the order of their declaration. Reports CS203 to CS206 and CS212."""
        self.name = raw.name
        self.header = raw.header
        self.maker = raw.maker
        self.is_broken = False
        self._values: dict[str, Any] = {}
        self._entries: dict[str, Entry] = {}
        self._shared: set[str] = set()
        self.explained: set[Span] = set()
        self.remarks: list[Remark] = []
        self.dialect = raw.dialect
        self.keys = self.keys_in(raw.dialect)
        self.idle = self.idle_keys(raw)
        if self.idle:
            self.keys = {name: key for name, key in self.keys.items() if name not in self.idle}
        missing = [key for key in self.keys.values() if not self._read(key, raw, report)]
        missing = [key for key in missing if not self._report_misspelt(key, raw, report)]
        for home in Home:
            self._report_missing([key for key in missing if key.home is home or raw.params is None], raw, report)
            missing = missing if raw.params is not None else []
        for key in type(self).keys.values():
            if key.name not in self.keys:
                self._values[key.attribute] = self._at_default(key, report)

    @property
    def input_count(self) -> int:
        """Length of the lists that have an entry for each input."""
        return 1

    @property
    def title(self) -> str:
        """How messages name this section."""
        return self.name

    def _read(self, key: Key[Any], raw: RawSection, report: Report) -> bool:
        """Whether the key has a value, or needs none."""
        entry = raw.entry(key)
        value = key.default
        if entry is not None and not (key.can_be_blank and not entry.value):
            self._entries[key.attribute] = entry
            value = self._value(key, entry, raw, report)
        elif value is REQUIRED:
            self._values[key.attribute] = None
            self.is_broken |= key.name in raw.unreadable
            return key.name in raw.unreadable or (raw.lacks_params and key.home is Home.PARAMS)
        if key.per_input and value is not None:
            value = self._for_each_input(key, value, report)
        self._values[key.attribute] = value
        return True

    def _at_default(self, key: Key[Any], report: Report) -> Any:
        """The value of a key that is not read."""
        value = None if key.default is REQUIRED else key.default
        return self._for_each_input(key, value, report) if key.per_input and value is not None else value

    def _value(self, key: Key[Any], entry: Entry, raw: RawSection, report: Report) -> Any:
        found = Report()
        sharing = raw.sharing_section(entry)
        if sharing is not None:
            self._shared.add(key.attribute)
            value = key.read(sharing, entry, found)
            report.extend(d for d in found if not report.has(d.code, d.span))
        else:
            value = key.read(self.title, entry, report)
        self.is_broken |= value is None
        return value

    def _report_misspelt(self, key: Key[Any], raw: RawSection, report: Report) -> bool:
        """Report a missing key at the key that was probably meant to be it, if there is one."""
        unread = {e.key: e for e in raw.home_of(key).values() if e.key not in self.keys and e.key != "type"}
        free = [name for name, entry in unread.items() if entry.key_span not in self.explained]
        guess = next((name for name in free if key_meant(name, (key.name,))), None) or closest(key.name, free)
        if guess is None:
            return False
        entry = unread[guess]
        self.is_broken = True
        self.explained.add(entry.key_span)
        report.add(
            "CS203",
            entry.key_span,
            f"{self.title} needs {key.spelling}, and has {entry.written_key}, which nothing reads",
            help=f"did you mean '{key.spelling}'?",
        )
        return True

    def _report_missing(self, keys: Sequence[Key[Any]], raw: RawSection, report: Report) -> None:
        if not keys:
            return
        self.is_broken = True
        home = keys[0].home
        spellings = joined([key.spelling for key in keys])
        message, header = f"{self.title} needs {spellings}", raw.header
        if raw.params is not None and home is Home.PARAMS:
            message += " in the parameter file" if raw.params_header else ", and is not in the parameter file"
            header = raw.params_header or header
        elif raw.params is not None:
            message += " in the layer file"
        elsewhere = {} if raw.params is None else raw.params if home is Home.LAYERS else raw.layers
        misplaced = [elsewhere[key.name] for key in keys if key.name in elsewhere]
        self.explained.update(entry.key_span for entry in misplaced)
        to_all = f", or to [{DEFAULTS}] for all layers" if all(key.takes_default for key in keys) else ""
        first = f"add {keys[0].spelling}= to [{self.title}]{to_all}: {keys[0].doc}"
        report.add(
            "CS203",
            header,
            message,
            labels=[Label(entry.key_span, "nothing reads it here") for entry in misplaced],
            notes=[f"{key.spelling}: {key.doc}" for key in keys] if len(keys) > 1 else (),
            help=first if len(keys) == 1 else f"add them to [{self.title}]{to_all}",
        )

    def _for_each_input(self, key: Key[Any], value: Any, report: Report) -> Any:
        input_count = self.input_count
        entries = value if isinstance(value, tuple) and not hasattr(value, "_fields") else (value,)
        repeats = self.dialect.repeats_single or key.attribute not in self._entries or key.attribute in self._shared
        if len(entries) == 1 and repeats:
            return entries * input_count
        if len(entries) == input_count:
            return entries
        self.is_broken = True
        # Without inputs, which has been reported, nobody can say how many there should be.
        if input_count:
            first = self._entries[key.attribute].value.split(",")[0].strip()
            inputs = "1 input" if input_count == 1 else f"{input_count} inputs"
            self.blame(
                report,
                "CS206",
                key.attribute,
                f"{key.spelling} of {self.title} has {len(entries)} entries for {inputs}",
                labels=[Label(self.span("inputs"), inputs)] if "inputs" in self._entries else (),
                help=f"give one entry for each input, or a single one for all: {key.spelling}={first}"
                if self.dialect.repeats_single
                else f"{self.dialect.program} wants one for each input: {key.spelling}={','.join([first] * input_count)}",
            )
        return None

    def blame(
        self,
        report: Report,
        code: str,
        attribute: str,
        message: str,
        *,
        labels: Sequence[Label] = (),
        help: str | None = None,
    ) -> None:
        """Report the value of a key. One that many sections share, in `[@params]`, is reported once."""
        span = self.span(attribute)
        if attribute not in self._shared or not report.has(code, span):
            report.add(code, span, message, labels=labels, help=help)

    def remark(self, code: str, attribute: str, message: str, *, note: str, help: str | None = None) -> None:
        """Note something on the value of a key that other sections may have too. `message` names no section."""
        self.remarks.append(Remark(code, self.span(attribute), message, note, help))

    @classmethod
    def key(cls, attribute: str) -> Key[Any]:
        """The key behind an attribute."""
        key: Key[Any] = getattr(cls, attribute)
        return key

    def span(self, attribute: str) -> Span:
        """Where the value of a key stands; the header where the key is absent."""
        entry = self._entries.get(attribute)
        return self.header if entry is None else entry.value_span

    def is_given(self, attribute: str) -> bool:
        """Whether the key stands in the file, rather than at its default."""
        return attribute in self._entries

    def part(self, attribute: str, name: Name) -> Span:
        """Where a name in the value of a key stands."""
        return self._entries[attribute].part(name.start, name.end)

"""The tables of the dialects as a document: `python -m convspec.graph.dialect_page > docs/dialects.md`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from convspec.graph.dialect import SIGNS
from convspec.layers.base import NEURON_ARGUMENTS
from convspec.layers.dialects import ALIASES, DIALECTS, ROWS, UNREAD, Dialect, Learning, Placing, Row
from convspec.layers.keys import REQUIRED

_INTRODUCTION = """\
# Dialects

Four programs read layer files before us. Each took files that the others refuse, and gave some words another meaning.
convspec reads a pair of files in the dialect of the program that it was written for, and gives that program's verdict;
`check` names the dialect below its table, and as `dialect` in `--format json`. What was a limit of the old kernels is no
mistake here; `check --portable` warns of it. What was a bug is not reproduced; a note says where a spec touches one.

A spec in one file is ours. `[@net] dialect=NAME` decides otherwise, and `--dialect NAME` or `convspec.check(...,
dialect=NAME)` over that.
"""


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


_PLACING = {
    Placing.NONE: "is ignored: there is one GPU",
    Placing.ONE: "one GPU; a layer above data must say it",
    Placing.REPLICAS: "a GPU for each replica; a layer above data must say it",
    Placing.ANY: "a GPU for each replica; GPU 0 where nobody says it",
}
# A question about a dialect, and where the answer is.
_FACTS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "placing": ("`gpu=`", _PLACING.__getitem__),
    "repeats_single": ("a list of one entry serves all inputs", _yes),
    "reads_ahead": ("an input may stand below its reader", _yes),
    "takes_mark": ("a byte order mark may stand before the text", _yes),
    "reads_positions": ("`schedW=dexp[250,0,4]`, without names", _yes),
    "limits_top_k": ("`topk` is at most the number of classes", _yes),
    "section_types": (
        "needs a section in the parameter file although its keys have defaults",
        lambda types: ", ".join(f"`{name}`" for name in sorted(types)) or "-",
    ),
}


def _learning_facts() -> dict[str, str]:
    """What each field of `Learning` means, as its docstring says it, without the sources in brackets."""
    described = re.findall(
        r"^    (\w+): (.*?)\.?(?=\n    \w+: |\s*\Z)", Learning.__doc__ or "", re.DOTALL | re.MULTILINE
    )
    return {
        field: re.sub(r"\s*\([^()]*\)\s*$", "", " ".join(text.split()).removeprefix("whether "))
        for field, text in described
    }


def _yes_or_which(answer: bool | frozenset[str]) -> str:
    return _yes(answer) if isinstance(answer, bool) else ", ".join(f"`{each}`" for each in sorted(answer))


_FILES = """\
## How a file is read

All four read files by Python's ConfigParser, and so do we:

- A key may be in any case, `GPU=0`; names of sections and values keep theirs. `=` and `:` are the same, with blanks or without.
- A comment is a line that starts with `#`, `;` or `rem`, or what stands behind a blank and `;`. A `#` behind a value is a
  part of it.
- An indented line continues the value above it.
- A section that stands twice is one, and of a key that stands twice the last counts; both are warnings (CS106, CS107).
- The name of a section ends at its first `]`; blanks inside the brackets belong to it.
- `[DEFAULT]` gives its keys to every layer of its file, and is no section of its own: a layer that needs one in the parameter
  file needs it still.
- `%(name)s` in a value is the value of another key of the section, or of `[DEFAULT]`; `%(__name__)s` is the section's name, `%%` a
  percent sign. A reference that leads nowhere is a mistake only where the key is read (CS229). Sections of ours take
  `%` as it stands, all but `[@params]`.
- Yes and no are `1 true yes on` and `0 false no off`, in any case.

## GPUs

`gpu=0` puts a layer on one GPU, `gpu=0,1` a replica on each of two, for half of the batch each. A layer that does not say it is
where its first input is. Where a layer has fewer replicas than its input, it takes them in turn: so the one number has to
divide the other, all inputs have equally many, and so have all readers of a layer (CS503). `convspec check --gpus 2` checks
that there is no third one (CS504).
"""


def document() -> str:
    """All that the tables say, in Markdown."""
    parts = [_INTRODUCTION, _dialects(), _signs(), _FILES, _facts(), _layer_types(), _neurons(), _keys()]
    return "\n".join(parts)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _dialects() -> str:
    rows = []
    for name, dialect in DIALECTS.items():
        also = [alias for alias, meant in ALIASES.items() if meant == name]
        rows.append([f"`{name}`" + "".join(f", `{alias}`" for alias in also), dialect.program])
    return _table(["name", "program"], rows)


def _signs() -> str:
    lines = [f"{i}. `{sign.dialect.name}`: {sign.text}" for i, sign in enumerate(SIGNS, start=1)]
    return (
        "## How a pair of files is recognised\n\nThe first of these that is in one of the files decides:\n\n"
        + "\n".join(lines)
        + "\n\nWithout such a sign, a file with `partialSum=` is of `alexnet2012` if it says `gpu=`, else of `ccn1`, and of\n"
        "`ccn1_dnouri` where a parameter section has `dropout=`. A file without is ours if it has a section that starts\n"
        "with `@`; else of `ccn2` if it says `gpu=`, or of `ccn1` again.\n"
    )


def _facts() -> str:
    rows = [
        [question, *(answer(getattr(dialect, field)) for dialect in DIALECTS.values())]
        for field, (question, answer) in _FACTS.items()
    ]
    rows += [
        [question, *(_yes_or_which(getattr(dialect.learning, field)) for dialect in DIALECTS.values())]
        for field, question in _learning_facts().items()
    ]
    return "## How they read and learn\n\n" + _table(["", *(f"`{name}`" for name in DIALECTS)], rows)


def _owners(name: str, has: Callable[[Dialect, str], bool]) -> list[str]:
    return ["yes" if has(dialect, name) else "" for dialect in DIALECTS.values()]


def _layer_types() -> str:
    names = frozenset[str]().union(*(dialect.layer_types or () for dialect in DIALECTS.values()))
    rows = [[f"`{name}`", *_owners(name, Dialect.has_type)] for name in sorted(names)]
    return "## Layer types\n\nTypes of our own are in our dialect alone, those of other packages in all.\n\n" + _table(
        ["type", *(f"`{name}`" for name in DIALECTS)], rows
    )


def _neurons() -> str:
    rows = [[f"`{name}`", *_owners(name, Dialect.has_neuron)] for name in NEURON_ARGUMENTS]
    return "## Neurons\n\n" + _table(["neuron", *(f"`{name}`" for name in DIALECTS)], rows)


def _keys() -> str:
    rows = [
        [
            ", ".join(f"`{key}`" for key in row.keys.split()),
            "all" if row.types == "*" else ", ".join(f"`{name}`" for name in row.types.split()),
            ", ".join(f"`{dialect.name}`" for dialect in row.dialects),
            _change(row),
        ]
        for row in ROWS
    ]
    return (
        "## Keys\n\nWhere nothing stands here, a key is the same in all dialects that have its layer type. A key that is not\n"
        "read is a warning (CS207), as is a parameter section without a layer (CS209); the programs said nothing.\n\n"
        + _table(["key", "of layer types", "in", "differs so"], rows)
    )


def _change(row: Row) -> str:
    if row.change is UNREAD:
        return "not read"
    words = [_IN_WORDS[field](value) for field, value in row.change.items() if field in _IN_WORDS]
    if {"minimum", "maximum", "above"} & row.change.keys():
        words.append("any number")
    return "; ".join(words)


# What a change of a field of `Key` means; bounds are taken together.
_IN_WORDS: Mapping[str, Callable[[Any], str]] = {
    "default": lambda default: "required" if default is REQUIRED else "may be left out",
    "home": lambda home: f"in the {home.value}",
    "choices": ", ".join,
    "form": lambda form: str(form.description),
    "is_bound": lambda _: "any number, with a warning (CS221)",
    "has_effect": lambda _: "no effect",
    "doc": str,
    "can_be_blank": lambda _: "may be left blank",
}


# Every field has its line: a new one that is left out here is found by the test of this page.
DOCUMENTED = {*_FACTS, "name", "program", "layer_types", "neurons", "learning"}
DOCUMENTED_LEARNING = {*_learning_facts()}


if __name__ == "__main__":
    sys.stdout.write(document())

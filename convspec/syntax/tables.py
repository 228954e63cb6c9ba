"""Parsers over `grammars/`, from LALR tables that were computed beforehand.

Lark spends some 20 ms on building a parser from the text of a grammar, which is a tenth of what `check` may take in
all; loading its tables takes 2. They lie beside each grammar, `structure.json` for `structure.lark`, and count only
where they were made from the same text by the same Lark: in any other case the parser is built from the text. After a
change to a grammar, write them anew:

    python -m convspec.syntax
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import lark

from convspec.resources import grammar_path, read_grammar

STARTS: dict[str, tuple[str, ...]] = {
    "structure": ("document",),
    "values": (
        "integers",
        "numbers",
        "spreads",
        "names",
        "word",
        "flag",
        "flags",
        "text",
        "neuron",
        "schedule",
        "schedules",
        "decline",
        "quantizer",
        "call",
        "inputs",
        "size",
        "extents",
    ),
}


def load_parser(grammar: str) -> lark.Lark:
    """The parser of `grammars/{grammar}.lark`, with all its starts."""
    text = read_grammar(f"{grammar}.lark")
    tables = _read_tables(grammar, _fingerprint(text))
    return _build(grammar, text) if tables is None else lark.Lark.load(tables)


def serialized_tables(grammar: str) -> str:
    """What `{grammar}.json` holds. The order of its entries is that of Lark's sets, and differs between processes."""
    text = read_grammar(f"{grammar}.lark")
    data, memo = _build(grammar, text).memo_serialize([lark.lexer.TerminalDef, lark.grammar.Rule])
    return json.dumps({"made_from": _fingerprint(text), "data": data, "memo": memo}, separators=(",", ":")) + "\n"


def _build(grammar: str, text: str) -> lark.Lark:
    return lark.Lark(text, start=list(STARTS[grammar]), parser="lalr", maybe_placeholders=False)


def _fingerprint(text: str) -> str:
    return f"lark {lark.__version__}, grammar {zlib.crc32(text.encode()):08x}"


def _read_tables(grammar: str, fingerprint: str) -> Any:
    """Tables as Lark takes them, or None where there are none for this grammar and this Lark."""
    try:
        tables = json.loads(grammar_path(f"{grammar}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(tables, dict) or tables.get("made_from") != fingerprint:
        return None
    parser = tables["data"]["parser"]["parser"]
    parser["states"] = {int(state): actions for state, actions in parser["states"].items()}
    return {"data": tables["data"], "memo": {int(key): value for key, value in tables["memo"].items()}}

"""Lines of source that would be too long, folded as ruff's formatter folds them."""

from __future__ import annotations

import re
from collections.abc import Sequence

WIDTH = 120


def wrapped_import(names: Sequence[str]) -> list[str]:
    line = f"from convspec_kernels import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return ["from convspec_kernels import (", *(f"    {name}," for name in names), ")"]


def folded(opening: str, terms: Sequence[str], operator: str, closing: str) -> list[str]:
    """Terms of an expression on one line, or where that is too long on a line each, in parentheses."""
    line = f"{opening}{f' {operator} '.join(terms)}{closing}"
    if len(line) + 8 <= WIDTH or len(terms) == 1:
        return [line]
    first, *others = terms
    return [f"{opening}(", f"    {first}", *(f"    {operator} {term}" for term in others), f"){closing}"]


def dictionary(opening: str, entries: Sequence[str]) -> list[str]:
    line = f"{opening}{', '.join(entries)}}}"
    return [line] if len(line) + 8 <= WIDTH else [opening, *(f"    {entry}," for entry in entries), "}"]


def parted(text: str) -> tuple[str, str]:
    """A call, or a number times a call, up to its parenthesis, and what stands in there; for anything else, a parenthesis
    and all of it."""
    head, parenthesis, rest = text.partition("(")
    depth = 1
    for i, character in enumerate(rest):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            is_call = i == len(rest) - 1 and re.fullmatch(r"([\d.]+ \* )?[\w.]+", head) is not None
            return (head + parenthesis, rest[:-1]) if is_call else ("(", text)
    return "(", text


def terms(text: str) -> list[str]:
    """The terms of a sum of operands, each behind the first with its sign."""
    return re.split(r" (?=[+-] )(?![^(]*\))", text)


def elements(text: str) -> list[str]:
    """The elements of a list, from the text behind its opening bracket."""
    elements, depth, start = [], 0, 0
    for i, character in enumerate(text):
        if depth == 0 and character in ",]":
            elements.append(text[start:i].strip())
            start = i + 1
            if character == "]":
                break
        depth += (character in "([") - (character in ")]")
    return elements

"""Lines of source that would be too long, folded as ruff's formatter folds them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from convspec.program.names import Names

WIDTH = 120
_CAT = "torch.cat(["


def literal(text: str) -> str:
    """A string literal with double quotes."""
    return json.dumps(text)


def assignment(variable: str, text: str, comment: str, names: Names) -> list[str]:
    """A line of `forward`; where it is too long, with its list in lines of their own above, or what stands in its parentheses
    in lines below. names: gives the list a name that no other has."""
    line = f"{variable} = {text}  # {comment}"
    start = text.find(_CAT)
    if len(line) + 8 <= WIDTH:
        return [line]
    if start < 0:
        return _call(variable, text, comment)
    joined = elements(text[start + len(_CAT) :])
    whole = f"[{', '.join(joined)}]"
    name = names.unique(f"{variable}_inputs")
    spread = [f"{name} = {whole}"]
    if len(spread[0]) + 8 > WIDTH:
        spread = [f"{name} = [", *(f"    {element}," for element in joined), "]"]
    return [*spread, *assignment(variable, text.replace(whole, name, 1), comment, names)]


def _call(variable: str, text: str, comment: str) -> list[str]:
    """A call with its arguments on one line of their own, or on a line each, the formatter's choice; a sum in parentheses,
    on one line or on a line a term."""
    opening, arguments = parted(text)
    lines = [f"{variable} = {opening}", f"    {arguments}", f")  # {comment}"]
    if len(lines[1]) + 8 > WIDTH:
        parts = elements(f"{arguments}]")
        parts = terms(arguments) if len(parts) == 1 else [f"{part}," for part in parts]
        lines[1:2] = [f"    {part}" for part in parts]
    return lines


def loop(variable: str, values: Sequence[str]) -> list[str]:
    """`for layer in (self.conv1, self.conv2):` over at least two values, folded."""
    line = f"for {variable} in ({', '.join(values)}):"
    if len(line) + 8 <= WIDTH:
        return [line]
    return [f"for {variable} in (", *(f"    {value}," for value in values), "):"]


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

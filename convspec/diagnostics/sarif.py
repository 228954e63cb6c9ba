"""Diagnostics as a SARIF 2.1.0 log, for code scanning and for editors that show one.

The standard: https://docs.oasis-open.org/sarif/sarif/v2.1.0/. A log names no folder of this machine: files below the
root are relative to `%SRCROOT%`, which whoever reads the log knows. Rules are the codes that were found, each with its
page as help.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convspec.diagnostics.codes import CODES
from convspec.diagnostics.diagnostic import Diagnostic
from convspec.diagnostics.explain import explanation
from convspec.diagnostics.origin import Origin
from convspec.diagnostics.span import SourceFile, Span
from convspec.diagnostics.visible import visible

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "%SRCROOT%"
# Characters outside the basic plane are two units of UTF-16.
_LAST_OF_ONE_UNIT = 0xFFFF

_Object = dict[str, Any]


def sarif_log(diagnostics: Sequence[Diagnostic], origin: Origin) -> _Object:
    """A log of one run. Lines and columns count from 1, columns in units of UTF-16, as most readers assume.

    A diagnostic without a place stands at the spec as a whole: code scanning shows no result that has no file.
    """
    codes = sorted({diagnostic.code for diagnostic in diagnostics})
    driver: _Object = {"name": "convspec"}
    if origin.version:
        driver["version"] = driver["semanticVersion"] = origin.version
    driver["rules"] = [_rule(code) for code in codes]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "utf16CodeUnits",
                "originalUriBaseIds": {_ROOT: {"description": {"text": "The root of the repository."}}},
                "results": [_result(diagnostic, codes.index(diagnostic.code), origin) for diagnostic in diagnostics],
            }
        ],
    }


def _rule(code: str) -> _Object:
    page = explanation(code)
    title = CODES[code].title
    return {
        "id": code,
        "shortDescription": {"text": _message(title)},
        "fullDescription": {"text": _message(_first_paragraph(page) or title)},
        "help": {"text": _message(page), "markdown": _message(page)},
        "defaultConfiguration": {"level": CODES[code].severity.value},
    }


def _first_paragraph(page: str) -> str:
    """The text between the line on severity and the first example."""
    paragraphs = [" ".join(part.split()) for part in page.split("\n\n")]
    return next((p for p in paragraphs if not p.startswith(("#", "```", "Severity:"))), "")


def _result(diagnostic: Diagnostic, rule_index: int, origin: Origin) -> _Object:
    lines = [diagnostic.message, *(f"note: {note}" for note in diagnostic.notes)]
    if diagnostic.help is not None:
        lines.append(f"help: {diagnostic.help}")
    result: _Object = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule_index,
        "level": diagnostic.severity.value,  # the words of SARIF happen to be ours
        "message": {"text": _message("\n".join(lines))},
        "locations": _locations(diagnostic.span, origin),
    }
    labels = [label for label in diagnostic.labels if origin.is_file(label.span.file)]
    if labels:
        result["relatedLocations"] = [
            {"id": number, **_location(label.span, origin), "message": {"text": _message(label.text)}}
            for number, label in enumerate(labels, start=1)
        ]
    return result


def _locations(span: Span | None, origin: Origin) -> list[_Object]:
    if span is not None and origin.is_file(span.file):
        return [_location(span, origin)]
    if not origin.subject:
        return []
    return [{"physicalLocation": {"artifactLocation": _artifact(origin.subject, origin)}}]


def _location(span: Span, origin: Origin) -> _Object:
    return {
        "physicalLocation": {
            "artifactLocation": _artifact(span.file.name, origin),
            "region": {
                "startLine": span.line,
                "startColumn": _utf16_column(span.file, span.start),
                "endLine": span.end_line,
                "endColumn": _utf16_column(span.file, span.end),
            },
        }
    }


def _artifact(name: str, origin: Origin) -> _Object:
    from urllib.parse import quote

    relative = origin.relative(name)
    if relative is not None:
        return {"uri": quote(os.fsencode(relative)), "uriBaseId": _ROOT}
    return {"uri": Path(os.path.normpath(Path(name).absolute())).as_uri()}


def _utf16_column(file: SourceFile, offset: int) -> int:
    line, column = file.locate(offset)
    before = file.text[file.line_start(line) : offset]
    return column + sum(ord(character) > _LAST_OF_ONE_UNIT for character in before)


def _message(text: str) -> str:
    """A text without placeholders: braces are written twice (section 3.11.5 of the standard)."""
    lines = (visible(line) for line in text.split("\n"))
    return "\n".join(lines).replace("{", "{{").replace("}", "}}")

"""Reads settings.json of a run, and believes nothing of it that `describe_run` could not have written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convspec.diagnostics import Diagnostic, DiagnosticError

_TOO_MANY = 2**53  # pictures, or steps


def read_settings(path: Path) -> dict[str, Any]:
    """What `describe_run` recorded of the run in a folder. Raises DiagnosticError CS708 where it cannot be read."""
    file = path / "settings.json"
    try:
        settings = json.loads(file.read_bytes())
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror or error}"
        raise DiagnosticError(Diagnostic("CS708", message)) from error
    except (ValueError, RecursionError) as error:
        raise DiagnosticError(Diagnostic("CS708", f"{file} is not what was written: {error}")) from error
    spoilt = "settings" if not isinstance(settings, dict) else next(_misfits(settings), None)
    if spoilt is not None:
        raise DiagnosticError(Diagnostic("CS708", f"{file} is not what was written: its {spoilt} make no sense"))
    return dict(settings)


def _misfits(settings: Mapping[str, Any]) -> Iterator[str]:
    """Names of settings that are not of the kind that `describe_run` wrote; an imported run has none of some."""
    for name in ("name", "data", "fingerprint"):
        if settings.get(name) is not None and not _is_text(settings[name]):
            yield name
    classes = settings.get("classes") or []
    if not isinstance(classes, list) or not all(map(_is_text, classes)):
        yield "classes"
    for name in ("stored_shape", "input_shape"):
        match settings.get(name):
            case None | [int(), int(), int()] as sizes if sizes is None or min(sizes) > 0:
                continue
            case _:
                yield name
    has_data = settings.get("data") is not None
    for name, is_known in (("train_pictures", has_data), ("test_pictures", has_data), ("log_every", False)):
        match settings.get(name):
            case None if not is_known:
                continue
            case int(count) if 0 < count < _TOO_MANY:
                continue
            case _:
                yield name


def _is_text(value: Any) -> bool:
    """Whether it is text that can be in the name of a file, as data and classes are."""
    try:
        return isinstance(value, str) and os.fsencode(value) is not None
    except UnicodeEncodeError:
        return False

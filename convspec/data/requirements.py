"""The packages that data comes from or is read with, and the diagnostic where one is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from convspec.diagnostics import Diagnostic, DiagnosticError

INSTALL = 'pip install "convspec[train]"'


def package_folder(module: str, distribution: str, purpose: str) -> Path:
    """Folder of an installed package, without importing it. Raises CS801 where it is missing."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise missing(distribution, purpose)
    return Path(spec.submodule_search_locations[0])


def missing(distribution: str, purpose: str) -> DiagnosticError:
    return DiagnosticError(
        Diagnostic("CS801", f"{purpose} needs {distribution}, which is not installed", help=f"type: {INSTALL}")
    )

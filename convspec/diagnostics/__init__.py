"""Mistakes of the user as values: where they stand, what is wrong, what to type instead.

Nothing here knows the language; `codes` lists every diagnostic there is, `render` writes them for people and programs.
"""

from convspec.diagnostics.diagnostic import (
    Diagnostic,
    DiagnosticError,
    Label,
    Report,
    Severity,
    closest,
    did_you_mean,
    joined,
    listed,
)
from convspec.diagnostics.span import SourceFile, Span

__all__ = [
    "Diagnostic",
    "DiagnosticError",
    "Label",
    "Report",
    "Severity",
    "SourceFile",
    "Span",
    "closest",
    "did_you_mean",
    "joined",
    "listed",
]

"""What commands need that an install without extras does not bring."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from convspec.diagnostics import Diagnostic, DiagnosticError


@contextmanager
def extra(need: str) -> Iterator[None]:
    """Around the imports of a command. need: how the message begins, as in `training needs`.

    Raises DiagnosticError CS801 for a package that is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{need} {error.name}, which is not installed"
        raise DiagnosticError(Diagnostic("CS801", message, help='pip install "convspec[train]"')) from None

"""`convspec explain`: the page of a diagnostic, or the keys of a layer type."""

from __future__ import annotations

import sys
from itertools import groupby
from textwrap import fill

import click

from convspec.cli.options import offering
from convspec.diagnostics import Diagnostic, DiagnosticError, did_you_mean
from convspec.diagnostics.codes import CODES, GROUPS, Severity
from convspec.diagnostics.explain import explanation
from convspec.diagnostics.style import Style, painted, wants_color


@click.command(short_help="What a diagnostic means, or which keys a layer takes.")
@click.argument("code", required=False, shell_complete=offering("codes"))
def command(code: str | None) -> int:
    """Explain the diagnostic CODE: what it is about, a spec that has it, and one that has not. Or, for the name of a layer
    type or of a section of settings, what it does and which keys it takes. Without either, list all.

    \b
    convspec explain CS402
    convspec explain conv
    convspec explain @train
    convspec explain | grep warning
    """
    if code is None:
        color = wants_color(sys.stdout)
        click.echo(_list(color=color), nl=False, color=color)
    else:
        click.echo(_page(code), nl=False)
    return 0


def _page(name: str) -> str:
    """Raises DiagnosticError with CS802 for a name of nothing."""
    if name.strip().upper() in CODES:
        return explanation(name)
    from convspec.graph.reference import SETTINGS, explained
    from convspec.layers import layer_types

    page = explained(name)
    if page is None:
        message = f"there is no diagnostic, layer type or section of settings {name}"
        close = did_you_mean(name.upper(), CODES) or did_you_mean(name, (*layer_types(), *SETTINGS))
        raise DiagnosticError(Diagnostic("CS802", message, help=close or "type convspec explain for a list of all"))
    return page


def _list(*, color: bool) -> str:
    """Codes with severity and title, under what their hundred is about."""
    blocks = []
    for digit, names in groupby(CODES, key=lambda name: name.removeprefix("CS")[0]):
        rows = [f"  {name}  {_severity(CODES[name].severity, color=color)}  {CODES[name].title}" for name in names]
        blocks.append("\n".join([painted(GROUPS[digit], Style.STRONG, color=color), *rows]))
    from convspec.graph.reference import SETTINGS
    from convspec.layers import layer_types

    listed = fill(", ".join((*layer_types(), *SETTINGS)), 100, initial_indent="  ", subsequent_indent="  ")
    title = painted("layer types, and sections of settings", Style.STRONG, color=color)
    return "\n\n".join([*blocks, f"{title}\n{listed}"]) + "\n"


def _severity(severity: Severity, *, color: bool) -> str:
    return painted(f"{severity.value:<7}", Style[severity.name], color=color)

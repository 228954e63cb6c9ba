"""What the shell is offered for an argument while it is typed: layer files, specs of ours, codes of diagnostics.

click asks for these names only under `_CONVSPEC_COMPLETE`, which the script of `convspec completion` sets.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

_SUFFIX = ".cfg"
_MOST = 200


def specs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Layer files below what was typed, and specs of ours where no folder was; else what the shell itself would offer."""
    from convspec.resources import spec_names

    found = layer_files(incomplete)
    if "/" not in incomplete:
        ours = (name for name in spec_names() if name.startswith(incomplete) and name not in found)
        found += ours
    return _items(found) or [CompletionItem(incomplete, type="file")]


def bases(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """As `specs`, with the names of ours as `new --from` takes them."""
    from convspec.resources import spec_names

    ours = (name.removesuffix(_SUFFIX) for name in spec_names() if name.startswith(incomplete))
    return _items([*layer_files(incomplete), *ours]) or [CompletionItem(incomplete, type="file")]


def layer_files_or_any(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Layer files, and no specs of ours: those are not for anyone to change."""
    return _items(layer_files(incomplete)) or [CompletionItem(incomplete, type="file")]


def codes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Codes of diagnostics, with their titles in shells that show them; layer types, for a word that begins one."""
    from convspec.diagnostics.codes import CODES
    from convspec.layers import BUILT_IN

    found = [
        CompletionItem(code, help=entry.title) for code, entry in CODES.items() if code.startswith(incomplete.upper())
    ]
    return found + [CompletionItem(name) for name in BUILT_IN if incomplete and name.startswith(incomplete)]


def layer_files(incomplete: str) -> list[str]:
    """Paths of `.cfg` files that begin so, and of those in folders that do."""
    folder, slash, stem = incomplete.rpartition("/")
    found: list[str] = []
    for path in _listed(Path(folder + slash or ".")):
        if not path.name.startswith(stem) or (path.name.startswith(".") and not stem):
            continue
        if path.is_dir():
            found += [f"{folder}{slash}{path.name}/{inner.name}" for inner in _listed(path) if inner.suffix == _SUFFIX]
        elif path.suffix == _SUFFIX:
            found.append(f"{folder}{slash}{path.name}")
    return found[:_MOST]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (OSError, ValueError):
        return []


def _items(words: list[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words]

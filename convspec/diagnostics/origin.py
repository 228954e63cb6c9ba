"""Where a report came from: what machine-readable forms say beside the diagnostics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from convspec.diagnostics.span import SourceFile


class Origin(NamedTuple):
    """version: of convspec, or empty. subject: the spec as the user named it, where a diagnostic has no place of its own.
    root: the folder to which paths are relative, absolute."""

    version: str = ""
    subject: str = ""
    root: str = ""

    @classmethod
    def of(cls, subject: str, version: str) -> Origin:
        """Paths are relative to the checkout where a workflow of GitHub runs, else to the current folder."""
        return cls(version, subject, os.environ.get("GITHUB_WORKSPACE") or str(Path.cwd()))

    def is_file(self, file: SourceFile) -> bool:
        """Whether a text is a file, and not one of `--set` or a string: those have no path that a reader could open."""
        return not file.name.startswith(("--", "<"))

    def relative(self, name: str) -> str | None:
        """The path of a file below the root, with forward slashes; None for one that lies elsewhere."""
        root = os.path.normpath(self.root or Path.cwd())
        path = os.path.normpath(Path(name).absolute())
        return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else None

"""The page of each diagnostic, `explanations/CS402.md`, and all of them as one document.

`python -m convspec.diagnostics.explain > docs/diagnostics.md` writes the document again after a change of a page.
"""

from __future__ import annotations

import sys

from convspec.diagnostics.codes import CODES
from convspec.diagnostics.diagnostic import Diagnostic, DiagnosticError, did_you_mean

_INTRODUCTION = """\
# Diagnostics

Every mistake that convspec finds has a code, which stays the same between releases. `convspec explain CS402` prints the
page of one. Errors end a command with exit code 1; warnings and notes do not.

"""


def explanation(code: str) -> str:
    """The page of a diagnostic, in Markdown. Raises DiagnosticError with CS802 where there is no such code."""
    known = code.strip().upper()
    if known not in CODES:
        raise DiagnosticError(
            Diagnostic(
                "CS802",
                f"there is no diagnostic {code}",
                help=did_you_mean(known, CODES) or "type convspec explain for a list of all",
            )
        )
    from importlib.resources import files

    return files("convspec.diagnostics").joinpath("explanations", f"{known}.md").read_text(encoding="utf-8")


def document() -> str:
    """A table of all diagnostics and their pages, in Markdown."""
    table = ["| code | severity | |", "| --- | --- | --- |"]
    table += [f"| [{name}](#{_anchor(name)}) | {code.severity.value} | {code.title} |" for name, code in CODES.items()]
    pages = ["\n".join(_one_level_down(line) for line in explanation(name).splitlines()) for name in CODES]
    return _INTRODUCTION + "\n".join(table) + "\n\n" + "\n\n".join(pages) + "\n"


def _anchor(name: str) -> str:
    """What GitHub makes of the heading of a page."""
    heading = f"{name}: {CODES[name].title}".lower()
    return "".join(c for c in heading if c.isalnum() or c in " -_").replace(" ", "-")


def _one_level_down(line: str) -> str:
    return f"#{line}" if line.startswith(("# ", "## ")) else line


if __name__ == "__main__":
    sys.stdout.write(document())

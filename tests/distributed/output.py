"""What a process says, in a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def output_to(file: Path) -> Iterator[None]:
    """All that this process writes, also past Python's streams."""
    _flush()
    before = [(number, os.dup(number)) for number in (1, 2)]
    with file.open("ab") as opened:
        for number, _ in before:
            os.dup2(opened.fileno(), number)
    try:
        yield
    finally:
        _flush()
        for number, kept in before:
            os.dup2(kept, number)
            os.close(kept)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()

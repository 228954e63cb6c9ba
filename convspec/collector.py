"""Python's collector of garbage, put to rest where it finds nothing: together a fifth of the time of a `check`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Without cyclic garbage collection, which would walk again and again what only grows: modules that are imported, the
    network of a check, which so stays linear in the length of its spec."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def leave_garbage() -> None:
    """As the process ends: what is left goes with it, and is not searched for cycles first. With torch loaded it is, for
    the sake of what holds devices and connections."""
    if "torch" not in sys.modules:
        gc.freeze()

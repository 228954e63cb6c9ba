"""What a run does while it waits for pictures: it counts the seconds, hears a stop, and says when they do not come."""

from __future__ import annotations

from collections.abc import Callable

from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, Severity

STALL_SECONDS = 30.0
"""After this long without a minibatch a warning says so; the next one after twice as long, and so on."""


class StopAsked(Exception):
    """A stop was asked for while pictures were waited for."""


class Waiting:
    """Called by a stream of batches while the next is waited for (`BatchStream`, on_wait)."""

    def __init__(self, data: str, should_stop: Callable[[], bool], notify: Notify) -> None:
        """data: what the pictures are of."""
        self._data, self._should_stop, self._notify = data, should_stop, notify
        self._limit = STALL_SECONDS

    def __call__(self, seconds: float) -> None:
        """Raises StopAsked."""
        if self._should_stop():
            raise StopAsked
        if seconds < self._limit:
            return
        self._limit = 2 * seconds
        message = f"waiting for pictures of {self._data} for {seconds:.0f} s now"
        help = "the run goes on as soon as they come; see whether the disk or the network they lie on answers"
        self._notify(Diagnostic("CS732", message, help=help, severity=Severity.WARNING))

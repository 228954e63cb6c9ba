"""SIGINT, SIGTERM and SIGHUP while work is saved as it goes on: the first asks for a clean stop, a second leaves at once.

Nothing is lost either way, since every file is replaced by a rename (see `data.durable`). A signal that comes right behind
the first is the same wish: `timeout`, shells and launchers send theirs to a process and to its group. A terminal that is
closed sends SIGHUP, which `nohup` has a process ignore: then it stays ignored.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

GRACE_SECONDS = 1.0
"""Signals within this time are one."""

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([] if _HANGUP is None else [_HANGUP]))
_SHOW_CURSOR = "\x1b[?25h"


class Interrupted(Exception):
    """Training stopped on a signal, after it saved `checkpoint`. The command line exits with `EXIT_CODE`."""

    EXIT_CODE = 130

    def __init__(self, run_dir: Path, checkpoint: Path, step: int) -> None:
        super().__init__(f"stopped after step {step}; go on with --resume {run_dir}")
        self.run_dir = run_dir
        self.checkpoint = checkpoint
        self.step = step


class StopSignals:
    """While entered, `received` tells whether a stop was asked for. Elsewhere than in the main thread it never is."""

    def __init__(self, after: str = "this step") -> None:
        """after: what is finished before the stop, for people."""
        self._after = after
        self._first: float | None = None
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    @property
    def received(self) -> bool:
        return self._first is not None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in _SIGNALS if number != _HANGUP or signal.getsignal(number) != signal.SIG_IGN]
            self._previous = {number: signal.signal(number, self._receive) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            _say(f"\nstopping after {self._after}; a second signal leaves at once\n")
        elif now - self._first > GRACE_SECONDS:
            _say(f"{_SHOW_CURSOR}\nleft at once\n" if os.isatty(2) else "left at once\n")
            os._exit(Interrupted.EXIT_CODE)


def heed_no_more() -> None:
    """For a process that ends because another one did: its launcher, which then sends it a signal, says nothing new, and must
    not break into what the process has to say."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _say(text: str) -> None:
    """Past Python's streams, which the interrupted code may be in the middle of using."""
    with suppress(OSError):
        os.write(2, text.encode())

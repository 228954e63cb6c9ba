"""Who is still there: a thread in each process of a run that tells the others so, and ends its own when one is lost.

A process that waits for another in the middle of a step cannot see that it ended, and would wait for minutes. So each
writes, into the store through which the processes found one another, that it lives, and reads what the others wrote. One
that was on this machine and is no more is missed within seconds; one on another machine when it has said nothing for
`SILENCE_SECONDS`. What was trained since the last checkpoint is lost then, and nothing else.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # listed for no type checker

from convspec.launch import Launch

BEAT_SECONDS = 0.5
SILENCE_SECONDS = 60.0

_LIVES, _FAILED, _LEFT = "lives", "failed", "left"


class Vigil:
    """Watches the other processes from when it is made until `leave`."""

    def __init__(self, launch: Launch, on_loss: Callable[[int, str], None]) -> None:
        """on_loss: called once, in the thread, with the rank of a process and what happened to it."""
        self._launch, self._on_loss = launch, on_loss
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # a connection of its own: that of the process group may be in the middle of waiting
        store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=30))
        self._store = PrefixStore(f"convspec/{launch.restarts}", store)
        self._heard: dict[int, tuple[str, float]] = {}
        self._beats, self._over, self._lock = 0, threading.Event(), threading.Lock()
        self._say(_LIVES)
        self._thread = threading.Thread(target=self._watch, name="convspec-vigil", daemon=True)
        self._thread.start()

    def lost(self, seconds: float) -> tuple[int, str] | None:
        """A process that is found to be lost within some seconds, and what happened to it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self._look()
            if found is not None:
                return found
            time.sleep(BEAT_SECONDS / 2)
        return None

    def leave(self, *, failed: bool) -> None:
        """Stop watching, and tell the others whether it was meant."""
        if self._over.is_set():
            return
        self._over.set()
        with suppress(RuntimeError):
            self._say(_FAILED if failed else _LEFT)
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with suppress(RuntimeError):
                self._say(_LIVES)
            found = self._look()
            if found is not None and not self._over.is_set():
                self._on_loss(*found)
                return

    def _say(self, state: str) -> None:
        self._beats += 1
        with self._lock:
            self._store.set(str(self._launch.rank), f"{state} {self._beats} {os.getpid()} {socket.gethostname()}")

    def _look(self) -> tuple[int, str] | None:
        for rank in range(self._launch.world_size):
            if rank != self._launch.rank:
                problem = self._problem(rank)
                if problem is not None:
                    return rank, problem
        return None

    def _problem(self, rank: int) -> str | None:
        """What happened to a process; None where it lives, or left as it should."""
        now = time.monotonic()
        try:
            with self._lock:
                is_known = self._store.check([str(rank)])
                said = self._store.get(str(rank)).decode() if is_known else ""
        except RuntimeError:
            # whoever keeps the store has gone: the first process, unless the launcher does
            return "has ended, or cannot be reached" if rank == 0 else None
        before, since = self._heard.get(rank, ("", now))
        if said != before:
            since = now
        self._heard[rank] = said, since
        if not said:
            return None
        state, _, pid, host = said.split(" ", 3)
        if state == _LEFT:
            return None
        if state == _FAILED:
            return "has stopped; it says why"
        if host == socket.gethostname() and not _is_running(int(pid)):
            return "has ended"
        return f"has said nothing for {SILENCE_SECONDS:.0f} s" if now - since > SILENCE_SECONDS else None


def _is_running(pid: int) -> bool:
    """Whether a process of this machine runs: one that ended and was not yet taken leave of does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return True

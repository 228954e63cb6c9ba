"""Who is still there: a thread in each process of a run that tells the others so, and ends its own when one is lost.

A process that waits for another in the middle of a step cannot see that it ended, and would wait for minutes. So each
writes, into the store through which the processes found one another, that it lives, and reads what the others wrote. One
that was on this machine and is no more is missed within seconds; one on another machine when it has said nothing for
`SILENCE_SECONDS`. What was trained since the last checkpoint is lost then, and nothing else.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from convspec.launch import SECONDS_TO_SPEAK
from convspec.train.meeting import Meeting, keeper

BEAT_SECONDS = 0.5
SILENCE_SECONDS = 60.0


class _State(StrEnum):
    LIVES = "lives"
    LEFT = "left"
    """As it should."""
    FAILED = "failed"
    """By an error of its own, which it says."""
    STOPS = "stops"
    """Because another process was lost."""


class Vigil:
    """Watches the other processes from when it is made until `leave`."""

    def __init__(self, meeting: Meeting, named: Callable[[int], str], on_loss: Callable[[str], None]) -> None:
        """named: the process of a rank, as the beginning of a sentence. on_loss: called once, in the thread, with who is
        lost and how, such as `process 1 has ended`."""
        self._launch, self._named, self._on_loss = meeting.launch, named, on_loss
        self._store = meeting.connect()
        self._heard: dict[int, tuple[str, float]] = {}
        self._beats, self._over, self._lock = 0, threading.Event(), threading.Lock()
        self._say(_State.LIVES)
        self._thread = threading.Thread(target=self._watch, name="convspec-vigil", daemon=True)
        self._thread.start()

    def lost(self, seconds: float) -> str | None:
        """Who is found to be lost within some seconds, and how."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self._look()
            if found is not None:
                return found
            time.sleep(BEAT_SECONDS / 2)
        return None

    def leave(self, *, failed: bool) -> None:
        """Stop watching, and tell the others whether it was meant."""
        self._end(_State.FAILED if failed else _State.LEFT)

    def stop_for(self, problem: str) -> None:
        """Stop because another process is lost, as `problem` says; so do all that hear it."""
        self._end(_State.STOPS, problem)
        if self._launch.rank == 0 and not self._launch.keeps_store:
            time.sleep(2 * BEAT_SECONDS)  # the store ends with this process

    def _end(self, state: _State, problem: str = "") -> None:
        if self._over.is_set():
            return
        self._over.set()
        with suppress(RuntimeError):
            self._say(state, problem)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _watch(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with suppress(RuntimeError):  # `_look` meets it as well
                self._say(_State.LIVES)
            found = self._look()
            if found is not None and not self._over.wait(SECONDS_TO_SPEAK):
                self._on_loss(found)
                return

    def _say(self, state: _State, problem: str = "") -> None:
        self._beats += 1
        said = [state, self._beats, os.getpid(), _MACHINE, problem]
        with self._lock:
            self._store.set(str(self._launch.rank), json.dumps(said))

    def _look(self) -> str | None:
        for rank in range(self._launch.world_size):
            if rank == self._launch.rank:
                continue
            try:
                found = self._found(rank)
            except RuntimeError:
                return (
                    f"{keeper(self._launch)}, where the processes hear of one another, has ended or cannot be reached"
                )
            if found is not None:
                return found
        return None

    def _found(self, rank: int) -> str | None:
        """Who is lost and how, as this process or that of a rank has found; None where that lives, or left as it should.

        Raises RuntimeError where there is no store.
        """
        now = time.monotonic()
        with self._lock:
            said = self._store.get(str(rank)).decode() if self._store.check([str(rank)]) else ""
        before, since = self._heard.get(rank, ("", now))
        if said != before:
            since = now
        self._heard[rank] = said, since
        state, _, pid, machine, problem = json.loads(said) if said else (_State.LIVES, 0, 0, "", "")
        match _State(state):
            case _State.LEFT:
                return None
            case _State.STOPS:
                return str(problem)
            case _State.FAILED:
                return f"{self._named(rank)} has stopped; it says why"
            case _State.LIVES if machine == _MACHINE and not _is_running(pid):
                return f"{self._named(rank)} has ended"
            case _State.LIVES if now - since > SILENCE_SECONDS:
                return f"{self._named(rank)} has said nothing for {SILENCE_SECONDS:.0f} s"
            case _State.LIVES:
                return None


def _machine() -> str:
    """Where the number of a process means the same process: one start of one machine, and one container of it."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return " ".join(parts)


_MACHINE = _machine()


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

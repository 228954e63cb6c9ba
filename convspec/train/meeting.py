"""Where the processes of a run first meet: the store that their launcher keeps, or the process of rank 0.

Each says what it has before it and hears what the others have, before there is any group of them: processes with different
specs could not even agree on the groups. A store outlives restarts, and the processes of an earlier start have left
things in it. So the chief calls under a name that is new, each of the others answers with one of its own, and the meeting
is the one in which the chief has heard the answer that was just given.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # listed for no type checker

from convspec.diagnostics import Diagnostic, DiagnosticError, joined
from convspec.launch import Launch

PATIENCE = timedelta(minutes=5)
"""How long a process waits for another before it gives up."""

_PATIENCE_OF_A_FAILED = timedelta(seconds=20)
_POLL_SECONDS, _SECONDS_TO_PART = 0.02, 5.0
FAILED = "failed"
_CALL = "call"

Statement = Mapping[str, str]
"""What a process has before it, by what it is called in a message; of one that has failed, what failed, under FAILED."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """said: by each process. is_restart: whether any of them was started in the place of one that had ended.

    root: the whole store. name: of this meeting, which no other had.
    """

    launch: Launch
    root: Store
    name: str
    said: tuple[Statement, ...]
    is_restart: bool

    @property
    def store(self) -> Store:
        """The part of the store which only these processes know."""
        return PrefixStore(self.name, self.root)

    def part(self) -> None:
        """Where nothing more is said here: process 0, with which the store may end, waits a moment for the others."""
        until = time.monotonic() + _SECONDS_TO_PART
        gone = self.store.add("parted", 1)
        while self.launch.rank == 0 and gone < self.launch.world_size and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            gone = self.store.add("parted", 0)

    def connect(self) -> Store:
        """The same through a connection of its own: what waits on one holds up all that use it."""
        return PrefixStore(self.name, _connect(self.launch))


def meet(launch: Launch, statement: Statement, *, patience: timedelta = PATIENCE) -> Meeting:
    """Wait until all processes have come. statement: of this one.

    Raises DiagnosticError CS755 where a process does not come, or the store cannot be reached.
    """
    until = time.monotonic() + patience.total_seconds()
    own = {"nonce": uuid.uuid4().hex, "restarts": launch.restarts, "statement": statement}
    try:
        store = _connect(launch, patience)
        name, met = (_call if launch.rank == 0 else _answer)(store, launch, own, until)
    except RuntimeError as error:
        message = f"{keeper(launch)}, where the processes find one another, cannot be reached"
        help = "see whether it runs, and whether this machine may connect to it"
        raise DiagnosticError(Diagnostic("CS755", message, help=help)) from error
    return Meeting(launch, store, name, tuple(each["statement"] for each in met["said"]), met["is_restart"])


def is_said_elsewhere(launch: Launch, problem: str) -> bool:
    """Have those that come to the meeting know that this process has failed. problem: what tells one failure from another.

    Whether process 0 has failed in the same way, and another process of this machine has said so.
    """
    own = {FAILED: problem}
    try:
        meeting = meet(launch, own, patience=_PATIENCE_OF_A_FAILED)
    except DiagnosticError:
        return False
    return meeting.said[0] == own and not launch.speaks


def keeper(launch: Launch) -> str:
    """Who keeps the store, for messages."""
    return f"{'the launcher' if launch.keeps_store else 'process 0'} at {launch.address}:{launch.port}"


def _connect(launch: Launch, patience: timedelta = PATIENCE) -> Store:
    """Raises RuntimeError where there is no store."""
    store = TCPStore(
        launch.address,
        launch.port,
        is_master=launch.rank == 0 and not launch.keeps_store,
        wait_for_workers=False,
        multi_tenant=True,
        timeout=patience,
    )
    return PrefixStore("convspec", store)


def _call(store: Store, launch: Launch, own: dict[str, Any], until: float) -> tuple[str, dict[str, Any]]:
    """The chief's part. Returns the name of the meeting, and what all are told."""
    name = own["nonce"]
    store.set(_CALL, name)
    answers = []
    for rank in range(1, launch.world_size):
        while not store.check([f"{name}/answer/{rank}"]):
            _wait(launch, until, partial(_absent, store, launch, name))
        answers.append(json.loads(store.get(f"{name}/answer/{rank}")))
    is_restart = any(each["restarts"] for each in (own, *answers))
    met = {"said": [own, *answers], "is_restart": is_restart}
    store.set(f"{name}/met", json.dumps(met))
    while store.add(f"{name}/heard", 0) < launch.world_size - 1:
        _wait(launch, until, lambda: range(1, launch.world_size))  # the store may end with this process
    return name, met


def _answer(store: Store, launch: Launch, own: dict[str, Any], until: float) -> tuple[str, dict[str, Any]]:
    """The part of the others. A call may be that of an earlier start: its meeting has not the answer that is given here."""
    name = ""
    while True:
        called = store.get(_CALL).decode() if store.check([_CALL]) else ""
        if called != name:
            name = called
            store.set(f"{name}/answer/{launch.rank}", json.dumps(own))
        if name and store.check([f"{name}/met"]):
            met = json.loads(store.get(f"{name}/met"))
            if met["said"][launch.rank]["nonce"] == own["nonce"]:
                store.add(f"{name}/heard", 1)
                return name, met
        _wait(launch, until, partial(_absent, store, launch, name))


def _absent(store: Store, launch: Launch, name: str) -> list[int]:
    """Who has not answered a call; the chief where none was heard, or all have answered."""
    others = range(1, launch.world_size) if name else ()
    return [rank for rank in others if not store.check([f"{name}/answer/{rank}"])] or [0]


def _wait(launch: Launch, until: float, absent: Callable[[], Sequence[int]]) -> None:
    """A moment. Raises DiagnosticError CS755, which names who is absent, where the time is up."""
    if time.monotonic() > until:
        ranks = [str(rank) for rank in absent()]
        are = f"process {ranks[0]} has" if len(ranks) == 1 else f"processes {joined(ranks)} have"
        message = f"{are} not come, and process {launch.rank} waits no longer"
        help = f"start {launch.world_size} processes, and see what those said last that have not come"
        raise DiagnosticError(Diagnostic("CS755", message, help=help))
    time.sleep(_POLL_SECONDS)

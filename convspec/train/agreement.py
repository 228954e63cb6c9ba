"""What processes of a run find out and decide together, and what becomes of those whose company is lost.

All of them come to the same calls in the same order. Whatever one of them alone may know, a signal, a loss, an error of the
disk, is told to all before anybody acts on it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.checkpoint import BrokenCheckpoint
from convspec.train.display import as_line
from convspec.train.meeting import Meeting
from convspec.train.signals import Interrupted, heed_no_more
from convspec.train.team import T, Team
from convspec.train.vigil import Vigil

SECONDS_TO_FIND = 10.0
"""How long to look for the process that was lost, after what another one did with it has failed."""

STUCK = timedelta(minutes=30)
"""After which a process gives up on another that lives and does not come to what both must do: it may read a slow disk."""


class ElsewhereError(Exception):
    """Another process cannot go on, or says why this one cannot."""


class Agreement(Team):
    """A team of several processes, in one of them."""

    def __init__(self, meeting: Meeting) -> None:
        self.launch, self.meeting = meeting.launch, meeting
        self.here, self.is_chief = self.described(self.launch.rank), self.launch.rank == 0
        self.run_path: Path | None = None
        """The folder of the run, once there is one."""
        self.vigil = Vigil(meeting, self.described, self._say_and_end)

    def described(self, rank: int) -> str:
        """A process, as a message names it."""
        return f"process {rank}"

    def loss(self, problem: str) -> Diagnostic:
        """CS755. problem: who is lost and how, as the vigil says it."""
        go_on = f"--resume {self.run_path}" if self.run_path is not None else "the same command"
        return Diagnostic(
            "CS755",
            f"{problem}, so that process {self.launch.rank} stops as well",
            notes=("what was trained since the last checkpoint is lost",) if self.run_path is not None else (),
            help=f"see what was said there last, and go on with {go_on}",
        )

    def _say_and_end(self, problem: str) -> None:
        """In the thread that watches: the main thread may wait for the lost process for ever."""
        _say(self.loss(problem))
        self.vigil.stop_for(problem)
        os._exit(1)

    @contextmanager
    def talk(self) -> Iterator[None]:
        """Talk with a process that was lost fails at once, or waits until the thread that watches ends this one."""
        try:
            yield
        except RuntimeError as error:
            heed_no_more()
            problem = self.vigil.lost(SECONDS_TO_FIND)
            if problem is None and "timed out" in str(error).lower():
                problem = (
                    f"another process lives, and was waited for in vain for {STUCK.total_seconds() / 60:.0f} minutes"
                )
            if problem is None:
                raise
            _say(self.loss(problem))
            self.vigil.stop_for(problem)
            raise ElsewhereError from None

    def agree(self, wish: bool) -> bool:
        flag = torch.tensor(float(wish))
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def alone(self, wish: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: False

    def first(self, found: str | None) -> str | None:
        return next((each for each in self.all_do(lambda: found) if each is not None), None)

    def total(self, sums: Tensor) -> Tensor:
        whole = sums.clone()
        dist.all_reduce(whole)
        return whole

    def union(self, own: dict[str, T]) -> dict[str, T]:
        return {name: value for each in reversed(self.all_do(lambda: own)) for name, value in each.items()}

    def chief_does(self, work: Callable[[], T]) -> T:
        given = self.all_do(lambda: work() if self.is_chief else None)[0]
        result: T = given  # type: ignore[assignment]  # the first is the chief's
        return result

    def all_do(self, work: Callable[[], T]) -> list[T]:
        """Where it raises a DiagnosticError in one, it raises that there and ElsewhereError in the others."""
        given, problem = None, None
        try:
            given = work()
        except DiagnosticError as error:
            problem = error
        found: list[Any] = [None] * self.launch.world_size
        dist.all_gather_object(found, (given, problem is not None))
        blamed = next((rank for rank, (_, has_problem) in enumerate(found) if has_problem), None)
        if blamed is None:
            return [each for each, _ in found]
        self.vigil.leave(failed=False)
        if problem is not None and blamed == self.launch.rank:
            raise problem
        raise ElsewhereError

    def each_does(self, work: Callable[[], T]) -> T:
        own: list[T] = []
        self.all_do(lambda: own.append(work()))
        return own[0]

    def known_to_all(self, diagnostic: Diagnostic) -> Exception:
        """One process on each machine says it, for its log."""
        self.vigil.leave(failed=False)
        return DiagnosticError(diagnostic) if self.launch.speaks else ElsewhereError()

    def all_find_whole(self, read: Callable[[], T]) -> T:
        """What it gives this process; raises BrokenCheckpoint in all where it does so in one."""
        own: list[T] = []

        def problem() -> str | None:
            try:
                own.append(read())
            except BrokenCheckpoint as error:
                return str(error)
            return None

        broken = next((each for each in self.all_do(problem) if each is not None), None)
        if broken is not None:
            raise BrokenCheckpoint(broken)
        return own[0]

    def close(self) -> None:
        error = sys.exc_info()[1]
        self.vigil.leave(failed=not (error is None or isinstance(error, ElsewhereError | Interrupted)))
        if dist.is_initialized() and error is None:
            dist.destroy_process_group()


def _say(diagnostic: Diagnostic) -> None:
    """Past Python's streams, which another thread may be in the middle of using."""
    os.write(2, f"{as_line(diagnostic)}\n".encode())

"""Processes as a launcher would start them: `together(count, function, *arguments)` calls a function in `count` of them, and
gives what it returns in each. `outcomes` does as well where some of them may raise, end, or be killed.

They stay for many jobs, and are forked from a process that has imported torch and trained nothing, so that new ones cost
little where some have ended.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

ROOT = Path(__file__).parents[2]

SECONDS = 120
"""That a job may take; a process that hangs fails its test."""


PRELOADED = ["convspec.cli.training", "convspec.compiler", "tests.distributed.test_training", "torch._dynamo"]
"""What takes seconds to import, where a run needs it."""


class JobError(Exception):
    """A job raised in some process; the message has its traceback."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job in one process. result: what it returned. problem: its traceback, or "ended"; else empty.

    seconds: after which this was known, from the start of the job.
    """

    result: Any
    problem: str
    seconds: float


@cache
def _processes() -> list[Any]:
    return []


def _started(count: int) -> list[Any]:
    processes = _processes()
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    while len(processes) < count:
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there,), daemon=True)
        sys.path.append(str(ROOT))  # a new process finds the tests by it, and what is installed before the source tree
        try:
            process.start()
        finally:
            sys.path.pop()
        there.close()  # so that the end of the process is heard
        processes.append((process, here))
    return processes[:count]


def together(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """function: of a module, with picklable arguments. Raises JobError where it raised somewhere."""
    found = outcomes(count, function, *arguments)
    problems = [f"process {rank}: {outcome.problem}" for rank, outcome in enumerate(found) if outcome.problem]
    if problems:
        raise JobError("\n".join(problems))
    return [outcome.result for outcome in found]


def outcomes(count: int, function: Callable[..., Any], *arguments: Any) -> list[Outcome]:
    """As `together`, whatever becomes of the processes. Raises JobError for one that hangs."""
    port, began = free_port(), time.monotonic()
    started = _started(count)
    for rank, (_, pipe) in enumerate(started):
        environment = {
            "RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        pipe.send((environment, function, arguments))
    found: dict[int, Outcome] = {}
    ranks = {pipe: rank for rank, (_, pipe) in enumerate(started)}
    while ranks:
        ready = wait(list(ranks), timeout=SECONDS)
        if not ready:
            stop()
            raise JobError(f"processes {sorted(ranks.values())} hang; {found}")
        for pipe in ready:
            assert isinstance(pipe, Connection)
            try:
                result, problem = pipe.recv()
            except (EOFError, ConnectionResetError):
                result, problem = None, "ended"
            found[ranks.pop(pipe)] = Outcome(result, problem, time.monotonic() - began)
    if any(outcome.problem == "ended" for outcome in found.values()):
        stop()
    return [found[rank] for rank in range(count)]


def stop() -> None:
    """End all processes; those of later jobs are new."""
    for process, pipe in _processes():
        process.kill()
        process.join()
        pipe.close()
    _processes().clear()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        try:
            environment, function, arguments = pipe.recv()
        except EOFError:
            return
        os.environ.update(environment)
        try:
            pipe.send((function(*arguments), ""))
        except BaseException:
            pipe.send((None, traceback.format_exc()))
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()

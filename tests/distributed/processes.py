"""Processes that stay for many jobs, so that torch starts once in each: `together(count, function, *arguments)` calls a
function in `count` of them, as a launcher would start them, and gives what it returns in each.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

ROOT = Path(__file__).parents[2]

SECONDS = 120
"""That a job may take; a process that hangs fails its test."""


class JobError(Exception):
    """A job raised in some process; the message has its traceback."""


@cache
def _processes() -> list[Any]:
    return []


def _started(count: int) -> list[Any]:
    processes = _processes()
    context = mp.get_context("spawn")
    while len(processes) < count:
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there,), daemon=True)
        sys.path.append(str(ROOT))  # a new process finds the tests by it, and what is installed before the source tree
        try:
            process.start()
        finally:
            sys.path.pop()
        processes.append((process, here))
    return processes[:count]


def together(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """function: of a module, with picklable arguments. Raises JobError."""
    port = free_port()
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
    results: list[Any] = []
    problems: list[str] = []
    for rank, (_, pipe) in enumerate(started):
        if not pipe.poll(SECONDS):
            stop()
            raise JobError(f"process {rank} hangs; {' '.join(problems)}")
        try:
            has_result, result = pipe.recv()
        except (EOFError, ConnectionResetError):
            has_result, result = False, "ended"
        results.append(result)
        problems += [] if has_result else [f"process {rank}: {result}"]
    if any(problem.endswith(": ended") for problem in problems):
        stop()
    if problems:
        raise JobError("\n".join(problems))
    return results


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
            pipe.send((True, function(*arguments)))
        except BaseException:
            pipe.send((False, traceback.format_exc()))
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()

"""Ranges of rows shared among torch's own threads, for functions that release the GIL.

Torch's workers go on spinning for milliseconds after each of its operators. A pool of anyone else's competes with them
for the cores: with two cores that cost a third of the time. So the function that starts a parallel region is looked up
in the OpenMP library that torch itself was linked to, and Python threads are for where there is none, and for children
of a fork, in which no OpenMP library works.

Nor would numba's pools do: they end the process when two threads launch at once (workqueue) or when a forked child
launches (omp), fix their size at import, and take seconds longer to compile.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import torch

Work = Callable[[int, int], object]

_RANGES_PER_THREAD = 16
"""More than one, because the threads of a busy machine are not equally fast."""


def share(worker: Callable[[], Work], total: int, least: int) -> None:
    """Call `work(first, last)` on ranges of at least `least` that make up `[0, total)`, and wait for all of them.

    Each thread has a `work` of its own, which `worker()` gives it, and calls it on the next range that is left.
    """
    threads = torch.get_num_threads()
    if threads == 1 or total <= least:
        worker()(0, total)
        return
    step = max(least, ceil(total / (threads * _RANGES_PER_THREAD)))
    tickets = count()
    errors: list[BaseException] = []

    def take_ranges(_: object = None) -> None:
        try:
            work = worker()
            while not errors and (first := next(tickets) * step) < total:
                work(first, min(first + step, total))
        except BaseException as error:
            errors.append(error)

    parallel = _parallel_region()
    if parallel is not None:
        parallel(_Region(take_ranges), None, threads, 0)
    else:
        list(_executor(threads).map(take_ranges, range(threads)))
    if errors:
        raise errors[0]


def are_torchs() -> bool:
    """Whether `share` runs on torch's threads, so that torch's operators in it do not start threads of their own."""
    return _parallel_region() is not None


_Region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _parallel_region() -> Callable[[Any, None, int, int], None] | None:
    """`GOMP_parallel(function, argument, threads, flags)`, which each Linux OpenMP library has, as torch would call it."""
    if os.getpid() != _PARENT:
        return None
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"))
        function = library.GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes = [_Region, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


@cache
def _executor(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="convspec_kernels")


def _forget_parents_threads() -> None:
    _parallel_region.cache_clear()
    _executor.cache_clear()


_PARENT = os.getpid()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_threads)

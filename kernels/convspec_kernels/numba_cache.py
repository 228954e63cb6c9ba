"""How functions are compiled by numba, and their machine code is kept on disk.

numba's cache knows a function again by the file that it stands in. What that function calls and is compiled into it may
stand in another file: so the key of ours has the sources of all of them in it, and whoever gets a newer version of this
package never runs machine code of the older one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

from convspec_kernels.numba_lanes import FAST

Function = Callable[..., Any]

_njit: Any = njit  # numba's versions differ in what types they give it
_OPTIONS = {"nogil": True, "fastmath": set(FAST), "error_model": "numpy"}


def compiled_inner(function: Function) -> Function:
    """Called by compiled functions alone."""
    compiled: Function = _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)
    return compiled


def compiled_outer(function: Function) -> Function:
    """Called from Python: without the GIL, and kept on disk where numba finds a folder that it may write."""
    compiled: Any = _njit(**_OPTIONS)(function)
    with suppress(RuntimeError):  # no such folder
        compiled._cache = _Cache(function)  # type: ignore[no-untyped-call]
    result: Function = compiled
    return result


class _Cache(FunctionCache):
    """What `njit(cache=True)` gives a function, but for its key."""

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        key: tuple[Any, ...] = super()._index_key(sig, codegen)  # type: ignore[no-untyped-call]
        return *key, _sources()


@cache
def _sources() -> str:
    """A hash of everything that is compiled: of all modules of this package named so."""
    modules = {file.name: file for file in files("convspec_kernels").iterdir() if file.name.startswith("numba_")}
    return hashlib.sha256(b"".join(modules[name].read_bytes() for name in sorted(modules))).hexdigest()

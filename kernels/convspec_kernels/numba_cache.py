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

import numba
from numba import njit
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys

from convspec_kernels.numba_lanes import FAST

Function = Callable[..., Any]

_VERSION = tuple(int(number) for number in numba.__version__.split(".")[:2])
_FIRST, _UNKNOWN = (0, 61), (0, 69)
"""Of numba's versions, those in which machine code needs the runtime of arrays alone."""
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

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Without importing all that numba can compile, SciPy among it, which machine code that is there has no use for: with
        it, the first call of a process takes nearly twice as long."""
        if not _FIRST <= _VERSION < _UNKNOWN:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        key: tuple[Any, ...] = super()._index_key(sig, codegen)  # type: ignore[no-untyped-call]
        return *key, _sources()


@cache
def _sources() -> str:
    """A hash of everything that is compiled: of all modules of this package named so."""
    modules = {file.name: file for file in files("convspec_kernels").iterdir() if file.name.startswith("numba_")}
    return hashlib.sha256(b"".join(modules[name].read_bytes() for name in sorted(modules))).hexdigest()

"""Machine code on disk: read again, and never where any source that went into it is another."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import numba
import pytest
import torch
from numba.core.dispatcher import Dispatcher

from convspec_kernels import max_pool2d, numba_augment, numba_cache, numba_loops
from tests.kernels.test_dispatch import run

DOUBLE = """
from convspec_kernels.numba_cache import compiled_outer

@compiled_outer
def double(x):
    return 2 * x
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """With a function to compile, as if it stood in a package of which `numba_lanes.py` is a file."""
    (tmp_path / "numba_lanes.py").write_text("SIXTEEN = 16")
    monkeypatch.setattr(numba_cache, "files", lambda _: tmp_path)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "kept"))
    (tmp_path / "doubles.py").write_text(DOUBLE)
    specification = importlib.util.spec_from_file_location("doubles", tmp_path / "doubles.py")
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    numba_cache._sources.cache_clear()
    yield loaded
    numba_cache._sources.cache_clear()


def hits(module: ModuleType) -> int:
    """Of a process that calls the function: how often it found it on disk."""
    numba_cache._sources.cache_clear()
    double = numba_cache.compiled_outer(module.double.py_func)
    assert double(3) == 6
    count: int = sum(double.stats.cache_hits.values())  # type: ignore[attr-defined]
    return count


def test_machine_code_is_kept(module: ModuleType) -> None:
    assert [hits(module), hits(module)] == [0, 1]


def test_a_change_of_another_file_is_seen(module: ModuleType, tmp_path: Path) -> None:
    """As where one version of this package is put in the place of another, with dates that need not tell."""
    hits(module)
    (tmp_path / "numba_lanes.py").write_text("SIXTEEN = 17")
    assert [hits(module), hits(module)] == [0, 1]


def test_all_that_is_compiled_has_such_a_name() -> None:
    """A function in a module of another name would not be in the key."""
    waiting: list[object] = [numba_loops.forward, numba_loops.backward, numba_augment._augment]
    seen: set[object] = set()
    while waiting:
        function = waiting.pop()
        if function in seen or (not hasattr(function, "__globals__") and not isinstance(function, Dispatcher)):
            continue
        seen.add(function)
        code = getattr(function, "py_func", function)
        assert code.__module__.startswith("convspec_kernels.numba_")
        waiting += [code.__globals__[name] for name in code.__code__.co_names if callable(code.__globals__.get(name))]
    assert len(seen) > 20


WARM = """
import sys, torch
from convspec_kernels import max_pool2d, numba_loops
print(int(max_pool2d(torch.arange(49.0).view(1, 1, 7, 7), 3, 2).sum()), end=" ")
print(sum(numba_loops.forward.stats.cache_hits.values()), [name for name in sys.modules if name == "scipy.linalg"])
"""


def test_kept_machine_code_is_loaded_without_the_rest_of_numba() -> None:
    with mock.patch.dict("os.environ", CONVSPEC_KERNELS="numba"):
        max_pool2d(torch.ones(1, 1, 7, 7), 3, 2)  # now it is kept
    assert run(WARM, CONVSPEC_KERNELS="numba").strip() == "288 1 []"


def test_compiles_where_no_folder_can_be_written(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_folder(function: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(numba_cache, "_Cache", no_folder)
    assert [hits(module), hits(module)] == [0, 0]

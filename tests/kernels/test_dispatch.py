"""Who computes: what the environment forces, what is missing, forks, threads, a cache that cannot be written."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from convspec_kernels import dispatch, eager, max_pool2d, threads
from convspec_kernels.options import LRN, FusedOptions, Pool, Ties

OPTIONS = FusedOptions(relu_before=True, lrn=LRN(5, 0.5, 0.75, 2.0), pool=Pool(3, 2, 0, 3, 3))
X = torch.ones(1, 4, 7, 7)


def name(x: torch.Tensor = X, options: FusedOptions = OPTIONS) -> str:
    return dispatch.choose(x, options).__name__.removeprefix("convspec_kernels.")


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda value: monkeypatch.setenv("CONVSPEC_KERNELS", value)


def test_chooses_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVSPEC_KERNELS", raising=False)
    assert name() == "numba_kernels"
    assert name(options=FusedOptions(lrn=LRN(5, 0.5, 0.75, 0.0))) == "eager"
    assert name(options=FusedOptions(pool=Pool(17, 1, 0, 1, 1))) == "eager"
    assert not dispatch.is_composed("cpu", torch.float32, Ties.FIRST)
    assert dispatch.is_composed("cpu", torch.float64, Ties.FIRST)
    assert dispatch.is_composed("cpu", torch.float32, Ties.ALL)
    assert dispatch.is_composed("meta", torch.float32, Ties.FIRST)


@pytest.mark.parametrize(("value", "expected"), [("numba", "numba_kernels"), ("eager", "eager")])
def test_does_as_it_is_told(choice: Callable[[str], None], value: str, expected: str) -> None:
    choice(value)
    assert name() == expected
    assert not dispatch.is_composed("cpu", torch.float64, Ties.FIRST)


def test_the_reference_is_no_operator(choice: Callable[[str], None]) -> None:
    choice("reference")
    assert dispatch.is_composed("cpu", torch.float32, Ties.FIRST)


@pytest.mark.parametrize(
    ("value", "arguments", "message"),
    [
        ("numba", {"x": X.double()}, "CONVSPEC_KERNELS=numba cannot run: .* not float64"),
        ("numba", {"options": FusedOptions(lrn=LRN(5, 0.5, 0.75, 0.0))}, "a k above 0, not 0.0"),
        ("numba", {"options": FusedOptions(pool=Pool(17, 1, 0, 1, 1))}, "17x17 pixels does not fit"),
        ("numba", {"options": FusedOptions(pool=Pool(3, 2, 0, 3, 3, Ties.ALL))}, "to one pixel"),
        ("numba", {"x": X.to("meta")}, "on meta"),
        ("eager", {"options": FusedOptions(pool=Pool(3, 2, 0, 3, 3, Ties.ALL))}, "first of equal pixels"),
    ],
    ids=["float64", "k", "argmax", "ties", "device", "eager ties"],
)
def test_a_forced_choice_that_cannot_run_says_why(
    choice: Callable[[str], None], value: str, arguments: dict[str, Any], message: str
) -> None:
    choice(value)
    with pytest.raises(RuntimeError, match=message):
        dispatch.choose(**{"x": X, "options": OPTIONS, **arguments})


def test_refuses_an_unknown_choice(choice: Callable[[str], None]) -> None:
    choice("cuda")
    with pytest.raises(ValueError, match="CONVSPEC_KERNELS=cuda: must be one of auto, reference, eager, numba, triton"):
        max_pool2d(X, 3, 2)


def run(script: str, **environment: str) -> str:
    """What a Python of its own prints, both streams."""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import torch
from convspec_kernels import max_pool2d
x = torch.arange(49.0).view(1, 1, 7, 7).requires_grad_()
max_pool2d(x, 3, 2).sum().backward()
max_pool2d(x, 3, 2)
print(int(x.grad.sum()))
"""


def test_without_numba_it_computes_and_says_so_once() -> None:
    lines = run(WITHOUT_NUMBA, CONVSPEC_KERNELS="auto").splitlines()
    assert lines[-1] == "9"
    assert len(lines) == 2
    assert lines[0].startswith("numba is not there")


def test_without_numba_a_forced_numba_says_why() -> None:
    script = WITHOUT_NUMBA.replace("max_pool2d(x, 3, 2).sum().backward()", "").replace("print(int(x.grad.sum()))", "")
    script = script.replace(
        "max_pool2d(x, 3, 2)", "try: max_pool2d(x, 3, 2)\nexcept RuntimeError as error: print(error)"
    )
    assert run(script, CONVSPEC_KERNELS="numba").startswith("CONVSPEC_KERNELS=numba cannot run: ")


def test_an_import_loads_no_compiler() -> None:
    script = "import convspec_kernels, sys; print([name for name in ('numba', 'triton') if name in sys.modules])"
    assert run(script).strip() == "[]"


FORK = """
import os, torch
torch.set_num_threads(2)
from convspec_kernels import local_response_norm
x = torch.randn(4, 96, 20, 20)
norm = lambda: local_response_norm(x, 5, alpha=0.5, beta=0.75)
expected = norm()
child = os.fork()
if child == 0:
    os._exit(0 if (norm().numpy() == expected.numpy()).all() else 1)  # torch.equal would hang, as torch does after a fork
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("implementation", ["numba"])
def test_a_child_of_a_fork_computes_too(implementation: str) -> None:
    assert run(FORK, CONVSPEC_KERNELS=implementation).strip() == "0"


@pytest.fixture(params=["torch's threads", "own threads"])
def three_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    if request.param == "own threads":
        monkeypatch.setattr(threads, "_parallel_region", lambda: None)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("total", "least"), [(0, 1), (1, 1), (7, 1), (100, 1), (100, 30), (100, 1000)])
def test_ranges_cover_all_once(total: int, least: int) -> None:
    ranges: list[tuple[int, int]] = []
    threads.share(lambda: lambda first, last: ranges.append((first, last)), total, least)
    assert [i for first, last in sorted(ranges) for i in range(first, last)] == list(range(total))


@pytest.mark.usefixtures("three_threads")
def test_a_mistake_in_a_thread_comes_out() -> None:
    def fail(first: int, last: int) -> None:
        raise ZeroDivisionError(f"{first} {last}")

    with pytest.raises(ZeroDivisionError):
        threads.share(lambda: fail, 100, 1)


def test_says_once_what_is_missing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("CONVSPEC_KERNELS", raising=False)
    monkeypatch.setattr(dispatch, "_load", lambda name: (None, "no such module"))
    dispatch._say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "convspec_kernels"):
        assert dispatch.choose(X, OPTIONS) is eager
        assert dispatch.choose(X, OPTIONS) is eager
    assert [record.getMessage() for record in caplog.records] == [
        "numba is not there (no such module): torch's operators compute in its place, several times slower"
    ]
    dispatch._say_once.cache_clear()

"""What all tests share: hypothesis profiles, the threads of a worker, and what a GPU test needs."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

# Examples differ in cost by orders of magnitude, and the machine has other work: no deadline says anything.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# What a shell starts in the background ignores Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The workers of pytest-xdist share the cores; each with a thread a core would make all of them slow.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` where torch finds none; torch is imported only if there are such tests."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="torch finds no GPU"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many answers of the original programs were given again: `corpus: 83/83 pairs, ...`."""
    counts: dict[str, tuple[int, int]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, suite in report.user_properties if report.when == "call" else ():
                if name == "corpus":
                    agreed, asked = counts.get(suite, (0, 0))
                    counts[suite] = (agreed + (outcome == "passed"), asked + 1)
    if counts:
        listed = ", ".join(f"{agreed}/{asked} {suite}" for suite, (agreed, asked) in sorted(counts.items()))
        terminalreporter.write_line(f"corpus: {listed}")

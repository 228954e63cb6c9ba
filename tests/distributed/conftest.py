"""The processes that the tests of this folder share end with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.distributed import processes


@pytest.fixture(scope="session", autouse=True)
def _processes() -> Iterator[None]:
    yield
    processes.stop()

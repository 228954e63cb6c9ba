"""One thread for tiny networks: more would wait for each other longer than they compute, and change the last bits."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)

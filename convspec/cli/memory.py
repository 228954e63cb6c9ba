"""How torch gets its memory on the CPU, set before torch is imported."""

from __future__ import annotations

import os

_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"


def use_huge_pages() -> None:
    """Let torch ask Linux for pages of 2 MiB, unless the user has said otherwise.

    A step's large tensors are fresh memory each time, and each page of 4 KiB costs a fault: ten thousands a step. Torch
    reads the variable at its first allocation. Where the system has no huge pages, nothing changes.
    """
    os.environ.setdefault(_HUGE_PAGES, "1")

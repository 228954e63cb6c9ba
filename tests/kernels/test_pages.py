"""Which fresh memory asks Linux for huge pages, as Linux tells it."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from convspec_kernels import local_response_norm, pages

SMAPS = Path("/proc/self/smaps")
has_huge_pages = pytest.mark.skipif(
    not SMAPS.exists() or not Path("/sys/kernel/mm/transparent_hugepage").exists(),
    reason="Linux has no huge pages here",
)


def advised_bytes(tensor: Tensor) -> int:
    """Of a tensor's memory, how much is asked to lie in huge pages: "hg" among the flags of a mapping (proc(5))."""
    begin = tensor.data_ptr()
    end, inside, total = begin + tensor.numel() * tensor.element_size(), (0, 0), 0
    for line in SMAPS.read_text().splitlines():
        first, _, rest = line.partition(" ")
        if "-" in first and not first.endswith(":"):
            low, high = (int(part, 16) for part in first.split("-"))
            inside = max(begin, low), min(end, high)
        elif first == "VmFlags:" and "hg" in rest.split():
            total += max(0, inside[1] - inside[0])
    return total


@has_huge_pages
def test_large_memory_is_in_huge_pages() -> None:
    tensor = pages.in_huge_pages(torch.empty(40 << 20, dtype=torch.uint8))
    assert advised_bytes(tensor) >= 36 << 20


@has_huge_pages
def test_memory_that_is_used_again_stays_as_it_is() -> None:
    tensor = torch.empty((32 << 20) - 1, dtype=torch.uint8)
    before = advised_bytes(tensor)
    assert advised_bytes(pages.in_huge_pages(tensor)) == before


@has_huge_pages
@pytest.mark.parametrize("implementation", ["eager", "numba"])
def test_results_and_gradients_are(implementation: str) -> None:
    x = torch.zeros(2, 8, 1024, 520).contiguous(memory_format=torch.channels_last).requires_grad_()
    with mock.patch.dict(os.environ, CONVSPEC_KERNELS=implementation):
        y = local_response_norm(x, 5, alpha=0.5, beta=0.75)
        (grad,) = torch.autograd.grad(y, x, x.detach())
    assert [advised_bytes(tensor) >> 20 >= 28 for tensor in (y, grad)] == [True, True]


def test_other_systems_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("mmap.MADV_HUGEPAGE", raising=False)
    pages._madvise.cache_clear()
    try:
        assert pages._madvise() is None
        tensor = torch.empty(40 << 20, dtype=torch.uint8)
        assert pages.in_huge_pages(tensor) is tensor
    finally:
        pages._madvise.cache_clear()

"""Fresh memory on the CPU, in pages of 2 MiB where Linux has them.

The C library maps each large block anew, and Linux makes each of its pages when it is first written: for the gradient of
37 MiB of maps, nine thousand pages of 4 KiB, which take longer than what is computed. A pool of blocks of our own would
keep memory from the rest of the network.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from functools import cache

from torch import Tensor

_LEAST_BYTES = 32 << 20
"""glibc's DEFAULT_MMAP_THRESHOLD_MAX: smaller blocks are, after a while, used again."""
_PAGE = 2 << 20


def in_huge_pages(tensor: Tensor) -> Tensor:
    """The same tensor, whose memory nobody has written yet. Where there are no such pages, nothing changes."""
    advise, size = _madvise(), tensor.numel() * tensor.element_size()
    if advise is not None and size >= _LEAST_BYTES:
        begin = -(-tensor.data_ptr() // _PAGE) * _PAGE
        end = (tensor.data_ptr() + size) // _PAGE * _PAGE
        advise(begin, end - begin, mmap.MADV_HUGEPAGE)
    return tensor


@cache
def _madvise() -> Callable[[int, int, int], int] | None:
    """madvise(2), which gives -1 where a kernel knows no huge pages."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):  # not Linux
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function

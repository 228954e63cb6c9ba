"""Tensors between processes that wait for one another: all that goes out and all that comes in, in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor

Parcel = tuple[Tensor, int]
"""A contiguous tensor, and the process that it goes to or comes from, by its rank among all."""


def send_and_receive(out: Sequence[Parcel], come: Sequence[Parcel], group: dist.ProcessGroup) -> None:
    """Send the tensors of `out`, and fill those of `come`. The processes at the other ends do the like."""
    operations = [
        dist.P2POp(function, tensor, rank, group)
        for function, parcels in ((dist.isend, out), (dist.irecv, come))
        for tensor, rank in parcels
    ]
    for work in dist.batch_isend_irecv(operations) if operations else ():
        work.wait()

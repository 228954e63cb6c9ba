"""How fast the parts of a machine are: what the ideal time of a step is computed from."""

from __future__ import annotations

from typing import NamedTuple

from convspec.plan.recorder import Precision


class Rates(NamedTuple):
    """compute: operations a second, a multiply-add being two. memory: bytes a second that a GPU reads and writes in its own
    memory. link: bytes a second that it sends to others, and as many that it gets at the same time."""

    compute: float
    memory: float
    link: float


class Card(NamedTuple):
    """A GPU as its maker describes it. memory: bytes. fp32, bf16: rates in that precision; bf16 is None where it has none."""

    memory: int
    fp32: float
    bf16: float | None
    bandwidth: float
    link: float
    source: str

    def rates(self, precision: Precision) -> Rates | None:
        """None where it does not compute in this precision."""
        compute = self.fp32 if precision is Precision.FP32 else self.bf16
        return None if compute is None else Rates(compute, self.bandwidth, self.link)


_GB = 10**9

# Peak rates without sparsity, from the makers' data sheets. NVLink is given there as the sum of both directions.
CARDS: dict[str, Card] = {
    "gtx580": Card(
        3 * _GB, 1.581e12, None, 192.4e9, 8e9, "NVIDIA GeForce GTX 580, PCI Express 2.0 x16: the GPUs of the paper"
    ),
    "a100": Card(80 * _GB, 19.5e12, 312e12, 2.039e12, 300e9, "NVIDIA A100 80GB SXM data sheet; NVLink 3"),
    "h100": Card(80 * _GB, 67e12, 989e12, 3.35e12, 450e9, "NVIDIA H100 SXM data sheet; NVLink 4"),
}

"""Values that cross between processes which have a part of a network each, and their gradients on the way back.

Each process computes the part of one GPU. Where parts read what others computed, all of them come to an `exchange`, in the
same order: what a process has goes out, what it needs comes in, in one batch of sends and receives. In the backward pass
each exchange runs the other way round. Autograd works through what a process did in reverse order, so that exchanges meet
there in reverse order too, and no process waits for one that waits for it.

What a process sends may lead to no cost of its own. `sent` is a zero that depends on all of it: added to what the process
makes small, it brings the backward pass to every exchange.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from convspec_kernels.messages import send_and_receive
from convspec_kernels.replicas import Replicas

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool)
_MOST_DIMENSIONS = 6


@dataclass(frozen=True, slots=True)
class _Form:
    """How a tensor is laid out on its way. last: in channels last. learns: whether a gradient comes back."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    last: bool
    learns: bool

    @classmethod
    def of(cls, x: Tensor) -> _Form:
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return cls(tuple(x.shape), x.dtype, last, x.requires_grad and torch.is_grad_enabled())

    def empty(self, device: torch.device) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device=device, memory_format=self._memory_format)

    def flat(self, x: Tensor) -> Tensor:
        """The numbers of a tensor as they cross: contiguous."""
        x = x.to(self.dtype).contiguous(memory_format=self._memory_format)
        return x.permute(0, 2, 3, 1) if self.last else x

    @property
    def bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    @property
    def _memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.last else torch.contiguous_format

    def header(self, device: torch.device) -> Tensor:
        numbers = [_DTYPES.index(self.dtype), self.last, self.learns, len(self.shape), *self.shape]
        return torch.tensor(numbers + [0] * (4 + _MOST_DIMENSIONS - len(numbers)), device=device)

    @classmethod
    def from_header(cls, header: Tensor) -> _Form:
        dtype, last, learns, dimensions, *shape = header.tolist()
        return cls(tuple(shape[:dimensions]), _DTYPES[dtype], bool(last), bool(learns))


@dataclass(frozen=True, slots=True)
class _Leg:
    """One value of an exchange on its way to, or from, the GPU `peer`."""

    value: str
    peer: int
    form: _Form


class Peers:
    """The processes that have the other parts of a network, by their GPUs."""

    def __init__(
        self,
        group: dist.ProcessGroup,
        gpus: Sequence[int],
        device: torch.device,
        replicas: Replicas | None = None,
    ) -> None:
        """group: a process for each of `gpus`, in this order. device: where this process has its part. replicas: the
        processes that have this part too, and other cases of each minibatch."""
        self._group, self._device, self.replicas = group, device, replicas
        self._ranks = {gpu: dist.get_global_rank(group, i) for i, gpu in enumerate(gpus)}
        self.gpu = gpus[dist.get_rank(group)]
        self.traffic: Counter[tuple[str, int, int, str]] = Counter()
        """Bytes that left this process: by value, the GPU that has it, the one that reads it, and "forward" or "backward"."""
        self.seconds = 0.0
        """That this process waited for exchanges, on the host."""
        self._forms: dict[object, list[_Form]] = {}
        self._anchor = torch.zeros((), device=device, requires_grad=True)
        self._step: tuple[object, ...] = ()
        self._count, self._sent = 0, [self._anchor * 0]

    def start(self, cases: int) -> None:
        """Begin a pass over a minibatch of so many cases. All processes do, with the same number."""
        kind = self._device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        self._step = (cases, torch.is_grad_enabled(), autocast)
        self._count, self._sent = 0, [self._anchor * 0]

    def exchange(self, send: Mapping[int, Mapping[str, Tensor]], receive: Mapping[int, Sequence[str]]) -> list[Tensor]:
        """Send values, by the GPU that reads them and their names, and receive others, by the GPU that has them.

        Returns what came, in the order of `receive`, with the gradients that it had there: where it learns, its gradient
        goes back.
        """
        self._count += 1
        out = [(name, gpu, value) for gpu, values in send.items() for name, value in values.items()]
        sent = [_Leg(name, gpu, _Form.of(value)) for name, gpu, value in out]
        wanted = [(name, gpu) for gpu, names in receive.items() for name in names]
        forms = self._forms_of(sent, [gpu for _, gpu in wanted])
        received = [_Leg(name, gpu, form) for (name, gpu), form in zip(wanted, forms, strict=True)]
        values = [value for _, _, value in out]
        if not any(leg.form.learns for leg in (*sent, *received)):
            return self._swap(sent, values, received, "forward")
        token, *came = _Exchange.apply(self, sent, received, self._anchor, *values)  # type: ignore[no-untyped-call]
        self._sent.append(token)
        return list[Tensor](came)

    def sent(self) -> Tensor:
        """() zero that depends on all that this pass exchanged."""
        return torch.stack(self._sent).sum()

    def _forms_of(self, sent: Sequence[_Leg], sources: Sequence[int]) -> list[_Form]:
        """How what comes is laid out: told once for each exchange of a kind of pass."""
        key = (self._step, self._count)
        if key not in self._forms:
            length = 4 + _MOST_DIMENSIONS
            headers = [torch.empty(length, dtype=torch.int64, device=self._device) for _ in sources]
            send_and_receive(
                [(leg.form.header(self._device), self._ranks[leg.peer]) for leg in sent],
                [(header, self._ranks[gpu]) for header, gpu in zip(headers, sources, strict=True)],
                self._group,
            )
            self._forms[key] = [_Form.from_header(header) for header in headers]
        return self._forms[key]

    def _swap(self, sent: Sequence[_Leg], values: Sequence[Tensor], received: Sequence[_Leg], way: str) -> list[Tensor]:
        came = [leg.form.empty(self._device) for leg in received]
        began = time.perf_counter()
        send_and_receive(
            [(leg.form.flat(value.detach()), self._ranks[leg.peer]) for leg, value in zip(sent, values, strict=True)],
            [(leg.form.flat(tensor), self._ranks[leg.peer]) for leg, tensor in zip(received, came, strict=True)],
            self._group,
        )
        self.seconds += time.perf_counter() - began
        for leg in sent:
            ends = (self.gpu, leg.peer) if way == "forward" else (leg.peer, self.gpu)
            self.traffic[leg.value, *ends, way] += leg.form.bytes
        return came


class _Exchange(torch.autograd.Function):
    """Gives a zero, and what came. Its gradients cross the other way."""

    @staticmethod
    def forward(
        ctx: Any, peers: Peers, sent: Sequence[_Leg], received: Sequence[_Leg], anchor: Tensor, *values: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.peers, ctx.sent, ctx.received = peers, sent, received
        came = peers._swap(sent, values, received, "forward")
        constant = [tensor for leg, tensor in zip(received, came, strict=True) if not leg.form.learns]
        ctx.mark_non_differentiable(*constant)
        return anchor.new_zeros(()), *came

    @staticmethod
    def backward(ctx: Any, _: Tensor, *grads: Tensor) -> tuple[Tensor | None, ...]:
        back = [(leg, grad) for leg, grad in zip(ctx.received, grads, strict=True) if leg.form.learns]
        learning = [leg for leg in ctx.sent if leg.form.learns]
        came = iter(ctx.peers._swap([leg for leg, _ in back], [grad for _, grad in back], learning, "backward"))
        return None, None, None, None, *(next(came) if leg.form.learns else None for leg in ctx.sent)

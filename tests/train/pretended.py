"""Several devices on a machine that has none: tensors of the CPU that say which device they would be on.

What an emitted module does with them is checked at every function of torch that it calls: operands must be on one device,
and only `to` may bring one to another. Numbers without a device are taken for those of their operands' device.

Each device has a clock, by which it does one thing after another in the order that the host asked for them. A copy from one
device to another waits for all that both have queued before, and both wait for it, as torch does it on CUDA: it runs in the
stream that computes, between two barriers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What brings a value to the host, and makes it wait for a device.
WAITING = ("item", "tolist", "cpu", "__bool__", "__float__", "__int__")


class WrongDeviceError(AssertionError):
    """Operands on different devices, or a value that the host waited for."""


def pretend_place(net: nn.Module, names: Sequence[str]) -> None:
    """`net.place`, with parameters and buffers that say where they are."""

    def to(module: nn.Module, device: str) -> nn.Module:
        for tensor in (*module.parameters(), *module.buffers()):
            _mark(tensor, device)
        return module

    devices, net_to, torch_device = tuple(names), nn.Module.to, torch.device
    nn.Module.to = to  # type: ignore[method-assign, assignment]
    torch.device = str  # type: ignore[misc, assignment]
    try:
        net.place(*devices)  # type: ignore[operator]
    finally:
        nn.Module.to = net_to  # type: ignore[method-assign]
        torch.device = torch_device  # type: ignore[misc]


class Pretended(TorchFunctionMode):
    """Counts the numbers of each value that goes from one device to another, and where it goes.

    clocks: when each device has done what it was asked for, in numbers read and written, a multiplication counted as one.
    work: how much of that it was at work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str | None, str, int]] = []
        self.clocks: Counter[str] = Counter()
        self.work: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        tensors = list(_tensors((args, dict(kwargs or {}))))
        devices = {tensor._device for tensor in tensors if hasattr(tensor, "_device")}
        if name == "to" and len(args) > 1 and isinstance(args[1], str):
            return self._send(args[0], args[1])
        if len(devices) > 1:
            raise WrongDeviceError(f"{name} reads values on {', '.join(sorted(devices))}")
        if name in WAITING and devices:
            raise WrongDeviceError(f"{name} waits for {devices.pop()}")
        result = func(*args, **(kwargs or {}))
        for device in devices:
            took = _effort(name, tensors, list(_tensors(result)))
            self.clocks[device] += took
            self.work[device] += took
        for tensor in _tensors(result) if devices else ():
            _mark(tensor, next(iter(devices)))
        return result

    def _send(self, value: Tensor, device: str) -> Tensor:
        source = getattr(value, "_device", None)
        if source == device:
            return value
        self.sent.append((source, device, value.numel()))
        if source is not None:
            self.clocks[source] = self.clocks[device] = max(self.clocks[source], self.clocks[device])
        sent = value.clone()
        _mark(sent, device)
        return sent


def _effort(name: str, operands: Sequence[Tensor], results: Sequence[Tensor]) -> int:
    """Of one function of torch: nothing for what looks at a tensor without reading it."""
    if name in ("conv2d", "linear"):
        return results[0].numel() * operands[1][0].numel()
    is_read = name not in ("__get__", "flatten", "view", "size", "dim", "__getitem__", "__len__")
    return sum(tensor.numel() for tensor in (*operands, *results)) if is_read else 0


def _mark(tensor: Tensor, device: str) -> None:
    tensor._device = device  # type: ignore[attr-defined]


def _tensors(value: object) -> Iterator[Tensor]:
    match value:
        case Tensor():
            yield value
        case dict():
            yield from _tensors(list(value.values()))
        case list() | tuple():
            for each in value:
                yield from _tensors(each)
        case _:
            pass

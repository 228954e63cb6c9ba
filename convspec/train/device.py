"""The device that a run is asked to use, the way of arrays to it, and a scalar's way back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.program.devices import Asked, check_device_count, device_list
from convspec.program.program import Program
from convspec.train.blocks import Misfit


def open_device(name: str, option: str = "--device") -> torch.device:
    """`cpu`, `cuda`, `cuda:1`, ...; `auto` is a GPU if there is one. Raises DiagnosticError CS710 if there is none such."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a device without storage, such as meta, has none
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        message = f"there is no device '{name}' here"
        help = f"{option} takes one of: {', '.join(found)}"
        raise DiagnosticError(Diagnostic("CS710", message, help=help)) from error
    if device == torch.device("cuda"):
        return torch.device("cuda", torch.cuda.current_device())
    return device


def open_devices(
    name: str, program: Program, names: Sequence[str], asked: Asked = Asked.OPTION
) -> tuple[torch.device, ...]:
    """A device for each GPU of a placed program; `name` is that of the network. asked: where they were named.

    Raises DiagnosticError CS710 for one that is not there, and CS750 where there are more or fewer than GPUs, or of
    different kinds.
    """
    check_device_count(name, program, names, asked)
    devices = tuple(open_device(each, asked.value) for each in names)
    if len({device.type for device in devices}) > 1:
        message = f"{', '.join(names)} are devices of different kinds"
        help = f"name devices of one kind: {asked.spelled(device_list(len(names), devices[0].type))}"
        raise DiagnosticError(Diagnostic("CS750", message, help=help))
    return devices


def place(net: nn.Module, devices: Sequence[torch.device]) -> None:
    """Move a network to its device, or each of its layers to that which it has by the spec."""
    if hasattr(net, "place"):
        net.place(*devices)  # type: ignore[operator]  # emitted modules for several devices have one
    else:
        net.to(devices[0])


def note_slow_bf16(device: torch.device, precision: str, notify: Notify) -> None:
    """Say CS714 where bf16 would be emulated."""
    if precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        message = "this processor has no instructions for bf16: it will be slower than fp32"
        help = "write precision=fp32 under [@train], or train on a GPU"
        notify(Diagnostic("CS714", message, help=help, severity=Severity.NOTE))


@contextmanager
def chosen_convolutions() -> Iterator[None]:
    """On CUDA, let cuDNN try its algorithms for each size of convolutions, once, and take the fastest."""
    cudnn = torch.backends.cudnn
    before, cudnn.benchmark = cudnn.benchmark, True
    try:
        yield
    finally:
        cudnn.benchmark = before


def rng_states(device: torch.device) -> dict[str, Tensor]:
    """States of torch's generators that a run on `device` draws from, by a name for checkpoints."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_rng_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Put the generators back; a state of a device that this run does not use is left out, and one that was not kept.

    Raises Misfit for what is no state of a generator.
    """
    try:
        if "cpu" in states:
            torch.set_rng_state(states["cpu"])
        if device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], device)
    except (RuntimeError, TypeError) as error:
        raise Misfit("what it keeps of the random generators is no state of theirs") from error


class Uploads:
    """Takes arrays from the host to the device, on CUDA beside what it computes, without a wait of the host's."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._copied: torch.cuda.Event | None = None
        self._source: Tensor | None = None

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Bytes on the host, on CUDA in pages that the device can fetch by itself."""
        memory: NDArray[np.uint8] = torch.empty(shape, dtype=torch.uint8, pin_memory=self._stream is not None).numpy()
        return memory

    def __call__(self, large: NDArray[Any], *small: NDArray[Any]) -> list[Tensor]:
        """The arrays as tensors there, `large` first, which may be overwritten after `wait`; the small ones at once. On the CPU
        the large one shares its memory.

        On CUDA the copies wait for nothing that the device computes, and what is computed from now on waits for them. The
        small arrays cross together.
        """
        packed, places = _packed(small, pin=self._stream is not None)
        source = torch.from_numpy(large)
        if self._stream is None:
            return [source.to(self._device), *_unpacked(packed.to(self._device), places, small)]
        self.wait()
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            there, packed = (each.to(self._device, non_blocking=True) for each in (source, packed))
            self._copied, self._source = self._stream.record_event(), source
        computing.wait_event(self._copied)
        for tensor in (there, packed):
            tensor.record_stream(computing)
        return [there, *_unpacked(packed, places, small)]

    def wait(self) -> None:
        """Until the last large array has been read."""
        if self._copied is not None:
            self._copied.synchronize()
        self._copied = self._source = None


_ALIGNMENT = 16


def _packed(arrays: Sequence[NDArray[Any]], *, pin: bool) -> tuple[Tensor, list[int]]:
    """The bytes of all arrays, and where each begins."""
    places = [0]
    for array in arrays:
        places.append(places[-1] + -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT)
    memory = torch.empty(places.pop(), dtype=torch.uint8, pin_memory=pin)
    bytes_ = memory.numpy()
    for place, array in zip(places, arrays, strict=True):
        bytes_[place : place + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memory, places


def _unpacked(memory: Tensor, places: Sequence[int], arrays: Sequence[NDArray[Any]]) -> list[Tensor]:
    """Views of the memory with types and shapes of the arrays."""
    types = [torch.from_numpy(np.empty(0, array.dtype)).dtype for array in arrays]
    return [
        memory[place : place + array.nbytes].view(kind).view(array.shape)
        for place, kind, array in zip(places, types, arrays, strict=True)
    ]


def peak_memory(devices: Iterable[torch.device]) -> int | None:
    """Bytes that this process has taken at most: of the memory of all its GPUs, by torch's count of each, or of the
    machine's. None where the system does not count."""
    gpus = {device for device in devices if device.type == "cuda"}
    if gpus:
        return sum(map(torch.cuda.max_memory_allocated, gpus))
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * unit


class HostScalar:
    """A scalar on its way to the host: started at once, waited for in `value`, while the device works on.

    On CUDA the copy is queued behind the forward pass alone, so that waiting for it leaves the backward pass running.
    """

    def __init__(self, scalar: Tensor) -> None:
        scalar = scalar.detach()
        self._event: torch.cuda.Event | None = None
        if scalar.device.type != "cuda":
            self._host = scalar
            return
        self._host = torch.empty((), dtype=scalar.dtype, pin_memory=True)
        self._host.copy_(scalar, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(scalar.device))

    def value(self) -> float:
        if self._event is not None:
            self._event.synchronize()
        return float(self._host)

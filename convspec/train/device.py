"""The device that a run is asked to use, and a scalar's way from it to the host."""

from __future__ import annotations

import torch
from torch import Tensor

from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity


def open_device(name: str) -> torch.device:
    """`cpu`, `cuda`, `cuda:1`, ...; `auto` is a GPU if there is one. Raises DiagnosticError CS710 if there is none such."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a device without storage, such as meta, has none
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        message = f"there is no device '{name}' here"
        help = f"--device takes one of: {', '.join(found)}"
        raise DiagnosticError(Diagnostic("CS710", message, help=help)) from error
    if device == torch.device("cuda"):
        return torch.device("cuda", torch.cuda.current_device())
    return device


def note_slow_bf16(device: torch.device, precision: str, notify: Notify) -> None:
    """Say CS714 where bf16 would be emulated."""
    if precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        message = "this processor has no instructions for bf16: it will be slower than fp32"
        help = "write precision=fp32 under [@train], or train on a GPU"
        notify(Diagnostic("CS714", message, help=help, severity=Severity.NOTE))


def rng_states(device: torch.device) -> dict[str, Tensor]:
    """States of torch's generators that a run on `device` draws from, by a name for checkpoints."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_rng_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Put the generators back; a state of a device that this run does not use is left out, and one that was not kept."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


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

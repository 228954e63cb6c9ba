"""How many devices a placed program needs, and what to type where there are others."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.program.crossings import gpus_of
from convspec.program.program import Program


class Asked(Enum):
    """Where devices are named, which is how a message spells them: several by the value, one without its last letter."""

    OPTION = "--devices"
    ARGUMENT = "devices"

    def spelled(self, devices: Sequence[str]) -> str:
        """`--devices cuda:0,cuda:1`, `devices=("cuda:0", "cuda:1")`; `--device cuda:0`, `device="cuda:0"`."""
        name = self.value if len(devices) > 1 else self.value.removesuffix("s")
        match self:
            case Asked.OPTION:
                return f"{name} {','.join(devices)}"
            case Asked.ARGUMENT:
                quoted = ", ".join(f'"{device}"' for device in devices)
                return f"{name}=({quoted})" if len(devices) > 1 else f"{name}={quoted}"


def check_device_count(name: str, program: Program, devices: Sequence[str], asked: Asked = Asked.OPTION) -> None:
    """Raises DiagnosticError CS750 where there are more or fewer devices than GPUs; `name` is that of the network."""
    gpus = gpus_of(program)
    if len(devices) == len(gpus):
        return
    message = f"{name} is for {_counted(len(gpus), 'GPU')}, and {_counted(len(devices), 'device')} would run it"
    note = f"its layers are on GPU {', '.join(map(str, gpus))}"
    kind = "cpu" if devices and all(device == "cpu" for device in devices) else "cuda"
    help = f"name as many: {asked.spelled(device_list(len(gpus), kind))}"
    if len(gpus) > 1:
        help += f"; or one: {asked.spelled(device_list(1, kind))} runs all layers on it"
    raise DiagnosticError(Diagnostic("CS750", message, notes=(note,), help=help))


def device_list(count: int, kind: str) -> Sequence[str]:
    """As many devices of a kind, from the first: `cuda:0`, `cuda:1`."""
    return ["cpu" if kind == "cpu" else f"{kind}:{i}" for i in range(count)]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

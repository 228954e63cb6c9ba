"""The module of a compiled network, where its caller wants it: what `convspec.load` gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import torch
import torch.distributed as dist
from torch import nn

from convspec.compiler import Compiled
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.emit.load import instantiate, instantiate_part
from convspec.launch import not_one_for_each
from convspec.passes.pipeline import Target
from convspec.program.crossings import gpus_of
from convspec.program.devices import Asked
from convspec.train.device import open_device, open_devices
from convspec_kernels import Peers


def instance(compiled: Compiled, target: Target, devices: Sequence[str], dtype: torch.dtype | None) -> nn.Module:
    """A network that was compiled for `target`, with initial weights drawn. dtype: of its parameters, None for torch's.

    devices: one for each GPU of target devices; one for all of it; none for torch's default device.

    Raises DiagnosticError CS710 where a device is missing, CS750 where there are more or fewer than GPUs, or of several
    kinds, CS753 of target spmd where this process has not joined as many as there are GPUs.
    """
    match target:
        case Target.FOLDED:
            return instantiate(compiled.source, compiled.name).to(device=_one(devices), dtype=dtype)
        case Target.DEVICES:
            net = instantiate(compiled.source, compiled.name).to(dtype=dtype)
            if devices:
                gpus = gpus_of(compiled.program)
                names = devices if len(devices) > 1 else [*devices] * len(gpus)
                net.place(*open_devices(compiled.name, compiled.program, names, Asked.ARGUMENT))  # type: ignore[operator]
            return net
        case Target.SPMD:
            return _own_part(compiled, _one(devices) or torch.get_default_device(), dtype)
        case _:
            assert_never(target)


def _one(devices: Sequence[str]) -> torch.device | None:
    if not devices:
        return None
    return torch.device("meta") if devices[0] == "meta" else open_device(devices[0], "device")


def _own_part(compiled: Compiled, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
    """What this process has: the g-th process that of the g-th GPU."""
    gpus = tuple(compiled.parts)
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 0
    if processes != len(gpus):
        raise DiagnosticError(_unfitting(compiled.name, gpus, processes))
    group = dist.group.WORLD
    assert group is not None
    net = instantiate_part(compiled.source, gpus[dist.get_rank()], Peers(group, gpus, device))
    return net.to(device=device, dtype=dtype)


def _unfitting(name: str, gpus: Sequence[int], processes: int) -> Diagnostic:
    start = f"start as many: torchrun --nproc-per-node {len(gpus)} YOUR_SCRIPT"
    if processes == 0:
        start += ", which calls torch.distributed.init_process_group() first"
    return Diagnostic("CS753", not_one_for_each(name, gpus, processes), help=start)

"""A kernel and all that it is called with, as a value: to be run, or compiled where there is no GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convspec_kernels.options import FusedOptions
from convspec_kernels.triton_configs import Problem

Arguments = dict[str, Tensor | int | float | None]
Constants = dict[str, int | float | bool]

EXACT_POWERS = (0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Launch:
    """`run` calls the kernel: `programs` programs of `warps` warps.

    registers: that a thread may have on NVIDIA's GPUs. Without the word their assembler spills some bytes where that makes
    room for another warp.
    """

    kernel: Any
    programs: int
    arguments: Arguments
    constants: Constants
    warps: int
    device: torch.device
    registers: int | None = None

    def run(self) -> None:
        if self.programs == 0:
            return
        on: AbstractContextManager[object] = (
            torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
        )
        options = {"num_warps": self.warps}
        if self.registers is not None and not torch.version.hip:
            options["maxnreg"] = self.registers
        with on:
            self.kernel[(self.programs,)](**self.arguments, **self.constants, **options)


def normalisation(options: FusedOptions) -> Arguments:
    """What the kernels are told of the normalisation while they run."""
    lrn = options.lrn
    if lrn is None:
        return {"scale": 0.0, "beta": 0.0, "k": 1.0}
    return {"scale": lrn.alpha / lrn.size, "beta": lrn.beta, "k": lrn.k}


def operator(options: FusedOptions, problem: Problem) -> Constants:
    """What the kernels are compiled for: everything but how the maps are cut up."""
    lrn, pool = options.lrn, problem.windows
    return {
        "RELU_BEFORE": options.relu_before,
        "RELU_AFTER": options.relu_after,
        "BELOW": problem.below,
        "ABOVE": problem.above,
        "NORMALISE": lrn is not None,
        "POWER": lrn.beta if lrn and lrn.beta in EXACT_POWERS else 0.0,
        "KERNEL_SIZE": pool.kernel_size,
        "STRIDE": pool.stride,
    }

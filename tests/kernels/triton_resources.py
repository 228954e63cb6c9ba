"""What a launch of a Triton kernel needs on a GPU that need not be there: compiled for it, and read off the result."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from convspec_kernels.options import FusedOptions
from convspec_kernels.triton_configs import Config, Direction, Walk
from convspec_kernels.triton_kernels import backward_launch, empty_outputs, forward_launch
from convspec_kernels.triton_launch import Launch

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.uint8: "*u8",
    torch.int32: "*i32",
    torch.bool: "*i1",
}


@dataclass(frozen=True)
class Resources:
    """registers: of a thread. spilled: bytes of a thread's stack, or registers on AMD. shared: bytes of a program."""

    registers: int
    spilled: int
    shared: int


def launch_on_paper(
    direction: Direction,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    options: FusedOptions,
    *,
    channels_last: bool,
    bias: bool = True,
    config: Config | Walk | None = None,
) -> Launch:
    """A launch on tensors without memory, which can be compiled but not run."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.empty(shape, dtype=dtype, device="meta", memory_format=memory_format)
    shift = torch.empty(shape[1], dtype=dtype, device="meta") if bias else None
    y, argmax = empty_outputs(x, options)
    if direction is Direction.FORWARD:
        return forward_launch(x, shift, y, argmax, options, config)
    return backward_launch(torch.empty_like(y), x, shift, argmax, torch.empty_like(x), options, config)


def resources(launch: Launch, target: GPUTarget, folder: Path) -> Resources:
    """Compile `launch` as Triton would for its arguments; `folder` is for files."""
    options = {"num_warps": launch.warps, "enable_fp_fusion": True}
    compiled = triton.compile(_source(launch), target=target, options=options)
    if target.backend == "hip":
        return _of_amd(compiled.asm["amdgcn"], compiled.metadata.shared)
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    tool = triton.knobs.nvidia.cuobjdump.path
    usage = subprocess.run([tool, "-res-usage", str(cubin)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", usage)
    assert found, usage
    registers, stack, local = map(int, found.groups())
    return Resources(registers, stack + local, compiled.metadata.shared)


def _of_amd(assembly: str, shared: int) -> Resources:
    def number(name: str) -> int:
        found = re.search(rf"\.{name}:\s+(\d+)", assembly)
        assert found, name
        return int(found[1])

    return Resources(number("vgpr_count"), number("vgpr_spill_count") + number("sgpr_spill_count"), shared)


def _source(launch: Launch) -> ASTSource:
    """The types and what Triton knows of the values: 1 is compiled in, and what 16 divides is marked."""
    signature: dict[str, str] = {}
    constants: dict[tuple[int], Any] = {}
    attributes: dict[tuple[int], list[list[object]]] = {}
    for place, name in enumerate(launch.kernel.arg_names):
        value = launch.constants[name] if name in launch.constants else launch.arguments[name]
        if name in launch.constants or value is None or (isinstance(value, int) and value == 1):
            signature[name] = "constexpr"
            constants[(place,)] = value
            continue
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(place,)] = [["tt.divisibility", 16]]
        signature[name] = _type(value)
    return ASTSource(launch.kernel, signature, constants, attributes)


def _type(value: Tensor | int | float) -> str:
    if isinstance(value, Tensor):
        return POINTERS[value.dtype]
    if isinstance(value, int):
        return "i32" if -(2**31) <= value < 2**31 else "i64"
    return "fp32"

"""Triton kernels on GPUs that need not be there: launches on tensors without memory, compiled, and read.

For tests and for `bench_paper`; nothing that computes comes here. Triton's interpreter must be off.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from convspec_kernels.options import FusedOptions
from convspec_kernels.triton_augment import augment_launch
from convspec_kernels.triton_configs import Configuration, Direction
from convspec_kernels.triton_dropout import dropout_launch
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
    torch.int64: "*i64",
    torch.bool: "*i1",
}


@dataclass(frozen=True, slots=True)
class Resources:
    """registers: of a thread. spilled: bytes of a thread's memory. shared: bytes of a program."""

    registers: int
    spilled: int
    shared: int


@dataclass(frozen=True, slots=True)
class Compiled:
    """code: the machine code as text. needed: what it takes."""

    code: str
    needed: Resources


def launch_on_paper(
    direction: Direction,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    options: FusedOptions,
    *,
    channels_last: bool,
    bias: bool = True,
    config: Configuration | None = None,
) -> Launch:
    """A launch on tensors without memory, which can be compiled but not run."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.empty(shape, dtype=dtype, device="meta", memory_format=memory_format)
    shift = torch.empty(shape[1], dtype=dtype, device="meta") if bias else None
    y, argmax = empty_outputs(x, options)
    if direction is Direction.FORWARD:
        return forward_launch(x, shift, y, argmax, options, config)
    return backward_launch(torch.empty_like(y), x, shift, argmax, torch.empty_like(x), options, config)


def augment_on_paper(cases: int, dtype: torch.dtype, size: int = 227) -> Launch:
    """The same of `augment`: crops of `size` of pictures of 256, and a mean picture."""

    def empty(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=kind, device="meta")

    images, y = empty(cases, 256, 256, 3, kind=torch.uint8), empty(cases, size, size, 3, kind=dtype)
    offsets, mirrors = empty(cases, 2, kind=torch.int32), empty(cases, kind=torch.bool)
    return augment_launch(images, offsets, mirrors, empty(cases, 3), empty(size, size, 3), y, 1.0)


def dropout_on_paper(shape: tuple[int, ...], dtype: torch.dtype) -> Launch:
    """The same of dropout in two layers, in channels last, by a seed on the device."""
    memory_format = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    x = torch.empty(shape, dtype=dtype, device="meta", memory_format=memory_format)
    seed = torch.empty((), dtype=torch.int64, device="meta")
    return dropout_launch(x, torch.empty_like(x), seed, 0, ("a", "b"), 0.3)


def compile_for(launch: Launch, target: GPUTarget) -> Compiled:
    """Compile `launch` as Triton would for its arguments, and read the machine code."""
    compiled = _compiled(launch, target)
    if target.backend == "hip":
        return Compiled(compiled.asm["amdgcn"], _needed(compiled, target))
    code = _read(triton.knobs.nvidia.nvdisasm.path, "-c", compiled.asm["cubin"])
    return Compiled(code, _needed(compiled, target))


def needed_by(launch: Launch, target: GPUTarget) -> Resources:
    """The same without the code, to read which takes as long as to assemble it."""
    return _needed(_compiled(launch, target), target)


def _compiled(launch: Launch, target: GPUTarget) -> CompiledKernel:
    options = {"num_warps": launch.warps, "enable_fp_fusion": True}
    if launch.registers is not None and target.backend == "cuda":
        options["maxnreg"] = launch.registers
    return triton.compile(_source(launch), target=target, options=options)


def _needed(compiled: CompiledKernel, target: GPUTarget) -> Resources:
    if target.backend == "hip":
        return of_amd(compiled.asm["amdgcn"], compiled.metadata.shared)
    usage = _read(triton.knobs.nvidia.cuobjdump.path, "-res-usage", compiled.asm["cubin"])
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", usage)
    assert found, usage
    registers, stack, local = map(int, found.groups())
    return Resources(registers, stack + local, compiled.metadata.shared)


def _read(tool: str, option: str, cubin: bytes) -> str:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        return subprocess.run([tool, option, str(file)], capture_output=True, text=True, check=True).stdout


def of_amd(assembly: str, shared: int) -> Resources:
    """What the metadata at the end of AMD's assembly say."""

    def number(name: str) -> int:
        found = re.search(rf"\.{name}:\s+(\d+)", assembly)
        assert found, name
        return int(found[1])

    # Scalar registers that do not suffice lie in lanes of vector registers, not in memory.
    return Resources(number("vgpr_count"), number("private_segment_fixed_size"), shared)


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

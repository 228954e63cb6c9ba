"""`python -m convspec_kernels.bench_paper`: what the GPU kernels should reach on an H100, by their machine code alone.

An estimate, no measurement: each kernel is compiled, its instructions are counted by what executes them, and the time that
each of these takes at least is held against the time in which a copy moves as many bytes. It says which kernels cannot
reach a share of a copy's bandwidth, whatever else happens; those that can may still be slower, for latencies, for caches
that are missed, for waits that no count shows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

import torch
import triton

from convspec_kernels.on_paper import TARGETS, Compiled, augment_on_paper, compile_for, launch_on_paper
from convspec_kernels.options import LRN, FusedOptions, Pool
from convspec_kernels.triton_configs import Direction
from convspec_kernels.triton_launch import Launch

# An H100 SXM: multiprocessors, clock, what a copy reaches of its 3.35 TB/s, and what one multiprocessor has.
MULTIPROCESSORS, HERTZ, COPY_BYTES_PER_SECOND = 132, 1.7e9, 3.0e12
REGISTERS, SHARED, MOST_WARPS, MOST_PROGRAMS = 65536, 228 * 1024, 64, 32

RATES = {"issue": 4.0, "alu": 2.0, "fma": 4.0, "mufu": 0.5, "memory": 1.0}
"""Instructions of a warp that a multiprocessor starts in a cycle: at all; comparisons, selections and integers; sums and
products; roots and conversions of types; loads, stores and shuffles, of 4 bytes a thread (CUDA C++ programming guide,
arithmetic instructions, compute capability 9.0)."""

_FMA = {"FADD", "FMUL", "FFMA", "IMAD", "HFMA2", "HADD2", "HMUL2", "MOV"}
_MUFU = {"MUFU", "I2F", "F2I", "F2F", "I2FP"}
_MEMORY = {"LDG", "STG", "LDS", "STS", "LDSM", "STSM", "SHFL", "LDL", "STL"}
_CONTROL = {"BRA", "EXIT", "BSSY", "BSYNC", "BAR", "NOP", "WARPSYNC"}


@dataclass(frozen=True, slots=True)
class Instruction:
    operation: str
    """With its modifiers, such as LDG.E.128."""
    target: int | None = None
    """Of a jump: the number of the instruction that it goes to."""

    @property
    def unit(self) -> str:
        """What executes it, a name in RATES."""
        name = self.operation.split(".")[0]
        for unit, names in (("fma", _FMA), ("mufu", _MUFU), ("memory", _MEMORY), ("issue", _CONTROL)):
            if name in names:
                return unit
        return "issue" if name.startswith("U") else "alu"

    @property
    def cycles(self) -> float:
        """Of its unit, for one warp of a multiprocessor."""
        widths = [int(bits) for bits in re.findall(r"\.(64|128)\b", self.operation)] if self.unit == "memory" else []
        return max(widths, default=32) / 32 / RATES[self.unit]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a launch. Seconds: of a copy of the bytes, and of the unit that is busiest if nothing ever waits."""

    instructions: float
    """For an element that is read or written, of threads."""
    registers: int
    warps: int
    """That are on a multiprocessor at a time."""
    copy_seconds: float
    busiest: str
    busy_seconds: float

    @property
    def of_copy(self) -> float:
        """The share of a copy's bandwidth that is left at most."""
        return min(1.0, self.copy_seconds / self.busy_seconds)


def instructions(code: str) -> list[Instruction]:
    """What nvdisasm prints, up to the jump to itself that fills the end."""
    found: list[tuple[str, str]] = []
    labels: dict[str, int] = {}
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label[1]] = len(found)
        elif read := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*);", line):
            found.append((read[1], read[2]))
    result = []
    for place, (operation, operands) in enumerate(found):
        jump = re.search(r"`\((\.L_\w+)\)", operands) if operation.startswith("BRA") else None
        target = labels[jump[1]] if jump else None
        if target == place:
            break
        result.append(Instruction(operation, target))
    return result


def executed(code: list[Instruction], rounds: int, before: int) -> Counter[Instruction]:
    """How often a warp executes each, if the last loop is gone through `rounds` times, those before it `before` times, and
    no branch is skipped."""
    loops = [(to.target, place) for place, to in enumerate(code) if to.target is not None and to.target < place]
    turns = dict.fromkeys(loops[:-1], before) | dict.fromkeys(loops[-1:], rounds)
    times: Counter[Instruction] = Counter()
    for place, instruction in enumerate(code):
        times[instruction] += max((n for (first, last), n in turns.items() if first <= place <= last), default=1)
    return times


def estimate(
    launch: Launch, compiled: Compiled, rounds: int, bytes_moved: int, elements: int, before: int = 1
) -> Estimate:
    """rounds: of the kernel's loop. before: of loops that lead up to it. bytes_moved: what must be read and written."""
    times = executed(instructions(compiled.code), rounds, before)
    busy = dict.fromkeys(RATES, 0.0)
    for instruction, count in times.items():
        busy["issue"] += count / RATES["issue"]
        if instruction.unit != "issue":
            busy[instruction.unit] += count * instruction.cycles
    busiest = max(busy, key=lambda unit: busy[unit])
    # The last programs leave multiprocessors idle: as long as the fullest one takes.
    warps_each = ceil(launch.programs / MULTIPROCESSORS) * launch.warps
    return Estimate(
        times.total() * 32 * launch.warps * launch.programs / elements,
        compiled.needed.registers,
        min(resident(launch.warps, compiled), warps_each),
        bytes_moved / COPY_BYTES_PER_SECOND,
        busiest,
        busy[busiest] * warps_each / HERTZ,
    )


def resident(warps: int, compiled: Compiled) -> int:
    """Warps that a multiprocessor has room for, in programs of `warps`; registers come by 256 for a warp."""
    registers = ceil(compiled.needed.registers * 32 / 256) * 256 * warps
    room = [REGISTERS // registers, MOST_WARPS // warps, MOST_PROGRAMS]
    if compiled.needed.shared:
        room.append(SHARED // (compiled.needed.shared + 1024))
    return min(room) * warps


LAYERS: Mapping[str, tuple[int, int, int, int]] = {"conv1": (128, 96, 55, 55), "conv2": (128, 256, 27, 27)}
NORM = LRN(size=5, alpha=5e-4, beta=0.75, k=2.0, groups=2)
PICTURES = 1024


def main() -> int:
    """Print the table."""
    print(
        f"An estimate for an H100 ({MULTIPROCESSORS} multiprocessors, {HERTZ / 1e9} GHz, a copy of "
        f"{COPY_BYTES_PER_SECOND / 1e12} TB/s) from code of Triton {triton.__version__}; nothing was run.\n"
    )
    print(
        f"{'operator':<10}{'layer':<7}{'dtype':<10}{'format':<8}{'instr/element':>14}{'registers':>10}{'warps':>7}"
        f"{'copy us':>9}{'busy us':>9}  {'busiest':<9}{'of copy, at most':>17}"
    )
    for name, estimated in rows():
        print(
            f"{name}{estimated.instructions:>14.1f}{estimated.registers:>10}{estimated.warps:>7}"
            f"{1e6 * estimated.copy_seconds:>9.1f}{1e6 * estimated.busy_seconds:>9.1f}  {estimated.busiest:<9}"
            f"{estimated.of_copy:>17.0%}",
            flush=True,
        )
    return 0


def rows() -> Iterator[tuple[str, Estimate]]:
    """Names, aligned, and estimates: of the fused operator at batch 128 and of `augment`."""
    for direction in Direction:
        for layer, shape in LAYERS.items():
            for dtype in (torch.float32, torch.bfloat16):
                for channels_last in (True, False):
                    name = (
                        f"{direction.value:<10}{layer:<7}{str(dtype)[6:]:<10}{'NHWC' if channels_last else 'NCHW':<8}"
                    )
                    yield name, _of_layer(direction, shape, dtype, channels_last=channels_last)
    for dtype in (torch.float32, torch.bfloat16):
        launch = augment_on_paper(PICTURES, dtype)
        elements = PICTURES * 227 * 227 * 3
        compiled = compile_for(launch, TARGETS["sm_90"])
        yield (
            f"{'augment':<17}{str(dtype)[6:]:<10}{'NHWC':<8}",
            estimate(launch, compiled, 1, elements * (1 + dtype.itemsize), elements),
        )


def _of_layer(
    direction: Direction, shape: tuple[int, int, int, int], dtype: torch.dtype, *, channels_last: bool
) -> Estimate:
    cases, channels, height, width = shape
    pool = Pool(3, 2, 0, height // 2, width // 2)
    options = FusedOptions(relu_before=True, lrn=NORM, pool=pool)
    launch = launch_on_paper(direction, shape, dtype, options, channels_last=channels_last)
    rounds = _rounds(launch)
    inputs, outputs = cases * channels * height * width, cases * channels * pool.out_height * pool.out_width
    maps = 1 if direction is Direction.FORWARD else 2
    moved = maps * inputs * dtype.itemsize + outputs * (dtype.itemsize + 1)
    return estimate(launch, compile_for(launch, TARGETS["sm_90"]), rounds, moved, inputs, before=NORM.size - 1)


def _rounds(launch: Launch) -> int:
    """Of a kernel's loop: rows of a walk, channels of a climb."""
    rows, channels = launch.arguments.get("rows"), launch.arguments.get("channels")
    if isinstance(channels, int):
        return ceil(channels / launch.constants["UNROLL"])
    assert isinstance(rows, int)
    return rows


if __name__ == "__main__":
    raise SystemExit(main())

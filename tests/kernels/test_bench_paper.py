"""What the estimate for GPUs reads off machine code, against counts by hand."""

from __future__ import annotations

import os
from collections import Counter

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("under TRITON_INTERPRET nothing can be compiled", allow_module_level=True)

from convspec_kernels import bench_paper
from convspec_kernels.bench_paper import Instruction
from convspec_kernels.on_paper import Compiled, Resources
from convspec_kernels.triton_launch import Launch

CODE = """
        .section        .text.kernel,"ax",@progbits
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P1 BRA `(.L_x_1) ;
.L_x_0:
        /*0020*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0030*/                   FFMA R4, R4, R5, R6 ;
        /*0040*/                   MUFU.RSQ R4, R4 ;
        /*0050*/                   FSETP.GT.AND P0, PT, R4, R5, PT ;
        /*0060*/              @UP0 UIADD3 UR4, UR4, 0x1, URZ ;
        /*0070*/               @P0 BRA `(.L_x_0) ;
.L_x_1:
        /*0080*/                   STG.E.64 desc[UR4][R2.64], R4 ;
        /*0090*/                   EXIT ;
.L_x_2:
        /*00a0*/                   BRA `(.L_x_2);
        /*00b0*/                   NOP;
"""
IN_LOOP = ["LDG.E.128", "FFMA", "MUFU.RSQ", "FSETP.GT.AND", "UIADD3", "BRA"]
OUTSIDE = ["LDC", "BRA", "STG.E.64", "EXIT"]


def test_reads_operations_and_jumps() -> None:
    code = bench_paper.instructions(CODE)
    assert [one.operation for one in code] == [*OUTSIDE[:2], *IN_LOOP, *OUTSIDE[2:]]
    assert {place: one.target for place, one in enumerate(code) if one.target is not None} == {1: 8, 7: 2}


def test_counts_what_is_in_a_loop_as_often_as_it_is_gone_through() -> None:
    times = Counter[str]()
    for instruction, count in bench_paper.executed(bench_paper.instructions(CODE), 7, 1).items():
        times[instruction.operation] += count
    assert times == Counter(IN_LOOP * 7 + OUTSIDE)


@pytest.mark.parametrize(
    ("operation", "unit", "cycles"),
    [
        ("FFMA", "fma", 0.25),
        ("FSETP.GT.AND", "alu", 0.5),
        ("MUFU.RSQ", "mufu", 2.0),
        ("LDG.E.128", "memory", 4.0),
        ("STG.E.64", "memory", 2.0),
        ("LDG.E.U8", "memory", 1.0),
        ("SHFL.IDX", "memory", 1.0),
        ("UIADD3", "issue", 0.25),
        ("BRA", "issue", 0.25),
    ],
)
def test_knows_who_executes_what(operation: str, unit: str, cycles: float) -> None:
    instruction = Instruction(operation)
    assert (instruction.unit, instruction.cycles) == (unit, cycles)


def launch_of(programs: int, warps: int) -> Launch:
    return Launch(None, programs, {}, {}, warps, torch.device("meta"))


def test_the_fullest_multiprocessor_decides() -> None:
    """133 programs of 4 warps: one multiprocessor has two. Of each warp 7 loads of 4 cycles and a store of 2."""
    compiled = Compiled(CODE, Resources(registers=64, spilled=0, shared=0))
    found = bench_paper.estimate(launch_of(133, 4), compiled, 7, 3_000_000, 1000)
    assert found.busiest == "memory"
    assert found.busy_seconds == pytest.approx((7 * 4 + 2) * 8 / 1.7e9)
    assert found.copy_seconds == pytest.approx(1e-6)
    assert found.instructions == pytest.approx((7 * 6 + 4) * 32 * 4 * 133 / 1000)
    assert found.warps == 8
    assert found.of_copy == 1.0
    slower = bench_paper.estimate(launch_of(13300, 4), compiled, 7, 3_000_000, 1000)
    assert slower.of_copy == pytest.approx(1e-6 / slower.busy_seconds)
    assert slower.of_copy < 1.0


@pytest.mark.parametrize(
    ("warps", "registers", "shared", "room"),
    [(4, 128, 0, 16), (4, 129, 0, 12), (1, 32, 0, 32), (4, 32, 0, 64), (8, 64, 48 * 1024, 32), (1, 96, 0, 21)],
)
def test_how_many_warps_find_room(warps: int, registers: int, shared: int, room: int) -> None:
    assert bench_paper.resident(warps, Compiled("", Resources(registers, 0, shared))) == room

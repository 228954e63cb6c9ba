"""The Triton kernels compiled for GPUs that need not be there: nothing spills, and shared memory suffices everywhere."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convspec_kernels.options import LRN, FusedOptions, Pool
from convspec_kernels.triton_configs import Direction

pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("under TRITON_INTERPRET nothing can be compiled", allow_module_level=True)

from convspec_kernels import bench_paper, on_paper, triton_kernels
from convspec_kernels.on_paper import (
    TARGETS,
    Resources,
    augment_on_paper,
    compile_for,
    dropout_on_paper,
    launch_on_paper,
    needed_by,
)

SHARED_ANYWHERE = 48 * 1024
NORM, POOL = LRN(5, 5e-4, 0.75, 2.0, groups=2), Pool(3, 2, 0, 13, 13)
WHOLE = FusedOptions(relu_before=True, lrn=NORM, pool=POOL)
PARTS = {
    "norm-alone": FusedOptions(relu_after=True, lrn=LRN(5, 5e-4, 0.6, 2.0)),
    "pool-alone": FusedOptions(pool=Pool(2, 1, 0, 26, 26)),
    "bias-and-relu": FusedOptions(relu_before=True),
}
POOLS = {
    "windows-of-every-pixel": ("sm_100", torch.float32, Pool(3, 1, -1, 13, 13)),
    "windows-side-by-side": ("sm_80", torch.float32, Pool(3, 3, 0, 5, 5)),
    "four-rows": ("sm_90", torch.float32, Pool(4, 2, 0, 6, 6)),
}
"""Of maps of 13x13: backward each needs, and some have spilled, more registers than the pool of AlexNet."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    triton_kernels.configuration.cache_clear()  # AMD is pretended


def suffices(needed: Resources) -> bool:
    return needed.spilled == 0 and needed.shared <= SHARED_ANYWHERE


# Each target has either direction; each layer and each type is there forward and backward: all of them take minutes
# (`python -m convspec_kernels.bench_paper`), and these are most of what this file takes.
LAYERS = {"conv1": (128, 96, 55, 55), "conv2": (128, 256, 27, 27)}
MOST_INSTRUCTIONS = {Direction.FORWARD: 27, Direction.BACKWARD: 42}
"""For an element of the maps, at the layers and types of sm_90: a tenth more than docs/kernels.md says."""

MOST_INSTRUCTIONS_OF_AUGMENT = 20

WALKS = [
    ("sm_80", Direction.FORWARD, "conv1", torch.float32),
    ("sm_80", Direction.BACKWARD, "conv1", torch.bfloat16),
    ("sm_90", Direction.FORWARD, "conv2", torch.bfloat16),
    ("sm_90", Direction.BACKWARD, "conv2", torch.float32),
    ("sm_100", Direction.FORWARD, "conv2", torch.float32),
    ("sm_100", Direction.BACKWARD, "conv1", torch.bfloat16),
    ("gfx942", Direction.FORWARD, "conv1", torch.float32),
    ("gfx942", Direction.BACKWARD, "conv2", torch.bfloat16),
]


@pytest.mark.parametrize(("target", "direction", "layer", "dtype"), WALKS, ids=str)
def test_the_layers_of_alexnet(
    target: str,
    direction: Direction,
    layer: str,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In channels last: walked, nothing goes through shared memory, and a dozen warps fit on a multiprocessor of NVIDIA's."""
    monkeypatch.setattr(torch.version, "hip", "7.0" if target == "gfx942" else None)
    shape = LAYERS[layer]
    outputs = shape[2] // 2
    options = FusedOptions(relu_before=True, lrn=NORM, pool=Pool(3, 2, 0, outputs, outputs))
    launch = launch_on_paper(direction, shape, dtype, options, channels_last=True)
    assert launch.constants["COLUMNS"] > 1 or direction is Direction.BACKWARD
    if target == "sm_90":
        compiled, rows, elements = compile_for(launch, TARGETS[target]), launch.arguments["rows"], math.prod(shape)
        assert isinstance(rows, int)
        found = bench_paper.estimate(launch, compiled, rows, elements * dtype.itemsize, elements)
        assert found.instructions < MOST_INSTRUCTIONS[direction]
        needed = compiled.needed
    else:
        needed = needed_by(launch, TARGETS[target])
    assert suffices(needed), needed
    assert needed.registers <= 168 or target == "gfx942"
    assert needed.shared == 0


CLIMBS = [
    ("sm_80", Direction.FORWARD, "conv2", torch.float32),
    ("sm_90", Direction.BACKWARD, "conv1", torch.bfloat16),
    ("sm_100", Direction.BACKWARD, "conv2", torch.float32),
    ("gfx942", Direction.FORWARD, "conv1", torch.float32),
]


@pytest.mark.parametrize(("target", "direction", "layer", "dtype"), CLIMBS, ids=str)
def test_the_layers_of_alexnet_in_planes(
    target: str, direction: Direction, layer: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCHW: climbed, nothing goes through shared memory, and a dozen warps fit on a multiprocessor of NVIDIA's."""
    monkeypatch.setattr(torch.version, "hip", "7.0" if target == "gfx942" else None)
    shape = LAYERS[layer]
    outputs = shape[2] // 2
    options = FusedOptions(relu_before=True, lrn=NORM, pool=Pool(3, 2, 0, outputs, outputs))
    launch = launch_on_paper(direction, shape, dtype, options, channels_last=False)
    assert launch.constants["ROWS"] > 1
    needed = needed_by(launch, TARGETS[target])
    assert suffices(needed), needed
    assert needed.registers <= 168 or target == "gfx942"
    assert needed.shared == 0


@pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.value)
@pytest.mark.parametrize("part", PARTS)
def test_what_leaves_something_out(part: str, direction: Direction) -> None:
    launch = launch_on_paper(direction, (128, 128, 27, 27), torch.float32, PARTS[part], channels_last=True, bias=False)
    needed = needed_by(launch, TARGETS["sm_90"])
    assert suffices(needed), needed


def test_channels_that_fill_no_runs() -> None:
    launch = launch_on_paper(Direction.BACKWARD, (128, 90, 27, 27), torch.bfloat16, WHOLE, channels_last=True)
    assert not launch.constants["WHOLE"]
    needed = needed_by(launch, TARGETS["sm_80"])
    assert suffices(needed), needed


@pytest.mark.parametrize("pool", POOLS)
def test_other_pools_backward(pool: str) -> None:
    target, dtype, windows = POOLS[pool]
    options = FusedOptions(relu_before=True, lrn=NORM, pool=windows)
    launch = launch_on_paper(Direction.BACKWARD, (128, 128, 13, 13), dtype, options, channels_last=True)
    needed = needed_by(launch, TARGETS[target])
    assert suffices(needed), needed


WIDE = FusedOptions(lrn=LRN(19, 5e-4, 0.75, 2.0), pool=Pool(3, 2, 0, 6, 6))
LARGE = FusedOptions(pool=Pool(5, 3, 0, 3, 3))


@pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.value)
@pytest.mark.parametrize(
    ("channels", "options", "channels_last"), [(2048, WIDE, True), (6, LARGE, True), (96, LARGE, False)]
)
def test_the_rule_for_tiles(channels: int, options: FusedOptions, channels_last: bool, direction: Direction) -> None:
    shape = (128, channels, 13, 13)
    launch = launch_on_paper(direction, shape, torch.float32, options, channels_last=channels_last)
    assert "BLOCK_PIXELS" in launch.constants
    needed = needed_by(launch, TARGETS["sm_90"])
    assert suffices(needed), needed


@pytest.mark.parametrize(
    ("target", "dtype", "size"),
    [("sm_80", torch.float32, 224), ("sm_100", torch.bfloat16, 227), ("gfx942", torch.bfloat16, 227)],
)
def test_augment(target: str, dtype: torch.dtype, size: int) -> None:
    needed = needed_by(augment_on_paper(8, dtype, size), TARGETS[target])
    assert suffices(needed), needed
    assert needed.shared == 0  # through which elements would change lanes


@pytest.mark.parametrize(("size", "store"), [(227, "STG.E.U16"), (224, "STG.E.64")])
def test_the_code_of_augment(size: int, store: str) -> None:
    """Of eight pictures; those that are whole stores long are written in wide ones."""
    launch, elements = augment_on_paper(8, torch.bfloat16, size), 8 * size * size * 3
    compiled = compile_for(launch, TARGETS["sm_90"])
    assert suffices(compiled.needed), compiled.needed
    stores = re.findall(r"STG\S+", compiled.code)
    assert set(stores) == {store}
    assert len(stores) % 8 == 0
    assert bench_paper.estimate(launch, compiled, 1, elements, elements).instructions < MOST_INSTRUCTIONS_OF_AUGMENT


@pytest.mark.parametrize("target", TARGETS)
def test_dropout(target: str) -> None:
    """Of vectors by a seed where the kernel runs, of maps by one that comes with the launch."""
    vectors, maps = dropout_on_paper((128, 4096), torch.bfloat16), dropout_on_paper((128, 96, 27, 27), torch.float32)
    constants, arguments = maps.constants | {"IS_ON_HOST": True}, maps.arguments | {"seed": 2**61 + 1}
    for launch in (vectors, replace(maps, constants=constants, arguments=arguments)):
        needed = needed_by(launch, TARGETS[target])
        assert suffices(needed), needed
        assert needed.shared == 0


def test_a_spill_is_seen() -> None:
    """Of a kernel that may have half the registers that it needs."""
    needed = needed_by(replace(augment_on_paper(8, torch.float32), registers=32), TARGETS["sm_90"])
    assert needed.spilled > 0, needed


def test_a_spill_is_seen_on_amd() -> None:
    assembly = "    .private_segment_fixed_size: 16\n    .sgpr_spill_count: 3\n    .vgpr_count:     64\n"
    assert on_paper.of_amd(assembly, 512) == Resources(registers=64, spilled=16, shared=512)

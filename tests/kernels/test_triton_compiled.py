"""The Triton kernels compiled for GPUs that need not be there: nothing spills, and shared memory suffices everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from convspec_kernels.options import LRN, FusedOptions, Pool
from convspec_kernels.triton_configs import TABLE, Config, Direction

pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("under TRITON_INTERPRET nothing can be compiled", allow_module_level=True)

from convspec_kernels import triton_augment
from convspec_kernels.triton_kernels import Launch
from tests.kernels.triton_resources import TARGETS, Resources, launch_on_paper, resources

SHARED_ANYWHERE = 48 * 1024
NORM, POOL = LRN(5, 5e-4, 0.75, 2.0, groups=2), Pool(3, 2, 0, 27, 27)
WHOLE = FusedOptions(relu_before=True, lrn=NORM, pool=POOL)
TYPES = {4: torch.float32, 2: torch.bfloat16}
PARTS = {
    "norm-alone": FusedOptions(lrn=NORM),
    "pool-alone": FusedOptions(pool=POOL),
    "bias-and-relu": FusedOptions(relu_before=True),
    "any-power": FusedOptions(lrn=LRN(5, 5e-4, 0.6, 2.0), pool=POOL, relu_after=True),
    "windows-of-every-pixel": FusedOptions(lrn=NORM, pool=Pool(3, 1, -1, 55, 55)),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


def suffices(needed: Resources) -> bool:
    return needed.spilled == 0 and needed.shared <= SHARED_ANYWHERE


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("entry", "config"), TABLE.items(), ids=str)
def test_the_table(entry: tuple[Direction, bool, int, int], config: Config, target: str, tmp_path: Path) -> None:
    direction, channels_last, block_channels, itemsize = entry
    channels = {64: 96, 128: 256}[block_channels]
    launch = launch_on_paper(direction, (128, channels, 55, 55), TYPES[itemsize], WHOLE, channels_last=channels_last)
    assert launch.config == config
    needed = resources(launch, TARGETS[target], tmp_path)
    assert suffices(needed), needed


@pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.value)
@pytest.mark.parametrize("part", PARTS)
def test_what_leaves_something_out(part: str, direction: Direction, tmp_path: Path) -> None:
    launch = launch_on_paper(direction, (128, 96, 55, 55), torch.bfloat16, PARTS[part], channels_last=True, bias=False)
    needed = resources(launch, TARGETS["sm_90"], tmp_path)
    assert suffices(needed), needed


@pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.value)
@pytest.mark.parametrize(("channels", "channels_last"), [(6, True), (2048, True), (512, False)])
def test_the_rule(channels: int, channels_last: bool, direction: Direction, tmp_path: Path) -> None:
    shape = (128, channels, 13, 13)
    launch = launch_on_paper(direction, shape, torch.float32, WHOLE, channels_last=channels_last)
    assert launch.config not in TABLE.values()
    needed = resources(launch, TARGETS["sm_90"], tmp_path)
    assert suffices(needed), needed


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", TYPES.values(), ids=str)
def test_augment(dtype: torch.dtype, target: str, tmp_path: Path) -> None:
    needed = resources(augment_on_paper(dtype), TARGETS[target], tmp_path)
    assert suffices(needed), needed


def augment_on_paper(dtype: torch.dtype) -> Launch:
    images, y = (torch.empty(8, n, n, 3, dtype=kind, device="meta") for n, kind in ((256, torch.uint8), (227, dtype)))
    offsets, mirrors = (
        torch.empty(s, dtype=kind, device="meta") for s, kind in (((8, 2), torch.int32), (8, torch.bool))
    )
    colours, mean = (torch.empty(shape, device="meta") for shape in ((8, 3), (227, 227, 3)))
    return triton_augment.augment_launch(images, offsets, mirrors, colours, mean, y, 1.0)


def test_a_spill_is_seen(tmp_path: Path) -> None:
    alone, shape, config = PARTS["pool-alone"], (8, 96, 55, 55), Config(32, 64, warps=1)
    launch = launch_on_paper(Direction.FORWARD, shape, torch.float32, alone, channels_last=False, config=config)
    needed = resources(launch, TARGETS["sm_90"], tmp_path)
    assert needed.spilled > 0, needed

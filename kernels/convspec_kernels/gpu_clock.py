"""What a GPU is, and how long launches on it take: for the benchmark and the tuner.

Every measurement is the median of launches between CUDA events, each after a read of more memory than the L2 cache
holds; that read also keeps the device busy until the launch has arrived. What was read leaves the cache without being
written, so that a launch pays for its own bytes alone.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from statistics import median

import torch

DEVICE = "cuda"
REPETITIONS = 30
FLUSH_BYTES = 2**30
COPY_BYTES = 2**31
LEAST_FREE = 2**31
WAKING = 200
"""Copies before the first that is measured: a device that has slept takes a while to reach its clocks."""

Run = Callable[[], object]


def unable() -> str | None:
    """Why nothing can be measured here, and what to do; None if it can."""
    if not torch.cuda.is_available():
        return "torch finds no GPU: nothing to measure; `python -m convspec_kernels.bench_paper` estimates without one"
    if find_spec("triton") is None:
        return "Triton is not installed: there are no GPU kernels to measure (pip install 'convspec[gpu]')"
    free = torch.cuda.mem_get_info()[0]
    if free < LEAST_FREE:
        return f"{free / 2**20:.0f} MiB of the GPU's memory are free, {LEAST_FREE / 2**20:.0f} are needed: end what else uses it"
    return None


def name() -> str:
    """Of the current device."""
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).name)


def has_bfloat16() -> bool:
    """Whether the current device computes with it, and need not be helped."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


class Clock:
    """Times launches on the current device."""

    def __init__(self) -> None:
        self.read = torch.zeros(_at_most(FLUSH_BYTES) // 4, dtype=torch.int32, device=DEVICE)

    def seconds(self, run: Run, repetitions: int = REPETITIONS) -> float:
        """Median of `repetitions` runs, after two that are not counted."""
        for _ in range(2):
            run()
        events = [(_event(), _event()) for _ in range(repetitions)]
        for begin, end in events:
            self.read.amax()
            begin.record()
            run()
            end.record()
        torch.cuda.synchronize()
        milliseconds: list[float] = [begin.elapsed_time(end) for begin, end in events]
        return median(milliseconds) / 1000

    def copy_bandwidth(self) -> float:
        """Bytes read and written in a second by a copy much larger than the L2 cache."""
        source = torch.empty(_at_most(COPY_BYTES), dtype=torch.uint8, device=DEVICE).random_()
        target = torch.empty_like(source)
        copy = partial(target.copy_, source)
        for _ in range(WAKING):
            copy()
        return 2 * source.nbytes / self.seconds(copy)


def _at_most(size: int) -> int:
    """The bytes, or a quarter of what is free on a small device: still several times its L2."""
    free: int = torch.cuda.mem_get_info()[0]
    return min(size, free // 4)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def describe(copy: float) -> dict[str, str]:
    """The device, its clocks while it is busy, versions and the date. copy: bytes a second, read and written."""
    import triton

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "device": name(),
        "multiprocessors": str(properties.multi_processor_count),
        "L2": f"{properties.L2_cache_size / 2**20:.0f} MiB",
        **clocks(),
        "copy": f"{copy / 1e9:.0f} GB/s, read and written",
        "torch": torch.__version__,
        "CUDA": str(torch.version.cuda or torch.version.hip),
        "triton": triton.__version__,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def clocks() -> dict[str, str]:
    """What nvidia-smi says of the driver and the clocks, where it is there; of a device that has just been busy."""
    wanted = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit")
    device = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
    query = ["nvidia-smi", f"--query-gpu={','.join(wanted)}", "--format=csv,noheader", f"--id=GPU-{device}"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
        return dict(zip(wanted, map(str.strip, answer.strip().split(",")), strict=True))
    except (OSError, subprocess.SubprocessError, ValueError):
        return {"clocks": "unknown: nvidia-smi does not say"}

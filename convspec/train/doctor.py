"""`convspec doctor`: whether training can run here, what falls back and why, and what to type about it.

Each group of findings stands on its own and imports what it looks at, so that a package that is missing or broken is a
finding and not the end of it.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import import_module, metadata
from pathlib import Path

from convspec import machine
from convspec.machine import allowed_cores, cpu_quota, usable_cores

GIB = 1 << 30
RUN_BYTES = 3 * 2 * 4 * 61_000_000
"""What a run of AlexNet keeps on the disk: weights and momentum in float32, two checkpoints and one in the writing."""

STEP_BYTES = 3 * GIB
"""About what a run of AlexNet takes of memory at batch 128: 0.7 GB for a step (docs/kernels.md), weights, and libraries."""

_TRAIN = 'pip install "convspec[train]"'
_PACKAGES = {
    "numpy": "numpy",
    "torch": "torch",
    "safetensors": "safetensors",
    "pillow": "PIL",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "rich": "rich",
    "numba": "numba",
    "triton": "triton",
}
"""Distribution to module."""
_ESSENTIAL = frozenset({"numpy", "torch", "safetensors", "pillow"})
_WITHOUT = {
    "scikit-image": "the dataset photos is not there",
    "scikit-learn": "the dataset digits is not there",
    "rich": "progress is printed line by line",
    "numba": "torch's operators stand in for the CPU kernels, several times slower",
}


class Grade(Enum):
    """OK: as it should be. NOTE: works, and could do better. PROBLEM: training cannot run."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """group, name: what was looked at. value: what was found. why: what follows, if it is not as it should be; help: what
    to type."""

    group: str
    name: str
    value: str
    grade: Grade = Grade.OK
    why: str = ""
    help: str = ""


def examine(runs: Path) -> list[Finding]:
    """All there is to say. runs: the folder that runs would be made in."""
    groups: tuple[Callable[[], Iterator[Finding]], ...] = (_versions, _processor, _gpus, _kernels, lambda: _disks(runs))
    return [finding for group in groups for finding in group()]


def can_train(findings: list[Finding]) -> bool:
    return all(finding.grade is not Grade.PROBLEM for finding in findings)


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    wanted = _wanted()
    for distribution in ("convspec", "click", "lark"):
        yield Finding("versions", distribution, _version(distribution) or "from a source tree")
    for distribution, module in _PACKAGES.items():
        if distribution == "triton" and not _gpu_names():
            continue
        yield _package(distribution, module, wanted.get(distribution, ""))


def _package(distribution: str, module: str, wanted: str) -> Finding:
    version = _version(distribution)
    try:
        import_module(module)
    except ImportError as error:
        reason = "not installed" if version is None else f"{version}, which cannot be imported: {error}"
    except Exception as error:  # libraries that do not load raise what they like
        reason = f"{version}, which cannot be imported: {type(error).__name__}: {error}"
    else:
        if wanted and version and _numbers(version) < _numbers(wanted):
            why = f"convspec is made for {wanted} or later"
            return Finding(
                "versions", distribution, version, Grade.NOTE, why, f'pip install "{distribution}>={wanted}"'
            )
        return Finding("versions", distribution, version or "from a source tree")
    repair = "" if version is None else " --force-reinstall"
    if distribution in _ESSENTIAL:
        return Finding(
            "versions", distribution, reason, Grade.PROBLEM, "training cannot run without it", f"{_TRAIN}{repair}"
        )
    extra = {"numba": "cpu", "triton": "gpu"}.get(distribution, "train")
    why = _WITHOUT.get(distribution, "torch's operators stand in for the GPU kernels, several times slower")
    return Finding("versions", distribution, reason, Grade.NOTE, why, f'pip install "convspec[{extra}]"{repair}')


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _wanted() -> dict[str, str]:
    """The least version of each package, as convspec was installed; none from a source tree."""
    try:
        requirements = metadata.requires("convspec") or []
    except metadata.PackageNotFoundError:
        return {}
    found = [re.match(r"([A-Za-z0-9_-]+)>=([0-9.]+)", requirement) for requirement in requirements]
    return {match[1].lower(): match[2] for match in found if match}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def _processor() -> Iterator[Finding]:
    yield Finding("processor", "name", machine.processor_name())
    quota, cores = cpu_quota(), usable_cores()
    of = f"{allowed_cores()} of {os.cpu_count()} by affinity"
    yield Finding("processor", "cores", f"{cores} ({of}{'' if quota is None else f', {quota:g} by control group'})")
    yield from _threads(cores)
    yield from _memory()
    pages = machine.huge_pages()
    if pages == "never":
        why = "each page of 4 KiB of a large tensor costs a fault, about a tenth of a step's time"
        help = f"echo madvise | sudo tee {machine.HUGE_PAGES}"
        yield Finding("processor", "huge pages", pages, Grade.NOTE, why, help)
    elif pages is not None:
        yield Finding("processor", "huge pages", pages)


def _threads(cores: int) -> Iterator[Finding]:
    set_by = [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ]
    try:
        import torch

        threads = torch.get_num_threads()
        has_bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except Exception:  # said under versions
        return
    value = f"{threads} of torch{', ' if set_by else ''}{', '.join(set_by)}"
    if threads > cores:
        why = f"{threads} threads take turns on {cores} cores and wait for each other"
        yield Finding("processor", "threads", value, Grade.NOTE, why, f"export OMP_NUM_THREADS={cores}")
    elif threads < cores and set_by:
        why = f"{cores - threads} of {cores} cores compute nothing"
        yield Finding("processor", "threads", value, Grade.NOTE, why, "unset OMP_NUM_THREADS MKL_NUM_THREADS")
    else:
        yield Finding("processor", "threads", value)
    if has_bf16:
        yield Finding("processor", "bf16", "instructions for it")
    else:
        why = "precision=bf16 is emulated, slower than fp32"
        yield Finding("processor", "bf16", "none", Grade.NOTE, why, "--set @train.precision=fp32")


def _memory() -> Iterator[Finding]:
    total, limit = machine.memory_bytes(), machine.memory_limit()
    known = [size for size in (total, limit) if size is not None]
    if not known:
        return
    value = f"{min(known) / GIB:.1f} GiB{' by control group' if limit is not None and limit == min(known) else ''}"
    if min(known) < STEP_BYTES:
        why = f"AlexNet takes about {STEP_BYTES / GIB:.0f} GiB at batch 128"
        yield Finding("processor", "memory", value, Grade.NOTE, why, "--set @train.batch=32")
    else:
        yield Finding("processor", "memory", value)


def _gpu_names() -> list[str]:
    try:
        import torch

        return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except Exception:  # said under versions
        return []


def _gpus() -> Iterator[Finding]:
    names = _gpu_names()
    for i, name in enumerate(names):
        yield Finding("GPUs", f"cuda:{i}", name)
    if names:
        return
    if not _has_nvidia_driver():
        yield Finding("GPUs", "cuda", "none here; training runs on the CPU")
        return
    try:
        import torch

        is_cpu_build = torch.version.cuda is None
    except Exception:  # said under versions
        return
    why = "there is a driver for NVIDIA GPUs"
    if is_cpu_build:
        help = "pip install --force-reinstall torch  # from PyPI, whose build for Linux has CUDA"
        yield Finding("GPUs", "cuda", "torch was built without CUDA", Grade.NOTE, why, help)
    else:
        yield Finding("GPUs", "cuda", "torch finds none", Grade.NOTE, f"{why}, which may be too old", "nvidia-smi")


def _has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists()


def _kernels() -> Iterator[Finding]:
    """Who computes, and whether torch computes at all."""
    try:
        import torch

        weight = torch.ones(2, 3, 3, 3, requires_grad=True)
        torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), weight).sum().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        is_right = float(weight.grad.sum()) == 2 * 27 * 36
    except ImportError:  # said under versions
        return
    except Exception as error:
        yield Finding(
            "kernels", "convolution", f"fails: {error}", Grade.PROBLEM, "torch cannot compute", f"{_TRAIN} -U"
        )
        return
    if not is_right:
        why = "torch computes it wrongly on this processor"
        yield Finding("kernels", "convolution", "wrong", Grade.PROBLEM, why, "pip install -U torch")
    from convspec_kernels.dispatch import VARIABLE, describe

    for device in ("cpu", *(["cuda"] if _gpu_names() else [])):
        try:
            name = describe(device)
        except ValueError as error:
            yield Finding("kernels", device, "unknown", Grade.PROBLEM, str(error), f"unset {VARIABLE}")
            continue
        forced = f", as {VARIABLE} says" if VARIABLE in os.environ else ""
        is_best = name in ("numba", "triton")
        why = "" if is_best else "several times slower than the kernels"
        help = "" if is_best else f"unset {VARIABLE}" if forced else _INSTALL_KERNELS[device]
        yield Finding("kernels", device, f"{name}{forced}", Grade.OK if is_best else Grade.NOTE, why, help)
    if _gpu_names() and machine.compiler() is None:
        why = "Triton compiles a launcher for each kernel"
        yield Finding("kernels", "C compiler", "none", Grade.NOTE, why, "sudo apt install gcc")


_INSTALL_KERNELS = {"cpu": 'pip install "convspec[cpu]"', "cuda": 'pip install "convspec[gpu]"'}


def _disks(runs: Path) -> Iterator[Finding]:
    for name, folder, needed in (
        (f"runs ({runs})", machine.nearest_folder(runs), RUN_BYTES),
        ("temporary files", Path(tempfile.gettempdir()), 100 << 20),
    ):
        refusal = machine.refusal_of(folder)
        if refusal is not None:
            is_runs = needed == RUN_BYTES
            why = f"nothing can be written into {folder}"
            help = "convspec train SPEC --run DIR, elsewhere" if is_runs else "export TMPDIR=DIR, elsewhere"
            yield Finding("disks", name, refusal, Grade.PROBLEM if is_runs else Grade.NOTE, why, help)
            continue
        free = machine.free_bytes(folder)
        value = f"{free / GIB:.1f} GiB free in {folder}"
        if free < needed:
            why = f"a run of AlexNet keeps {RUN_BYTES / GIB:.1f} GiB" if needed == RUN_BYTES else "that is little"
            yield Finding("disks", name, value, Grade.NOTE, why, f"du -sh {folder}/* | sort -h")
        else:
            yield Finding("disks", name, value)

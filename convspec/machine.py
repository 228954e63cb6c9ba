"""What this machine lets a process have: cores, memory, disks, pages; read from the system, without NumPy and torch."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def usable_cores() -> int:
    """At least 1."""
    quota = cpu_quota()
    return max(1, min(allowed_cores(), allowed_cores() if quota is None else ceil(quota)))


def allowed_cores() -> int:
    """By the affinity of the process, or all where a system has none."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def cpu_quota(root: Path = CGROUP) -> float | None:
    """Cores' worth of time that the control group of the process has, of either version; None for no limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        return float(quota) / float(period) if float(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """As the maker calls it, or its architecture where the system does not tell."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Of the machine; None where the system does not tell."""
    try:
        lines = meminfo.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemTotal"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def memory_limit(root: Path = CGROUP) -> int | None:
    """What the control group of the process may use, of either version; None for no limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((root / name).read_text())
        except (OSError, ValueError):  # "max": no limit
            continue
        # version 1 writes no limit as a number of pages near 2^63
        return limit if limit < 1 << 60 else None
    return None


def huge_pages(enabled: Path = HUGE_PAGES) -> str | None:
    """always, madvise or never; None where the system has no such setting."""
    try:
        words = enabled.read_text().split()
    except OSError:
        return None
    return next((word.strip("[]") for word in words if word.startswith("[")), None)


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the one above it in which it would be made."""
    path = path.absolute()
    return next((each for each in (path, *path.parents) if each.is_dir()), Path(path.anchor))


def free_bytes(folder: Path) -> int:
    """Raises OSError."""
    return shutil.disk_usage(folder).free


def refusal_of(folder: Path) -> str | None:
    """Why no file can be written into a folder; None if one can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        return error.strerror or str(error)
    return None


def compiler() -> str | None:
    """The C compiler that Triton would call for its launchers."""
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def is_full(error: OSError) -> bool:
    """Whether the disk, or what the user may have of it, is full."""
    return error.errno in _FULL

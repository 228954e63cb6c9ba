"""How many cores this process may use: those of the machine, less what affinity and a container's quota take away."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


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

"""What `convspec bench` does once torch is known to be there."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

import click

from convspec.checker import Checked
from convspec.cli.write import replacing
from convspec.diagnostics.visible import visible
from convspec.train.bench import Bench, Timing, bench, device_name, of_gpu
from convspec.train.device import open_device
from convspec_kernels.dispatch import describe


def run_bench(
    checked: Checked,
    *,
    batch: int,
    rounds: int,
    is_bf16: bool,
    with_compile: bool,
    device: str,
    as_json: bool,
    output: str | None = None,
) -> int:
    """Measure and print, and write JSON to `output`; returns the exit code."""
    place = open_device(device)
    with nullcontext() if output is None else replacing(output) as file:
        result = bench(
            checked, batch=batch, device=place, is_bf16=is_bf16, with_compile=with_compile, rounds=rounds, say=_progress
        )
        _progress("")
        about = _about(checked, batch, rounds, is_bf16, place.type, device_name(place))
        record = json.dumps({**about, **asdict(result)}, indent=2)
        click.echo(record if as_json else _table(about, result))
        if file is not None:
            file.write(f"{record}\n".encode())
    return 0


def _progress(text: str) -> None:
    """One line that is written anew, on a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)


def _about(checked: Checked, batch: int, rounds: int, is_bf16: bool, kind: str, device: str) -> dict[str, object]:
    return {
        "spec": checked.document.file.name,
        "device": device,
        "batch": batch,
        "precision": "bf16" if is_bf16 else "fp32",
        "rounds": rounds,
        "kernels": describe(kind),
        "torch": version("torch"),
        **_versions(kind),
        **(of_gpu() if kind == "cuda" else {}),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _versions(kind: str) -> dict[str, object]:
    """Of what computes beside torch on such a device."""
    packages = {"cuda": ("triton",), "cpu": ("numba",)}.get(kind, ())
    return {package: import_module(package).__version__ for package in packages if find_spec(package)}


def _table(about: dict[str, object], result: Bench) -> str:
    lines = [visible(", ".join(f"{name} {value}" for name, value in about.items()))]
    lines.append(f"the device's convolutions and matrix products reach {result.peak_flops / 1e9:,.0f} GFLOP/s")
    for title, timings in (("training step", result.train), ("prediction", result.predict)):
        lines += ["", f"{title:<26}{'ms':>10}{'images/s':>10}{'x plain':>9}{'of peak':>9}{'memory':>10}"]
        lines += [_row(timing) for timing in timings]
    lines += ["", *result.notes] if result.notes else []
    return "\n".join(lines)


def _row(timing: Timing) -> str:
    memory = "-" if timing.extra_bytes is None else f"{timing.extra_bytes / 2**20:,.0f} MiB"
    return (
        f"{timing.name:<26}{1e3 * timing.seconds:>10,.1f}{timing.images_per_second:>10,.1f}"
        f"{timing.faster:>9.2f}{timing.utilisation:>9.0%}{memory:>10}"
    )

"""Configurations that were measured on a device, as tables in JSON: read, checked, looked up, written.

`python -m convspec_kernels.tune` writes them. The folder `tables/` beside this module has those of devices that were at
hand, and `CONVSPEC_KERNELS_TABLE` names one of the user's own, which goes before it. A table decides how fast the kernels
are and never what they compute: whatever is wrong with one is logged once, and the rule takes the place of the table.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
import triton

from convspec_kernels import triton_lanes, triton_planes, triton_tiles
from convspec_kernels.options import Pool
from convspec_kernels.triton_configs import Climb, Config, Configuration, Direction, Problem, Walk

VARIABLE = "CONVSPEC_KERNELS_TABLE"
FOLDER = Path(__file__).with_name("tables")
FORM = 1
"""Of the files. To be raised when equal numbers come to mean something else."""

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float16, torch.bfloat16)}
_log = logging.getLogger("convspec_kernels")


@dataclass(frozen=True, slots=True)
class Measured:
    """The fastest configuration, the rule's, and the microseconds that each took."""

    config: Configuration
    microseconds: float
    rule: Configuration
    rule_microseconds: float


@dataclass(frozen=True, slots=True)
class Table:
    """about: the device, Triton's version and what else is good to know of where the entries are from."""

    about: Mapping[str, str]
    entries: Mapping[Problem, Measured]


@cache
def measured(device: torch.device) -> Mapping[Problem, Configuration]:
    """What is known of such a device: from the user's table, and where it says nothing from ours."""
    name = device_name(device)
    if name is None:
        return {}
    own = os.environ.get(VARIABLE)
    tables = [_load(FOLDER / file_name(name), name)] if (FOLDER / file_name(name)).exists() else []
    if own:
        tables.append(_load(Path(own), name))
    return {problem: entry.config for table in tables for problem, entry in table.items()}


def device_name(device: torch.device) -> str | None:
    """As tables have it; None if it is no GPU."""
    return torch.cuda.get_device_properties(device).name if device.type == "cuda" else None


def file_name(device: str) -> str:
    """Of a device's table: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".json"


def _load(path: Path, device: str) -> Mapping[Problem, Measured]:
    """The entries of a table that is of this device; else none, and the log says why."""
    try:
        table = read(path)
    except ValueError as error:
        _log.warning("%s; GPU kernels are cut up by rule", error)
        return {}
    if table.about["device"] != device:
        _log.warning("%s is of %s, not of %s; GPU kernels are cut up by rule", path, table.about["device"], device)
        return {}
    if table.about["triton"] != triton.__version__:
        _log.warning(
            "%s was measured with Triton %s, this is %s: `python -m convspec_kernels.tune` measures anew",
            path, table.about["triton"], triton.__version__,
        )  # fmt: skip
    return table.entries


def read(path: Path) -> Table:
    """The table in a file.

    Raises:
        ValueError: the file cannot be read, is no table of this form, or has an entry that does not fit its maps; with
            the file's name, the entry and what is wrong.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no table: {error}") from None
    match content:
        case {"form": int(form)} if form != FORM:
            raise ValueError(f"{path} is a table of form {form}, and this version reads form {FORM}: tune again")
        case {"form": int(), "about": {"device": str(), "triton": str()} as about, "entries": list(entries)}:
            texts = {str(name): str(value) for name, value in about.items()}
        case _:
            raise ValueError(f"{path} is no table: it must have form, about (with device and triton) and entries")
    found: dict[Problem, Measured] = {}
    for number, entry in enumerate(entries, 1):
        try:
            problem, result = _entry(entry)
        except ValueError as error:
            raise ValueError(f"{path} is no table: entry {number}: {error}") from None
        found[problem] = result
    return Table(texts, found)


def write(table: Table, path: Path) -> None:
    """Into a file that has, at any moment, either what was there before or all of this; an entry a line."""
    entries = ",\n".join(json.dumps(_fields(problem, result)) for problem, result in table.entries.items())
    text = f'{{\n"form": {FORM},\n"about": {json.dumps(dict(table.about), indent=1)},\n"entries": [\n{entries}\n]\n}}\n'
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def misfit(problem: Problem, config: Configuration) -> str | None:
    """Why the problem cannot be cut up so, in a clause; None if it can."""
    match config:
        case Walk():
            return triton_lanes.misfit(problem, config)
        case Climb():
            return triton_planes.misfit(problem, config)
        case Config():
            return triton_tiles.misfit(problem, config)


def _fields(problem: Problem, result: Measured) -> dict[str, object]:
    pool = problem.pool
    return {
        "direction": problem.direction.value,
        "shape": list(problem.shape),
        "dtype": str(problem.dtype).removeprefix("torch."),
        "format": "NHWC" if problem.channels_last else "NCHW",
        "size": problem.size,
        "groups": problem.groups,
        "pool": pool and [pool.kernel_size, pool.stride, pool.start, pool.out_height, pool.out_width],
        "config": asdict(result.config),
        "us": result.microseconds,
        "rule": asdict(result.rule),
        "rule_us": result.rule_microseconds,
    }


def _entry(entry: object) -> tuple[Problem, Measured]:
    match entry:
        case {
            "direction": "forward" | "backward" as direction,
            "shape": [int(), int(), int(), int()] as shape,
            "dtype": "float32" | "float16" | "bfloat16" as dtype,
            "format": "NHWC" | "NCHW" as memory_format,
            "size": int(size),
            "groups": int(groups),
            "pool": None | [int(), int(), int(), int(), int()] as pool,
            "config": dict(config),
            "us": float(microseconds) | int(microseconds),
            "rule": dict(rule),
            "rule_us": float(rule_microseconds) | int(rule_microseconds),
        }:
            sizes = [*shape, size, groups, *([1] if pool is None else [*pool[:2], *pool[3:]])]
            if min(sizes) < 1 or shape[1] % groups:
                raise ValueError("sizes must be at least 1, and groups divide the channels")
            problem = Problem(
                Direction(direction),
                (shape[0], shape[1], shape[2], shape[3]),
                DTYPES[dtype],
                memory_format == "NHWC",
                size,
                groups,
                None if pool is None else Pool(*pool),
            )
        case _:
            raise ValueError("not of the form that `python -m convspec_kernels.tune` writes")
    chosen = _config(config)
    if reason := misfit(problem, chosen):
        raise ValueError(f"{chosen} does not fit: {reason}")
    return problem, Measured(chosen, microseconds, _config(rule), rule_microseconds)


def _config(values: Mapping[str, Any]) -> Configuration:
    for kind in (Walk, Climb, Config):
        if values.keys() == {field.name for field in fields(kind)} and all(type(n) is int for n in values.values()):
            return kind(**values)
    raise ValueError(f"{dict(values)} is neither a walk, nor a climb, nor a tile")

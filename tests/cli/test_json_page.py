"""docs/json.md names every key that `--format json` prints, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from convspec.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
TABLES = [
    {key for cell in re.findall(r"^\| ([^|]*)", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", cell)}
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
]
SUMS = {"parameters", "weights", "biases", "macs", "parameter_bytes", "optimizer_bytes", "activation_bytes"}


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    main([*arguments, "--format", "json"])
    return json.loads(capsys.readouterr().out)


def keys(objects: list[dict[str, Any]]) -> set[str]:
    assert objects
    return {key for each in objects for key in each}


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "check", "alexnet.cfg", "--input", "data:3x224x224", "--solve", "data")
    top, diagnostic, layer, solve = TABLES[:4]
    assert set(found) == top | {"solve"}
    place = {"line", "column", "end_line", "end_column", "file"}
    assert keys(found["diagnostics"]) == diagnostic
    assert place <= diagnostic
    assert keys(found["layers"]) <= layer
    assert layer - keys(found["layers"]) <= {"shares"}
    assert set(found["totals"]) == {*SUMS, "batch", "gpus"}
    assert keys(found["totals"]["gpus"]) == {*SUMS, "gpu"}
    assert all(f"`{name}`" in PAGE for name in SUMS)
    maps = {"maps", "layers", "formula", "up", "down", "ceil", "floor"}
    assert set(found["solve"]) == solve - maps


def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "diff", "alexnet.cfg", "alexnet-2012.cfg")
    top, difference = TABLES[4:6]
    assert set(found) == top
    assert keys(found["differences"]) == difference


def test_plan(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "plan", "alexnet.cfg", "--devices", "3GB,3GB")
    top, gpu, crossing = TABLES[6:9]
    assert set(found) == top
    assert keys(found["gpus"]) == gpu
    assert keys(found["crossings"]) == crossing
    first = printed(capsys, "plan", "alexnet-1gpu.cfg", "--auto", "2")[0]
    assert all(f"`{key}`" in PAGE for key in first)


def test_no_table_is_left_over() -> None:
    assert len(TABLES) == 9

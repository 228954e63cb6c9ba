"""Tables of what was measured: whether launches use them, and what becomes of those that are wrong or of another device."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

import triton

from convspec_kernels import triton_kernels, triton_tables
from convspec_kernels.options import LRN, FusedOptions, Pool
from convspec_kernels.triton_configs import Climb, Config, Configuration, Direction, Problem, Walk
from convspec_kernels.triton_launch import Launch
from convspec_kernels.triton_tables import Measured, Table

DEVICE = "Pretended GPU 80GB"
ABOUT = {"device": DEVICE, "triton": triton.__version__, "date": "2026-11-24"}
SHAPE, POOL = (128, 96, 55, 55), Pool(3, 2, 0, 27, 27)
WALKED = Problem(Direction.FORWARD, SHAPE, torch.float32, True, 5, 2, POOL)
CLIMBED = WALKED._replace(channels_last=False)
TILED = CLIMBED._replace(pool=Pool(5, 3, 0, 17, 17))
WALK, CLIMB, TILE = Walk(2, 7, 2), Climb(2, 12, 4), Config(8, 64, 4)


@pytest.fixture(autouse=True)
def _pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A device for tensors without memory, a folder of ours that is empty, and nothing known from before."""
    monkeypatch.setattr(triton_tables, "device_name", lambda device: DEVICE)
    monkeypatch.setattr(triton_tables, "FOLDER", tmp_path / "ours")
    monkeypatch.delenv(triton_tables.VARIABLE, raising=False)
    caches = (triton_tables.measured, triton_kernels.configuration)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def table(*entries: tuple[Problem, Configuration], **about: str) -> Table:
    found = {problem: Measured(config, 70.0, triton_kernels.rule(problem), 75.5) for problem, config in entries}
    return Table(ABOUT | about, found)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file that the environment names."""
    monkeypatch.setenv(triton_tables.VARIABLE, str(tmp_path / "own.json"))
    return tmp_path / "own.json"


def launched(problem: Problem) -> Launch:
    """What a user's call launches."""
    memory_format = torch.channels_last if problem.channels_last else torch.contiguous_format
    x = torch.empty(problem.shape, dtype=problem.dtype, device="meta").contiguous(memory_format=memory_format)
    options = FusedOptions(lrn=LRN(problem.size, 5e-4, 0.75, 2.0, problem.groups), pool=problem.pool)
    y, argmax = triton_kernels.empty_outputs(x, options)
    if problem.direction is Direction.FORWARD:
        return triton_kernels.forward_launch(x, None, y, argmax, options)
    return triton_kernels.backward_launch(y, x, None, argmax, torch.empty_like(x), options)


def cut(launch: Launch) -> Configuration:
    """The configuration of a launch."""
    numbers: dict[str, Any] = launch.constants | launch.arguments
    if "COLUMNS" in numbers:
        return Walk(numbers["COLUMNS"], numbers["rows"], launch.warps)
    if "ROWS" in numbers:
        return Climb(numbers["ROWS"], numbers["channels"], launch.warps)
    return Config(numbers["BLOCK_PIXELS"], numbers["BLOCK_CHANNELS"], launch.warps, numbers.get("ROUNDS", 1))


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(("problem", "config"), [(WALKED, WALK), (CLIMBED, CLIMB), (TILED, TILE)])
def test_a_launch_is_cut_up_as_the_table_says(
    problem: Problem, config: Configuration, direction: Direction, own: Path
) -> None:
    problem = problem._replace(direction=direction)
    assert cut(launched(problem)) != config
    triton_tables.write(table((problem, config)), own)
    triton_tables.measured.cache_clear()
    triton_kernels.configuration.cache_clear()
    assert cut(launched(problem)) == config
    others = [
        problem._replace(shape=(64, *SHAPE[1:])),
        problem._replace(dtype=torch.bfloat16),
        problem._replace(groups=1),
        problem._replace(pool=Pool(3, 2, -1, 28, 28)),
        problem._replace(direction=next(other for other in Direction if other is not direction)),
    ]
    for other in others:
        assert cut(launched(other)) == triton_kernels.rule(other)


def test_a_table_of_ours_serves_its_device_and_the_users_own_goes_before(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("meta")
    triton_tables.FOLDER.mkdir()
    triton_tables.write(table((WALKED, WALK), (TILED, TILE)), triton_tables.FOLDER / "pretended-gpu-80gb.json")
    triton_tables.write(table((WALKED, Walk(1, 1, 4))), own)
    assert triton_tables.measured(device) == {WALKED: Walk(1, 1, 4), TILED: TILE}
    triton_tables.measured.cache_clear()
    monkeypatch.delenv(triton_tables.VARIABLE)
    assert triton_tables.measured(device) == {WALKED: WALK, TILED: TILE}
    triton_tables.measured.cache_clear()
    monkeypatch.setattr(triton_tables, "device_name", lambda device: "Another")
    assert triton_tables.measured(device) == {}


def test_only_a_gpu_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert triton_tables.device_name(torch.device("cpu")) is None
    assert triton_tables.device_name(torch.device("meta")) is None


def entry(problem: Problem = WALKED, chosen: Configuration = WALK, **changes: object) -> dict[str, Any]:
    return triton_tables._fields(problem, Measured(chosen, 70.0, chosen, 75.0)) | changes


def content(*entries: object, **changes: object) -> bytes:
    return json.dumps({"form": triton_tables.FORM, "about": ABOUT, "entries": entries} | changes).encode()


SPOILT = {
    "no text": (b"\xff\xfe\x00", "no table"),
    "no JSON": (b'{"form": 1,\n"about" 3}', "line 2 column 9"),
    "deep": (b"[" * 100_000, "no table"),
    "a list": (b"[]", "must have form, about"),
    "about nothing": (content(about={"device": DEVICE}), "with device and triton"),
    "another form": (content(form=2), "form 2, and this version reads form 1: tune again"),
    "no entry": (content(entry(), 7), "entry 2: not of the form that `python -m convspec_kernels.tune` writes"),
    "a text for a number": (content(entry(us="fast")), "entry 1: not of the form"),
    "another type": (content(entry(dtype="float64")), "entry 1: not of the form"),
    "no group": (content(entry(groups=0)), "sizes must be at least 1"),
    "parts of channels": (content(entry(groups=7)), "groups divide the channels"),
    "no windows": (content(entry(pool=[3, 2, 0, 0, 27])), "sizes must be at least 1"),
    "neither": (content(entry(config={"columns": 1})), "neither a walk, nor a climb, nor a tile"),
    "a truth for a number": (
        content(entry(config=asdict(WALK) | {"warps": True})),
        "neither a walk, nor a climb, nor a tile",
    ),
    "a wide strip": (content(entry(config=asdict(Walk(9, 7)))), "columns must be from 1 to 8, rows from 1 to 27"),
    "a long strip": (content(entry(config=asdict(Walk(2, 28)))), "rows from 1 to 27"),
    "three warps": (content(entry(config=asdict(Walk(2, 7, 3)))), "warps must be a power of two up to 16"),
    "a walk through rows": (content(entry(TILED, WALK)), "these maps are not walked"),
    "a climb through pixels": (content(entry(WALKED, CLIMB)), "these maps are not climbed"),
    "a climb with large blocks": (
        content(entry(CLIMBED._replace(pool=Pool(4, 4, 0, 13, 13)), CLIMB)),
        "these maps are not climbed",
    ),
    "a high block": (content(entry(CLIMBED, Climb(9, 12))), "rows must be from 1 to 8, channels from 1 to 48"),
    "two towers": (content(entry(CLIMBED, Climb(2, 49))), "channels from 1 to 48"),
    "six warps": (content(entry(CLIMBED, Climb(2, 12, 6))), "warps must be a power of two up to 16"),
    "no power": (content(entry(TILED, Config(24, 64))), "must be powers of two"),
    "a large tile": (content(entry(TILED, Config(256, 64))), "at most 8192 elements and 16 warps"),
    "no room": (content(entry(TILED, Config(8, 16))), "no room for 8 neighbours"),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_spoilt_table_is_told_of_once_and_the_rule_goes_on(
    spoilt: str, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, message = SPOILT[spoilt]
    own.write_bytes(data)
    with caplog.at_level(logging.WARNING, "convspec_kernels"):
        assert cut(launched(WALKED)) == triton_kernels.rule(WALKED)
        assert cut(launched(TILED)) == triton_kernels.rule(TILED)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(str(own))
    assert message in told
    assert told.endswith("GPU kernels are cut up by rule")


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_a_table_that_cannot_be_read(kind: str, own: Path, caplog: pytest.LogCaptureFixture) -> None:
    if kind == "folder":
        own.mkdir()
    assert cut(launched(WALKED)) == triton_kernels.rule(WALKED)
    assert "own.json cannot be read: " in caplog.text


def test_a_table_of_another_device(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    triton_tables.write(table((WALKED, WALK), device="Another GPU"), own)
    assert cut(launched(WALKED)) == triton_kernels.rule(WALKED)
    assert "is of Another GPU, not of Pretended GPU 80GB" in caplog.text


def test_a_table_of_another_triton_is_told_of_and_used(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    triton_tables.write(table((WALKED, WALK), triton="3.0.0"), own)
    assert cut(launched(WALKED)) == WALK
    assert "was measured with Triton 3.0.0" in caplog.text


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    alone = WALKED._replace(direction=Direction.BACKWARD, pool=None, size=1, groups=1, dtype=torch.float16)
    before = table((WALKED, WALK), (CLIMBED, CLIMB), (TILED, TILE), (alone, Walk(2, 50)))
    triton_tables.write(before, tmp_path / "t.json")
    assert triton_tables.read(tmp_path / "t.json") == before
    lines = (tmp_path / "t.json").read_text().splitlines()
    assert [line[:13] for line in lines].count('{"direction":') == 4


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "t.json"
    triton_tables.write(table((WALKED, WALK)), file)
    before = file.read_bytes()

    def full(self: Path, text: str, **options: object) -> None:
        self.write_bytes(b"{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        triton_tables.write(table(), file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]

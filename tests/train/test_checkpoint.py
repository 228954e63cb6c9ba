"""Checkpoints that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.train import checkpoint as checkpoints
from convspec.train.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, load_newest, save_checkpoint


def at(epoch: int, step: int) -> Checkpoint:
    weights = {"conv1.weight": torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)}
    training = {"momentum/conv1.weight": torch.randn(4, 3, 2, 2), "rng/cpu": torch.get_rng_state()}
    return Checkpoint(weights, training, {"epoch": epoch, "step": step, "best_error": 0.1 + 0.2})


def forget(diagnostic: Diagnostic) -> None:
    raise AssertionError(diagnostic)


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    before = at(3, 750)
    path = save_checkpoint(tmp_path / "checkpoints", before, keep=2)
    assert path.name == "0003-00000750"
    after = load_newest(tmp_path / "checkpoints", forget)
    assert after is not None
    assert after.state == before.state
    for name, tensor in before.weights.items():
        assert torch.equal(after.weights[name], tensor)
    for name, tensor in before.training.items():
        assert torch.equal(after.training[name], tensor)


def test_keeps_the_newest_by_position(tmp_path: Path) -> None:
    for epoch, step in ((0, 9), (0, 10), (1, 10), (10, 100)):
        save_checkpoint(tmp_path, at(epoch, step), keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["0001-00000010", "0010-00000100"]


def test_the_same_position_again_replaces(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, at(1, 5), keep=2)
    second = at(1, 5)
    path = save_checkpoint(tmp_path, second, keep=2)
    assert torch.equal(load_checkpoint(path).weights["conv1.weight"], second.weights["conv1.weight"])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def lay_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("file", ["weights.safetensors", "training.safetensors", "state.json"])
@pytest.mark.parametrize("harm", [flip_a_byte, cut_short, empty, remove, lay_a_pipe])
def test_a_broken_one_is_passed_over_with_a_warning(tmp_path: Path, file: str, harm: Any) -> None:
    save_checkpoint(tmp_path, at(1, 5), keep=2)
    harm(save_checkpoint(tmp_path, at(2, 10), keep=2) / file)
    told: list[Diagnostic] = []
    found = load_newest(tmp_path, told.append)
    assert found is not None
    assert found.state["epoch"] == 1
    assert [(d.code, d.severity) for d in told] == [("CS708", Severity.WARNING)]
    assert "0002-00000010" in told[0].message


def test_a_changed_number_in_the_state_is_found(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, at(1, 5), keep=2) / "state.json"
    path.write_text(path.read_text().replace('"step": 5', '"step": 6'))
    with pytest.raises(checkpoints.BrokenCheckpoint, match="digest"):
        load_checkpoint(path.parent)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("epoch", value) for value in (None, True, "1", 10**40)],
        *[("step", value) for value in (1.5, -1)],
        *[("best_error", value) for value in ("low", 10**400, True)],
        ("finished", 0),
        *[("epoch_sums", value) for value in ([], [1.0], [1.0, "2", 3.0], {})],
        *[("plateau", value) for value in ({}, [], {"best": 0.1, "stalled": -1, "dropped": 0, "is_finished": False})],
        ("plateau", {"best": None, "stalled": 0, "dropped": 0, "is_finished": 0}),
        *[("momentum_rates", value) for value in ([], {}, {"conv1.weight": 0.0}, {"conv1.weight": 1})],
        ("metrics_lines", 0.5),
        ("made_with", {"threads": "2"}),
        ("share_of_epoch", 1.5),
    ],
)
def test_a_state_that_makes_no_sense_is_none(tmp_path: Path, key: str, value: Any) -> None:
    path = save_checkpoint(tmp_path, at(1, 5), keep=2)
    document = json.loads((path / "state.json").read_bytes())
    digests = {name: digest for name, digest in document["sha256"].items() if name != "state"}
    checkpoints.write_state(path, {**document["state"], key: value}, digests)
    with pytest.raises(checkpoints.BrokenCheckpoint, match="is not what was written"):
        load_checkpoint(path)


def test_all_broken_is_an_error(tmp_path: Path) -> None:
    flip_a_byte(save_checkpoint(tmp_path, at(1, 5), keep=2) / "weights.safetensors")
    with pytest.raises(DiagnosticError, match="CS708"):
        load_newest(tmp_path, lambda diagnostic: None)


def test_none_is_none(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "nowhere", forget) is None


@pytest.mark.parametrize("fails_at", range(3))
def test_a_full_disk_keeps_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    good = at(1, 5)
    save_checkpoint(tmp_path, good, keep=1)
    written = 0

    def write(path: Path, content: bytes) -> None:
        nonlocal written
        if written == fails_at:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written += 1
        path.write_bytes(content)

    monkeypatch.setattr(checkpoints, "write_file", write)
    with pytest.raises(DiagnosticError) as caught:
        save_checkpoint(tmp_path, at(2, 10), keep=1)
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.code == "CS711"
    assert "0001-00000005" in diagnostic.notes[0]
    assert [path.name for path in tmp_path.iterdir()] == ["0001-00000005"], "nothing half written stays"
    found = load_newest(tmp_path, forget)
    assert found is not None
    assert torch.equal(found.weights["conv1.weight"], good.weights["conv1.weight"])


def test_what_a_killed_process_left_is_not_seen_and_goes(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, at(1, 5), keep=3)
    shutil.copytree(path, tmp_path / ".writing-0002-00000010")
    assert [p.name for p in list_checkpoints(tmp_path)] == [path.name]
    save_checkpoint(tmp_path, at(3, 15), keep=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0001-00000005", "0003-00000015"]

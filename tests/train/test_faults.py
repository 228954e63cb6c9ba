"""What a machine does to a run: memory that does not suffice, a disk that is full, folders that go away, an odd clock.

Killed processes and signals are in test_processes, files that rot in test_checkpoint and tests/data/test_shards, pictures that
do not come in test_waiting, losses that are not finite in test_trainer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convspec.data.folder import Folder
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.train.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from convspec.train.display import SilentDisplay
from convspec.train.memory import lacks_memory
from convspec.train.trainer import train
from tests.train.runs import SPEC, assert_same_run, go, metrics
from tests.train.tinynet import Compiled, Data, TinyNet, Train, tiny_program

DRIVER = Path(__file__).with_name("faulty.py")

SHORT = replace(SPEC, train=replace(SPEC.train, epochs=1))


class Gpu(TinyNet):
    """Refuses more than `room` cases as a GPU does, from its third step on."""

    room, steps = 20, 0

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        self.steps += 1
        if self.steps > 2 and len(inputs["data"]) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return super().forward(inputs)


@pytest.mark.parametrize(
    ("room", "says", "help"), [(20, "one of 16 fits", "batch=16"), (0, "not for one of 1", "has more")]
)
def test_out_of_memory_says_which_minibatch_fits(tmp_path: Path, room: int, says: str, help: str) -> None:
    network = Gpu()
    network.room = room
    compiled = replace(SHORT, train=replace(SHORT.train, checkpoint_every=2))
    with pytest.raises(DiagnosticError) as caught:
        go(compiled, tmp_path / "part", network)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "CS718"
    assert says in diagnostic.message
    assert help in (diagnostic.help or "")
    go(compiled, tmp_path / "whole")
    assert [path.name for path in list_checkpoints(tmp_path / "part" / "checkpoints")] == ["0000-00000002"]
    go(compiled, resume=tmp_path / "part")
    assert_same_run(tmp_path / "whole", tmp_path / "part")


def test_other_errors_of_torch_are_not_taken_for_memory(tmp_path: Path) -> None:
    class Broken(TinyNet):
        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        go(SHORT, tmp_path / "run", Broken())
    assert lacks_memory(MemoryError())
    assert lacks_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"))
    assert not lacks_memory(ValueError("can allocate memory"))


def faulty(task: str, folder: Path) -> dict[str, object]:
    """What a task of faulty.py reports, from a process of its own."""
    path = os.pathsep.join([str(DRIVER.parents[2]), *filter(None, sys.path)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.faulty", task, str(folder)],
        env=environment,
        cwd=DRIVER.parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_a_limit_of_memory_says_which_minibatch_fits(tmp_path: Path) -> None:
    """Under ulimit -v: and that minibatch does fit."""
    report = faulty("limit_memory", tmp_path)
    assert report["code"] == "CS718"
    assert report["fitting"] in (8, 16, 32)
    assert report["again"] == "fits"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of files are those of Unix")
def test_a_limit_of_files_is_a_full_disk_and_the_run_goes_on(tmp_path: Path) -> None:
    """Under ulimit -f, which refuses what a full disk would, in the middle of a file."""
    report = faulty("limit_files", tmp_path)
    assert report["codes"] == ["CS711"]
    assert report["kept"] == "0000-00000004"
    assert not any(name.startswith(".writing") for name in report["left"])  # type: ignore[attr-defined]
    assert_same_run(tmp_path / "whole", tmp_path / "part")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_run_folder_that_became_read_only(tmp_path: Path) -> None:
    go(SHORT, tmp_path / "whole")
    go(SHORT, tmp_path / "part", max_steps=4)
    (tmp_path / "part" / "checkpoints").chmod(0o500)
    with pytest.raises(DiagnosticError, match=r"CS706.*checkpoints"):
        go(SHORT, resume=tmp_path / "part")
    (tmp_path / "part" / "checkpoints").chmod(0o700)
    go(SHORT, resume=tmp_path / "part")
    assert_same_run(tmp_path / "whole", tmp_path / "part")


def test_a_file_system_that_became_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(SHORT, tmp_path / "whole")
    go(SHORT, tmp_path / "part", max_steps=4)

    def refuse(self: Path, *options: object, **more: object) -> None:
        raise OSError(30, "Read-only file system", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(DiagnosticError, match=r"CS706.*Read-only file system"):
            go(SHORT, resume=tmp_path / "part")
    go(SHORT, resume=tmp_path / "part")
    assert_same_run(tmp_path / "whole", tmp_path / "part")


def pictures(root: Path) -> Path:
    from PIL import Image

    for label in range(3):
        (root / f"class{label}").mkdir(parents=True)
        for i in range(20):
            Image.new("L", (8, 8), 80 * label + i).save(root / f"class{label}" / f"{i}.png")
    return root


def test_a_class_folder_that_vanishes_is_named_and_the_run_goes_on_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convspec.data.folder.CACHE_BYTES", 0)
    monkeypatch.setattr(Folder.__init__, "__kwdefaults__", {"cache_bytes": 0})
    root = pictures(tmp_path / "set")
    compiled = Compiled(
        program=tiny_program(classes=3),
        train=Train(epochs=3, batch=8, checkpoint_every=2),
        data=Data(provider="folder", path=str(root)),
    )
    go(compiled, tmp_path / "whole", TinyNet(classes=3))

    class Moving(TinyNet):
        steps = 0

        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            self.steps += self.training
            if self.steps == 5 and (root / "class1").exists():
                (root / "class1").rename(root / ".away")
            return super().forward(inputs)

    with pytest.raises(DiagnosticError) as caught:
        go(compiled, tmp_path / "part", Moving(classes=3))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "CS701"
    assert str(root / "class1") in diagnostic.message
    assert "--resume" in (diagnostic.help or "")
    (root / ".away").rename(root / "class1")
    go(compiled, network=TinyNet(classes=3), resume=tmp_path / "part")
    assert_same_run(tmp_path / "whole", tmp_path / "part")


def resumed(folder: Path, compiled: Compiled = SPEC) -> list[Diagnostic]:
    told: list[Diagnostic] = []
    train(compiled, network=TinyNet(), resume=folder, display=SilentDisplay(), notify=told.append)
    return told


def test_a_checkpoint_that_another_version_wrote_says_what_it_lacks(tmp_path: Path) -> None:
    go(SPEC, tmp_path / "run", max_steps=3)
    (newest,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    found = load_checkpoint(newest)
    state = {key: value for key, value in found.state.items() if key not in ("plateau", "made_with")}
    save_checkpoint(newest.parent, Checkpoint(found.weights, found.training, state), keep=1)
    with pytest.raises(DiagnosticError, match=r"CS708: .*00000003 does not tell its plateau, made_with"):
        resumed(tmp_path / "run")


def test_a_run_whose_checkpoints_were_removed_says_so_and_keeps_its_metrics(tmp_path: Path) -> None:
    go(SPEC, tmp_path / "run", max_steps=30)
    before = metrics(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(DiagnosticError, match=r"CS708.*are gone.*step 30"):
        resumed(tmp_path / "run")
    assert metrics(tmp_path / "run") == before


@pytest.mark.parametrize(("every", "steps", "are_gone"), [(4, 3, False), (4, 4, False), (4, 5, True), (0, 23, False)])
def test_a_run_that_had_no_checkpoint_yet_begins_again_and_says_so(
    tmp_path: Path, every: int, steps: int, are_gone: bool
) -> None:
    """As a kill leaves it: the record of steps is ahead of the checkpoints."""
    compiled = replace(SHORT, train=replace(SHORT.train, checkpoint_every=every))
    go(compiled, tmp_path / "whole")
    go(compiled, tmp_path / "run", max_steps=steps)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    if are_gone:
        with pytest.raises(DiagnosticError, match="CS708"):
            resumed(tmp_path / "run", compiled)
        return
    assert [(d.code, d.severity) for d in resumed(tmp_path / "run", compiled)] == [("CS708", Severity.NOTE)]
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the day is set back an hour at each look; newest is told by position, not by date."""
    go(SHORT, tmp_path / "whole")
    now = time.time()

    def backwards() -> float:
        nonlocal now
        now -= 3600
        return now

    monkeypatch.setattr(time, "time", backwards)
    go(SHORT, tmp_path / "part", max_steps=9)
    checkpoints = list_checkpoints(tmp_path / "part" / "checkpoints")
    os.utime(checkpoints[-1], (0, 0))
    go(SHORT, resume=tmp_path / "part")
    assert_same_run(tmp_path / "whole", tmp_path / "part")

"""Processes that do not fit, that differ, and that are lost: what is said, and what is left of the run."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from convspec.cli import main
from convspec.compiler import compile_spec
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.launch import Launch
from convspec.passes.pipeline import Target
from convspec.train import agreement, ranks, shards
from convspec.train.checkpoint import list_checkpoints
from convspec.train.joining import check_fits, own_device
from convspec.train.optimizer import PaperSGD
from convspec.train.vigil import Vigil
from convspec_kernels import Peers
from tests.distributed.output import output_to
from tests.distributed.processes import JobError, outcomes, together
from tests.distributed.test_training import TOWERS, assert_equal_runs, run, train_in_process

ROOT = Path(__file__).parents[2]


@pytest.fixture
def towers(tmp_path: Path) -> Path:
    (tmp_path / "towers.cfg").write_text(TOWERS)
    return tmp_path / "towers.cfg"


def refused(spec: Path | str, processes: int) -> Diagnostic:
    compiled = compile_spec(spec, target=Target.SPMD)
    with pytest.raises(DiagnosticError) as caught:
        check_fits(compiled.program, compiled.parts, Launch(0, processes))
    return caught.value.diagnostics[0]


def test_a_number_of_processes_that_does_not_fit(towers: Path) -> None:
    for processes, message in (
        (1, "Talking is on GPUs 0 and 1, one for each process, and there is 1 process"),
        (3, "Talking is on GPUs 0 and 1, one for each process, and there are 3 processes"),
    ):
        diagnostic = refused(towers, processes)
        assert (diagnostic.code, diagnostic.message) == ("CS753", message)
        assert "torchrun --nproc-per-node 2" in (diagnostic.help or "")
    compiled = compile_spec(towers, target=Target.SPMD)
    for processes in (2, 4, 6):
        check_fits(compiled.program, compiled.parts, Launch(0, processes))


def test_a_gpu_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(DiagnosticError, match="CS710: 2 processes on this machine take a GPU each, and there is 1"):
        own_device("cuda", Launch(0, 2, 0, 2))
    monkeypatch.setattr("convspec.train.joining.open_device", torch.device)
    assert own_device("cuda", Launch(3, 4, 0, 1)) == torch.device("cuda:0")
    assert own_device("cpu", Launch(0, 2, 0, 2)) == torch.device("cpu")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"RANK": "one"}, "by what are no numbers: RANK=one, WORLD_SIZE=2"),
        ({"RANK": "2"}, "that this is process 2 of 2, and 0 of those of this machine"),
        ({"LOCAL_RANK": "-1"}, "that this is process 1 of 2, and -1 of those of this machine"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000, and ports end at 65535"),
    ],
)
def test_an_environment_that_makes_no_sense(other: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in {**usual, **other}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DiagnosticError, match=f"CS753: the environment says .*{says}"):
        Launch.find()


Arguments = Sequence[Sequence[str]]


def command(arguments: Arguments, folder: Path, other: Mapping[str, str], machines: int) -> tuple[int, str]:
    """The command line in each process, by rank: its exit code, and what it said. other: what is another in process 1, by
    module and name in it. machines: 2 for each process on its own."""
    rank = int(os.environ["RANK"])
    if machines == 2:
        os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
    said, here = folder / f"said-{rank}", Path.cwd()
    with pytest.MonkeyPatch.context() as patch, output_to(said):
        for place, value in other.items() if rank == 1 else ():
            patch.setattr(place, value)
        os.chdir(folder)
        code = main([*arguments[rank]])
        os.chdir(here)
    return code, said.read_text()


def said_by(
    arguments: Arguments, folder: Path, *, other: Mapping[str, str] | None = None, machines: int = 1
) -> list[tuple[int, str]]:
    """See `command`, which ends in all processes and leaves no run."""
    found = together(len(arguments), command, arguments, folder, other or {}, machines)
    assert not (folder / "run").exists()
    return found


def class_folders(root: Path, count: int) -> None:
    """Pictures of two classes."""
    for label in range(2):
        (root / f"class{label}").mkdir(parents=True)
        for i in range(count):
            Image.new("L", (16, 16), 80 * label + i).save(root / f"class{label}" / f"{i}.png")


TRAIN = ["train", "towers.cfg", "--run-dir", "run", "--device", "cpu"]


@pytest.mark.parametrize(
    ("more", "other", "says"),
    [
        (["--set", "@train.seed=7"], {}, "process 1 has another spec than process 0"),
        (["--set", "fcb.gpu=2"], {}, "process 1 has another spec than process 0"),
        (["--steps", "7"], {}, "process 1 has another --steps than process 0: 7, not nothing"),
        (["--log-every", "2"], {}, "process 1 has another --log-every than process 0: 2, not nothing"),
        ([], {"convspec.__version__": "0.0.1"}, "process 1 has another convspec than process 0: 0.0.1, not "),
        ([], {"torch.__version__": "1.2"}, "process 1 has another torch than process 0: 1.2, not "),
        (["--data", "other"], {}, "process 1 has other data than process 0: other ("),
    ],
)
def test_processes_that_differ(towers: Path, tmp_path: Path, more: list[str], other: dict[str, str], says: str) -> None:
    """Said once on each machine, before there is a run."""
    for name, count in (("pictures", 8), ("other", 9)):
        class_folders(tmp_path / name, count)
    data = ["--data", "pictures"]
    for machines in (1, 2):
        arguments = [[*TRAIN, *data], [*TRAIN, *data, *more]]
        (code, first), (other_code, second) = said_by(arguments, tmp_path, other=other, machines=machines)
        assert code == other_code == 1
        assert f"error[CS754]: {says}" in first
        assert (f"error[CS754]: {says}" in second) == (machines == 2)
        assert bool(second) == (machines == 2)
        for path in tmp_path.glob("said-*"):
            path.unlink()


def test_the_line_in_which_specs_differ(towers: Path, tmp_path: Path) -> None:
    [(_, said), _] = said_by([TRAIN, [*TRAIN, "--set", "fca.outputs=13"]], tmp_path)
    assert re.search(r"line \d+ of the resolved spec in process 0 is 'outputs=12' and in process 1 'outputs=13'", said)


def test_a_process_that_fails_before_it_meets_the_others(towers: Path, tmp_path: Path) -> None:
    """It says why, and the others do not wait for it."""
    began = time.monotonic()
    missing = [TRAIN[0], "missing.cfg", *TRAIN[2:]]
    (code, first), (other_code, second) = said_by([TRAIN, missing], tmp_path)
    assert (code, other_code) == (1, 2)
    assert "error[CS755]: process 1 has failed before the first step; it says why" in first
    assert "missing.cfg" in second
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("more", "says", "machines"),
    [
        (["--set", "fca.outputs=none"], "fca", 1),
        (["--set", "fca.outputs=none"], "fca", 2),
        (["--device", "cuda:7"], "error[CS710]", 1),
        (["--device", "cuda:7"], "error[CS710]", 2),
        (["--data", "missing"], "error[CS701]", 1),
    ],
)
def test_what_all_processes_fail_at_is_said_once_on_each_machine(
    towers: Path, tmp_path: Path, more: list[str], says: str, machines: int
) -> None:
    (code, first), (other_code, second) = said_by([[*TRAIN, *more]] * 2, tmp_path, machines=machines)
    assert code
    assert other_code
    assert says in first
    assert second == (first if machines == 2 else "")


def test_a_number_of_processes_that_does_not_fit_is_said_once(towers: Path, tmp_path: Path) -> None:
    (code, first), *others = said_by([TRAIN] * 3, tmp_path)
    assert code == 1
    assert "error[CS753]: Talking is on GPUs 0 and 1, one for each process, and there are 3 processes" in first
    assert others == [(1, ""), (1, "")]


def end_while_saving(spec: Path, options: dict[str, Any], is_sudden: bool) -> str:
    """Process 1 ends, or its disk is full, in the middle of the second checkpoint."""
    write, rank = shards.write_tensors, os.environ["RANK"]
    written: list[str] = []

    def write_one(folder: Path, stem: str, tensors: Any) -> str:
        written.append(stem)
        if rank == "1" and len(written) == 4:
            if is_sudden:
                os._exit(9)
            raise OSError(28, "No space left on device")
        return write(folder, stem, tensors)

    shards.write_tensors = write_one
    try:
        train_in_process(spec, options)
    except Exception as error:
        return f"{type(error).__name__} {error}"
    finally:
        shards.write_tensors = write
    return "nothing"


@pytest.mark.parametrize("is_sudden", [False, True])
def test_an_end_while_a_checkpoint_is_written(towers: Path, tmp_path: Path, is_sudden: bool) -> None:
    """The checkpoint before is the newest, and the run goes on from there to what it would have been."""
    text = towers.read_text().replace("batch=50\n", "batch=50\ncheckpointEvery=3\n")
    towers.write_text(text)
    folder = tmp_path / "run"
    options = {"run_dir": folder, "max_steps": 8}
    if is_sudden:
        with pytest.raises(JobError, match="process 1: ended"):
            together(2, end_while_saving, towers, options, True)
    else:
        first, second = together(2, end_while_saving, towers, options, False)
        assert second.startswith("DiagnosticError CS711"), first
        assert first == "ElsewhereError "
    assert [path.name for path in list_checkpoints(folder / "checkpoints")] == ["0000-00000003"]
    run(2, towers, resume=folder, max_steps=8)
    run(1, towers, run_dir=tmp_path / "whole", max_steps=8)
    assert_equal_runs(tmp_path / "whole", folder)
    assert not list((folder / "checkpoints").glob(".writing*"))


def stop_at(spec: Path, options: dict[str, Any], said: Path, what: str) -> Any:
    """In process 1 something happens in its fifth step, before the second exchange."""
    calls, exchange, rank = 0, Peers.exchange, os.environ["RANK"]

    def watched(self: Peers, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += torch.is_grad_enabled()
        if rank == "1" and calls == 10:
            match what:
                case "memory":
                    raise MemoryError
                case "bug":
                    raise ZeroDivisionError("division by zero")
                case _:
                    os.kill(os.getpid(), signal.Signals[what])
        return exchange(self, *arguments, **options)

    Peers.exchange = watched  # type: ignore[method-assign]
    try:
        with output_to(said / rank):
            return train_in_process(spec, options)
    finally:
        Peers.exchange = exchange  # type: ignore[method-assign]


def assert_goes_on(towers: Path, folder: Path) -> None:
    run(2, towers, resume=folder, max_steps=8)
    run(1, towers, run_dir=folder.parent / "whole", max_steps=8)
    assert_equal_runs(folder.parent / "whole", folder)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("memory", r"DiagnosticError: CS718: the memory of process 1 \(GPU 1\) does not suffice for its 50 cases"),
        ("bug", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_of_one_process(towers: Path, tmp_path: Path, what: str, says: str) -> None:
    """It says what; the other one says whose error it is, and ends."""
    towers.write_text(towers.read_text().replace("batch=50\n", "batch=50\ncheckpointEvery=3\n"))
    options = {"run_dir": tmp_path / "run", "max_steps": 8}
    first, second = outcomes(2, stop_at, towers, options, tmp_path, what)
    assert re.search(says, second.problem)
    assert first.problem == "ended" or "ElsewhereError" in first.problem
    said = (tmp_path / "0").read_text()
    assert "error[CS755]: process 1 (GPU 1) has stopped; it says why, so that process 0 stops as well" in said
    assert_goes_on(towers, tmp_path / "run")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_one_process_stops_all(towers: Path, tmp_path: Path, name: str) -> None:
    """After the step, with a checkpoint."""
    options = {"run_dir": tmp_path / "run", "max_steps": 8}
    for outcome in outcomes(2, stop_at, towers, options, tmp_path, name):
        assert "Interrupted: stopped after step 5" in outcome.problem
    assert [path.name for path in list_checkpoints(tmp_path / "run" / "checkpoints")] == ["0000-00000005"]
    assert "stopping after this step" in (tmp_path / "1").read_text()
    assert_goes_on(towers, tmp_path / "run")


def test_a_loss_that_is_not_finite_is_said_once(towers: Path, tmp_path: Path) -> None:
    """Of two replicas, of which the second has no case: a minibatch of one picture."""
    arguments = [*TRAIN, "--set", "@train.batch=1", "--set", "@params.epsW=1e30"]
    (code, first), *others = together(4, command, [arguments] * 4, tmp_path, {}, 1)
    assert code == 1
    assert "error[CS707]: the loss is " in first
    assert re.search("the first that is not finite is the output of layer (conva|convb|fca|fcb|scores)", first)
    assert [found for found, _ in others] == [1, 1, 1]
    assert not any(said for _, said in others)


def train_beside_a_stuck_one(spec: Path, options: dict[str, Any], said: Path) -> Any:
    """Process 1 lives, and does nothing from its second step on. While process 0 looks for whom it lost, it gets a signal."""
    rank, lost = os.environ["RANK"], Vigil.lost

    def lost_in_haste(self: Vigil, seconds: float) -> str | None:
        os.kill(os.getpid(), signal.SIGTERM)
        return lost(self, seconds)

    with pytest.MonkeyPatch.context() as patch, output_to(said / rank):
        patch.setattr(ranks, "STUCK", timedelta(seconds=2))
        patch.setattr(agreement, "SECONDS_TO_FIND", 0.5)
        patch.setattr(Vigil, "lost", lost_in_haste)
        if rank == "1":
            patch.setattr(PaperSGD, "step", lambda *arguments: time.sleep(20))
        return train_in_process(spec, options)


def test_a_process_that_is_stuck(towers: Path, tmp_path: Path) -> None:
    """It is waited for no longer than a limit, and then named, though the launcher may end the one that waited as well."""
    first, second = outcomes(2, train_beside_a_stuck_one, towers, {"run_dir": tmp_path / "run"}, tmp_path)
    assert "ElsewhereError" in first.problem
    said = (tmp_path / "0").read_text()
    assert "error[CS755]: another process lives, and was waited for in vain for 30 minutes" in said
    assert second.problem
    assert "Traceback" not in (tmp_path / "1").read_text()

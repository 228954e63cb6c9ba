"""Run folders and metrics."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from convspec.diagnostics import DiagnosticError
from convspec.train.metrics_log import MetricsLog
from convspec.train.run import RunFolder
from tests.train.tinynet import Compiled

SETTINGS = {"data": "digits", "train_pictures": 1438, "test_pictures": 359}


def test_folders_are_numbered(tmp_path: Path) -> None:
    for name in ("alexnet", "alexnet-2", "alexnet-3"):
        with closing(RunFolder.create("alexnet", runs=tmp_path / "runs")) as run:
            assert run.path == tmp_path / "runs" / name


def test_holds_what_the_run_is_made_from(tmp_path: Path) -> None:
    compiled = Compiled()
    with closing(RunFolder.create("x", run_dir=tmp_path / "deep" / "run")) as run:
        run.describe(compiled, SETTINGS)
    assert (run.path / "spec.cfg").read_text() == compiled.spec_text
    assert (run.path / "resolved.cfg").read_text() == compiled.resolved_text
    assert (run.path / "model.py").read_text() == compiled.source
    assert run.settings() == SETTINGS


def test_a_file_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    for make in (
        lambda: RunFolder.create("x", runs=tmp_path / "runs"),
        lambda: RunFolder.create("x", run_dir=tmp_path / "runs"),
        lambda: RunFolder.create("x", run_dir=tmp_path / "runs" / "below"),
    ):
        with pytest.raises(DiagnosticError, match=r"CS706: cannot write to .*runs") as caught:
            make()
        assert caught.value.diagnostics[0].help
    assert (tmp_path / "runs").read_text() == "in the way"


def test_a_folder_with_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DiagnosticError, match=r"CS706.*not empty"):
        RunFolder.create("x", run_dir=tmp_path)


def test_what_a_run_left_that_ended_before_it_began_is_taken(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with closing(RunFolder.create("x", run_dir=run_dir)) as run:
        run.describe(Compiled(), {})
    (run_dir / "settings.json").unlink()
    (run_dir / ".settings.json.tmp").write_text("{")
    with closing(RunFolder.create("x", run_dir=run_dir)) as run:
        run.describe(Compiled(), SETTINGS)
    assert run.settings() == SETTINGS
    with pytest.raises(DiagnosticError) as caught:
        RunFolder.create("x", run_dir=run_dir)
    assert "--resume" in (caught.value.diagnostics[0].help or "")


@pytest.mark.parametrize("mine", ["model.py", "spec.cfg"])
def test_a_file_of_the_same_name_without_a_lock_is_not_ours(tmp_path: Path, mine: str) -> None:
    (tmp_path / mine).write_text("mine")
    with pytest.raises(DiagnosticError, match=r"CS706.*not empty") as caught:
        RunFolder.create("x", run_dir=tmp_path)
    assert "--resume" not in (caught.value.diagnostics[0].help or "")
    assert (tmp_path / mine).read_text() == "mine"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with closing(RunFolder.create("x", run_dir=tmp_path)) as run:
        run.describe(Compiled(), {})
        with pytest.raises(DiagnosticError, match="CS706: another process"):
            RunFolder.reopen(tmp_path)
    RunFolder.reopen(tmp_path).close()


def test_no_run_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"CS719.*there is no run"):
        RunFolder.reopen(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["resolved.cfg", "metrics.jsonl"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_in_a_run_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    with closing(RunFolder.create("x", run_dir=tmp_path)) as run:
        run.describe(Compiled(), SETTINGS)
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    with pytest.raises(DiagnosticError, match=rf"CS708: .*{name} is not a file"):
        RunFolder.reopen(tmp_path)


def test_a_pipe_in_the_place_of_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    with closing(RunFolder.create("x", run_dir=tmp_path)) as run:
        run.describe(Compiled(), SETTINGS)
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(DiagnosticError, match=r"CS706: .*not a file"):
        RunFolder.reopen(tmp_path)


def test_which_run_may_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def help(name: str) -> str | None:
        with pytest.raises(DiagnosticError, match="CS719") as caught:
            RunFolder.reopen(name)
        return caught.value.diagnostics[0].help

    assert help("alexnet") == "name a folder that train made, such as runs/alexnet"
    for name in ("alexnet", "alexnet-2", "lenet"):
        with closing(RunFolder.create(name)) as run:
            run.describe(Compiled(), SETTINGS)
    (tmp_path / "runs" / "none").mkdir()
    assert help("runs/alexnt") == "did you mean 'runs/alexnet'?"
    assert help("lenet") == "did you mean 'runs/lenet'?"
    assert help("runs/none") == "there is runs/alexnet, runs/alexnet-2, runs/lenet"
    assert help("runs") == "there is runs/alexnet, runs/alexnet-2, runs/lenet"
    assert help("runs/lenet/checkpoints") == f"it lies in the run {tmp_path}/runs/lenet"


def test_another_spec_is_refused_with_the_first_line_that_differs(tmp_path: Path) -> None:
    text = "[conv1]\ntype=conv\nfilters=4\n"
    with closing(RunFolder.create("x", run_dir=tmp_path)) as run:
        run.describe(Compiled(resolved_text=text), {})
        run.check_spec(text)
        with pytest.raises(DiagnosticError, match="CS709") as caught:
            run.check_spec(text.replace("filters=4", "filters=8"))
    assert caught.value.diagnostics[0].notes == ("line 3 of the resolved spec was 'filters=4' and is 'filters=8'",)


@pytest.mark.parametrize("keep", [0, 1, 3, 5, 9])
def test_metrics_are_cut_back_to_a_line(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in range(5):
        log.write({"step": step})
    log.close()
    with path.open("ab") as file:
        file.write(b'{"step": 5, "lo')  # a process that was killed while writing
    log = MetricsLog(path, keep_lines=keep)
    assert log.lines == min(keep, 5)
    log.write({"step": "next"})
    log.close()
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == [*range(min(keep, 5)), "next"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "metrics.jsonl").symlink_to(full)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(DiagnosticError, match="CS711"):
        log.write({"step": 1})
    log.close()


def test_a_folder_that_is_taken_away_is_missed(tmp_path: Path) -> None:
    for number, take_away in enumerate((shutil.rmtree, lambda path: path.rename(tmp_path / "moved"))):
        with closing(RunFolder.create("x", run_dir=tmp_path / f"run{number}")) as run:
            run.describe(Compiled(), {})
            run.check_is_held()
            take_away(run.path)
            with pytest.raises(DiagnosticError, match=r"CS706: .* was removed, moved or replaced"):
                run.check_is_held()
            with closing(RunFolder.create("x", run_dir=run.path)) as other:
                other.describe(Compiled(), {})
                with pytest.raises(DiagnosticError, match=r"CS706: .* was removed, moved or replaced"):
                    run.check_is_held()


def test_a_lock_that_is_removed_is_taken_again(tmp_path: Path) -> None:
    with closing(RunFolder.create("x", run_dir=tmp_path)) as run:
        run.describe(Compiled(), SETTINGS)
        (tmp_path / ".lock").unlink()
        run.check_is_held()
        with pytest.raises(DiagnosticError, match="CS706: another process is training"):
            RunFolder.reopen(tmp_path)
        (tmp_path / ".lock").unlink()
        with closing(RunFolder.reopen(tmp_path)), pytest.raises(DiagnosticError, match="CS706"):
            run.check_is_held()

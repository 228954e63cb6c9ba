"""Nothing that a command writes takes the place of what is read: files of runs and of data. Other files give way, whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from convspec.cli import main
from tests.data.preparing import prepared
from tests.train.racing import RELU, TANH
from tests.train.small_runs import make_run, write_folder

COMMANDS = {
    "report": ["report", "{run}", "--samples", "0", "-o"],
    "filters": ["filters", "{run}", "-o"],
    "predict": ["predict", "{run}", "--samples", "1", "--device", "cpu", "-o"],
    "similar": ["similar", "{run}", "--samples", "1", "--device", "cpu", "--cache", "{cache}", "-o"],
    "test": ["test", "{run}", "--device", "cpu", "--predictions"],
    "features": ["features", "{run}", "--layer", "conv1", "--device", "cpu", "-o"],
    "show": ["data", "show", "{data}", "-o"],
}
SUFFIXES = {"test": ".csv", "features": ".npz", "report": ".html"}
"""By which two commands choose what they write; the others write PNG."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("guard")
    data = write_folder(base / "data")
    run = make_run(base / "run", data)
    prepared(data, base / "prepared")
    return {"run": run, "data": data, "prepared": base / "prepared", "cache": base / "cache"}


def arguments(command: str, places: dict[str, Path], output: Path) -> list[str]:
    return [*(part.format(**places) for part in COMMANDS[command]), str(output)]


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_read_stay(
    command: str, places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = SUFFIXES.get(command, ".png")
    run, data = places["run"], places["data"]
    picture = data / "train" / "ant" / f"mine{suffix}"
    if not picture.exists():
        picture.write_bytes(b"mine")
    checkpoint = next((run / "checkpoints").iterdir())
    (checkpoint / f"mine{suffix}").write_bytes(b"mine")
    link = tmp_path / f"link{suffix}"
    link.symlink_to(checkpoint / f"mine{suffix}")
    before = contents(run), contents(data)
    targets = [checkpoint / f"mine{suffix}", link]
    targets += [run / "settings.json", run / "metrics.jsonl"] if suffix in (".png", ".html") else []
    targets += [picture] if command not in ("report", "filters") else []
    for target in targets:
        assert main(arguments(command, places, target)) == 2
        assert f"{target} is a file of the " in capsys.readouterr().err
    assert (contents(run), contents(data)) == before
    picture.unlink()


@pytest.mark.parametrize("command", COMMANDS)
def test_other_files_give_way_whole(command: str, places: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / f"out{SUFFIXES.get(command, '.png')}"
    target.write_bytes(b"old")
    target.chmod(0o640)
    assert main(arguments(command, places, target)) == 0
    assert target.read_bytes() != b"old"
    assert target.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_what_was_drawn_of_a_run_or_of_data_is_drawn_again_in_its_place(places: dict[str, Path]) -> None:
    for command, target in (("report", places["run"] / "report.html"), ("show", places["data"] / "sheet.png")):
        for _ in range(2):
            assert main(arguments(command, places, target)) == 0
        target.unlink()


def test_the_file_beside_a_matrix_is_looked_at_as_well(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    beside = places["data"] / "val" / "bee" / "f.npy.json"
    beside.write_text("mine")
    assert main(arguments("features", places, beside.with_suffix(""))) == 2
    assert "f.npy.json is a file of the data in" in capsys.readouterr().err
    assert beside.read_text() == "mine"
    beside.unlink()


def test_prepared_data(places: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(places["prepared"])
    for name in ("manifest.json", "broken.txt", "train-00000.npy"):
        given = {**places, "data": places["prepared"]}
        assert main(arguments("show", given, places["prepared"] / name)) == 2
        assert "is a file of the data in" in capsys.readouterr().err
    assert contents(places["prepared"]) == before


def test_a_file_of_another_run(places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(places["run"], tmp_path / "other")
    assert main(arguments("report", places, other / "spec.cfg")) == 2
    assert f"is a file of the run {os.path.realpath(other)}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compare", "ablate"])
def test_a_folder_of_results_takes_nothing_over(
    command: str, places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("relu", RELU), ("tanh", TANH)):
        (tmp_path / f"{name}.cfg").write_text(text)
    line = [command, str(tmp_path / "relu.cfg"), "--data", str(places["data"]), "--device", "cpu"]
    line += [str(tmp_path / "tanh.cfg")] if command == "compare" else []
    mine = tmp_path / "mine" / ("curves.png" if command == "compare" else "ablate.md")
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    before = contents(places["run"]), contents(places["data"]), contents(mine.parent)
    for folder, says in (
        (places["run"], "is in the run"),
        (places["run"] / "checkpoints" / "new", "is in the run"),
        (places["data"], "is in the data"),
        (places["data"] / "new", "is in the data"),
        (mine.parent, f"{mine} is not from this command"),
    ):
        assert main([*line, "-o", str(folder)]) == 2
        assert says in capsys.readouterr().err
    assert (contents(places["run"]), contents(places["data"]), contents(mine.parent)) == before
    assert not (places["data"] / "new").exists()

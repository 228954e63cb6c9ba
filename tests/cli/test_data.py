"""`convspec data` as a user calls it: what it prints, its exit codes, signals, and training on what it made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convspec.cli import main
from convspec.resources import spec_path
from tests.cli.test_train import events
from tests.data.pictures import broken, flowers
from tests.data.preparing import digests

COMMAND = [sys.executable, "-m", "convspec", "data"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_a_folder_is_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flowers(tmp_path / "flowers", each=10)
    target = str(tmp_path / "out")
    arguments = [
        "data",
        "prepare",
        str(tmp_path / "flowers"),
        target,
        "--size",
        "16",
        "--shard-size",
        "5",
        "--jobs",
        "2",
    ]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        f"{target}: 16 pictures for training and 4 for testing, 2 classes, 16x16, 5 shards, 19.6 kB\n"
        f"train on it with convspec train SPEC --data {target}\n"
    )
    assert shown.err == ""
    assert main(arguments) == 0, "it is there already"
    assert capsys.readouterr().out == shown.out


def test_broken_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = broken(flowers(tmp_path / "flowers") / "rose")
    assert main(["data", "prepare", str(tmp_path / "flowers"), str(tmp_path / "out"), "--size", "8"]) == 0
    shown = capsys.readouterr()
    assert f"{len(bad)} files were left out: {tmp_path / 'out' / 'broken.txt'} names them" in shown.out
    for name in bad:
        assert f"warning[CS703]: skipped rose/{name}: " in shown.err
    more = ["--size", "8", "--limit-broken", "2"]
    assert main(["data", "prepare", str(tmp_path / "flowers"), str(tmp_path / "more"), *more]) == 1
    assert "error[CS703]: more than 2 of 18 files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["prepare", "nowhere", "out"], 2, "CS701"),
        (["prepare", "file", "out"], 2, "neither a folder nor an archive"),
        (["prepare", "digits", "."], 1, "is not empty"),
        (["prepare", "digits", "file"], 1, "cannot write to file: File exists"),
        (["prepare", "digits", "out", "--size", "0"], 2, "--size"),
        (["prepare", "digits", "out", "--test-share", "1"], 2, "--test-share"),
        (["prepare", "", "out"], 2, "it is empty"),
        (["prepare", "digits"], 2, "DST"),
        (["prepare", "digits", "out", "--test-share", "nan"], 2, "--test-share"),
        (["verify", "nowhere"], 2, "there is no folder nowhere"),
        (["verify", "file"], 2, "file is a file"),
        (["verify", "."], 2, ". is not a folder that data prepare made"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_mistakes(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    assert main(["data", *arguments]) == code
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out"
    assert main(["data", "prepare", str(flowers(tmp_path / "flowers")), str(target), "--size", "8"]) == 0
    capsys.readouterr()
    assert main(["data", "verify", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: 6 files, 3.8 kB, all as they were written\n"
    content = bytearray((target / "test-00000.npy").read_bytes())
    content[300] ^= 16
    (target / "test-00000.npy").write_bytes(content)
    assert main(["data", "verify", str(target)]) == 1
    shown = capsys.readouterr()
    assert "test-00000.npy is damaged: its bytes are not those that were written" in shown.err
    assert shown.out == ""


def test_show_draws_a_sheet_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flowers(tmp_path / "flowers", each=10)
    assert main(["data", "show", "flowers", "-o", "sheet.png"]) == 0
    assert capsys.readouterr().out == (
        "class          train       test\n"
        "rose               8          2\n"
        "tulip              8          2\n"
        "2 classes         16          4\n"
        "drawn in sheet.png\n"
    )
    with Image.open("sheet.png") as sheet:
        assert len(sheet.getcolors(1 << 20) or []) > 1000
        two_rows = sheet.height
    assert main(["data", "show", "flowers", "--split", "test", "--classes", "1", "-o", "sheet.png"]) == 0
    assert "the first 1 classes drawn in sheet.png" in capsys.readouterr().out
    with Image.open("sheet.png") as sheet:
        assert sheet.height < two_rows
    assert main(["data", "show", "flowers", "-o", "sheet.jpg"]) == 2
    assert not Path("sheet.jpg").exists()


def test_show_takes_all_that_prepare_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sheet of an archive and of a prepared folder is that of the folder that they were made of."""
    monkeypatch.chdir(tmp_path)
    flowers(tmp_path / "flowers", each=5, form="png")
    assert main(["data", "prepare", "flowers", "shards"]) == 0
    with tarfile.open("flowers.tar", "w") as tar:
        for path in sorted(Path("flowers").rglob("*.png")):
            tar.add(path)
    sheets = []
    for data in ("flowers", "flowers.tar", "shards"):
        assert main(["data", "show", data]) == 0
        assert f"drawn in {data}-train.png" in capsys.readouterr().out
        with Image.open(f"{data}-train.png") as sheet:
            sheets.append(np.asarray(sheet)[60:].copy())
    assert (sheets[0] == sheets[1]).all()
    assert (sheets[0] == sheets[2]).all()
    assert main(["data", "show", "digits", "--classes", "3"]) == 0


def test_show_overwrites_nothing_that_was_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flowers(tmp_path / "flowers")
    (tmp_path / "flowers-train.png").write_bytes(b"precious")
    assert main(["data", "show", "flowers"]) == 2
    assert "error[CS114]: flowers-train.png is there already" in capsys.readouterr().err
    assert (tmp_path / "flowers-train.png").read_bytes() == b"precious"
    assert main(["data", "show", "flowers", "-o", "nowhere/x.png"]) == 2
    assert "error[CS101]: nowhere/x.png cannot be written" in capsys.readouterr().err


def test_show_names_broken_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = flowers(tmp_path / "flowers" / "train", each=3)
    flowers(tmp_path / "flowers" / "val", each=1)
    (source / "rose" / "1.jpg").write_bytes(b"")
    assert main(["data", "show", str(tmp_path / "flowers"), "-o", str(tmp_path / "sheet.png")]) == 0
    assert "warning[CS703]: train/rose/1.jpg: an empty file" in capsys.readouterr().err


def test_training_on_shards_is_training_on_the_pictures(tmp_path: Path) -> None:
    """LeNet sees the same pictures in the same order either way: the losses are the same to the last digit."""
    target = str(tmp_path / "digits")
    assert main(["data", "prepare", "digits", target, "--grey", "--shard-size", "400"]) == 0
    spec, losses = str(spec_path("lenet-digits.cfg")), []
    for number, data in enumerate(("digits", target)):
        run = tmp_path / f"run{number}"
        assert main(["train", spec, "--data", data, "--run", str(run), "--steps", "4", "--log-every", "1"]) == 0
        losses.append([record["loss"] for record in events(run, "step")])
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def started(source: Path, target: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        *COMMAND,
        "prepare",
        str(source),
        str(target),
        "--size",
        "64",
        "--shard-size",
        "20",
        "--jobs",
        "1",
        *more,
    ]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 60
    while not path.exists() and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_the_same_command_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    source, target = flowers(tmp_path / "flowers", each=400), tmp_path / "out"
    process = started(source, target)
    wait_for(target / "train-00001.npy", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "type the same command again to go on" in err
    assert "Traceback" not in err
    assert out == ""
    assert not (target / "manifest.json").exists()
    assert not list(target.rglob("*.part"))
    process = started(source, target)
    assert process.wait(60) == 0, process.communicate()[1]
    process.communicate()
    again = started(source, tmp_path / "undisturbed", "--jobs", "3")
    again.communicate(timeout=60)
    assert digests(target) == digests(tmp_path / "undisturbed")


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A limit on the size of files is refused as a full disk is."""
    resource = pytest.importorskip("resource")
    source, target = flowers(tmp_path / "flowers", each=20), tmp_path / "out"
    command = [*COMMAND, "prepare", str(source), str(target), "--size", "64"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False, preexec_fn=limited
    )
    assert done.returncode == 1
    assert "error[CS711]: the disk is full, while writing to" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(target.rglob("*.part"))
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_without_numpy_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("preparing", "showing"):
        monkeypatch.setitem(sys.modules, f"convspec.cli.{module}", None)
    for arguments in (["prepare", "a", "b"], ["verify", "a"], ["show", "a"]):
        assert main(["data", *arguments]) == 2
        assert "error[CS801]" in capsys.readouterr().err

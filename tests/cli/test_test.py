"""`convspec test` as a user calls it: tables, JSON, files that are whole or not there, and everything that goes wrong."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convspec.cli import main
from convspec.train.testing import Test
from tests.data.batch_files import LABELS, NAMES, write_jpegs
from tests.train.small_runs import CLASSES, SOFTMAX, TEST_PICTURES, make_run, read_folder, write_folder

PICTURES = TEST_PICTURES * len(CLASSES)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "a", data)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "b", data, seed=1)


def test_a_table(run: Path, second: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(run), str(second), "--views", "10", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split("  ")[0] == "run"
    for heading in ("checkpoint", "top-1 error", "top-5 error", "top-2 error", "logprob"):
        assert heading in lines[0]
    assert [line.split("  ")[0] for line in lines[1:4]] == [str(run), str(second), "all together"]
    assert lines[4] == f"{PICTURES} pictures of {data}; ten views of each; predictions averaged after the softmax"
    assert lines[6].split() == ["most", "often", "taken", "for", "pictures"]
    assert lines[7].endswith(f"of {TEST_PICTURES}")
    assert captured.err == ""


def test_one_run_by_one_view(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(run), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "all together" not in out
    assert "one view of each, its middle\n" in out


def test_names_stay_on_their_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = Path(shutil.copytree(run, tmp_path / "a\nb\x1b[31m"))
    assert main(["test", str(odd), "--device", "cpu"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith(f"{tmp_path}/a\\x0ab\\x1b[31m  ")


def test_json(run: Path, second: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(run), str(second), "--format", "json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["data"], found["pictures"]) == (str(data), PICTURES)
    assert [each["run"] for each in found["runs"]] == [str(run), str(second)]
    first = found["runs"][0]
    assert (first["views"], first["cost"], first["checkpoint"]) == (1, "logprob", "0001-00000003")
    assert set(first["costs"]["logprob"]) == {"loss", "error", "topk_error", "k"}
    assert 0 <= first["top5_error"] <= found["together"]["error"] <= 1
    assert set(found["confused"][0]) == {"class", "taken_for", "pictures", "of"}


def test_predictions_and_confusion_as_files(run: Path, second: Path, data: Path, tmp_path: Path) -> None:
    _, labels, names = read_folder(data, "val")
    npz, csv_file, matrix = (tmp_path / name for name in ("p.npz", "p.csv", "c.csv"))
    common = ["test", str(run), str(second), "--views", "10", "--device", "cpu"]
    assert main([*common, "--predictions", str(npz), "--confusion", str(matrix)]) == 0
    assert main([*common, "--predictions", str(csv_file), "--confusion", str(tmp_path / "c.PNG")]) == 0

    with np.load(npz) as found:
        assert set(found.files) == {"probabilities", "labels", "classes", "names"}
        probabilities = found["probabilities"]
        assert (probabilities.dtype, probabilities.shape) == (np.float32, (PICTURES, len(CLASSES)))
        assert found["labels"].tolist() == labels
        assert tuple(found["classes"].tolist()) == CLASSES
        assert found["names"].tolist() == names
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)

    with csv_file.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["picture", "class", "prediction", "probability", *CLASSES]
    assert [row[0] for row in rows] == names
    assert [row[1] for row in rows] == [CLASSES[label] for label in labels]
    assert [row[2] for row in rows] == [CLASSES[best] for best in probabilities.argmax(1)]
    np.testing.assert_allclose([[float(each) for each in row[4:]] for row in rows], probabilities, rtol=1e-6)
    np.testing.assert_allclose([float(row[3]) for row in rows], probabilities.max(1), rtol=1e-6)

    with matrix.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["class", *CLASSES]
    assert [row[0] for row in rows] == list(CLASSES)
    wanted = np.zeros((len(CLASSES), len(CLASSES)))
    for label, best in zip(labels, probabilities.argmax(1), strict=True):
        wanted[label, best] += 1
    np.testing.assert_array_equal([[float(each) for each in row[1:]] for row in rows], wanted)

    with Image.open(tmp_path / "c.PNG") as picture:
        assert picture.mode == "RGB"
        pixels = np.asarray(picture)
    cell, side = 28, len(CLASSES) * 28
    cells = pixels[-1 - side : -1, -1 - side : -1][cell // 2 :: cell, cell // 2 :: cell]
    share = wanted / wanted.sum(1, keepdims=True)
    np.testing.assert_allclose(cells[..., 0], 255 - share * (255 - 8), atol=1)
    assert (pixels[: -1 - side] < 128).any()  # names above


def test_what_goes_wrong_leaves_the_file_that_was_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "p.npz"
    target.write_text("mine")

    def fail(self: Test, *_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Test, "_note_not_finite", fail)  # after the last picture
    for suffix in (".npz", ".csv"):
        arguments = ["--predictions", str(target.with_suffix(suffix)), "--confusion", str(tmp_path / "c.csv")]
        assert main(["test", str(run), *arguments, "--device", "cpu"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"]
    assert target.read_text() == "mine"


def test_what_cannot_be_written_is_said_before_the_first_picture(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Test, "run", lambda *_, **__: pytest.fail("it was tested"))
    for option, name in (("--predictions", "p.npz"), ("--predictions", "p.csv"), ("--confusion", "c.csv")):
        assert main(["test", str(run), option, str(tmp_path / "nowhere" / name), "--device", "cpu"]) == 2
        assert f"CS101]: {tmp_path / 'nowhere' / name} cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "RUN"),
        (["nowhere"], 2, "CS719"),
        (["{run}", "--checkpoint", "x"], 2, "CS719"),
        (["{run}", "{run}", "--checkpoint", "x"], 2, "test that run alone"),
        (["{run}", "--views", "5"], 2, "'5' is not one of '1', '10'"),
        (["{run}", "--predictions", "p.txt"], 2, "--predictions writes .npz or .csv"),
        (["{run}", "--confusion", "p.npz"], 2, "--confusion writes .csv or .png"),
        (["{run}", "--confusion", "p.csv", "--predictions", "p.csv"], 2, "give each its own"),
        (["{run}", "--data", "nowhere"], 2, "CS701"),
        (["{run}", "--data", "digits"], 1, "CS704"),
        (["{run}", "--device", "cuda:99"], 1, "CS710"),
    ],
)
def test_mistakes(arguments: list[str], code: int, says: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", *(each.format(run=run) for each in arguments)]) == code
    assert says in capsys.readouterr().err


def test_a_network_without_classes(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = "[cost]\ntype=cost.sum2\ninputs=fc2\ncoeff=0.001\n"
    run = str(make_run(tmp_path / "run", data, top=top, labels=0))
    assert main(["test", run, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["run", "checkpoint", "cost"]
    for option, file in (("--predictions", "p.npz"), ("--confusion", "c.csv"), ("--confusion", "c.png")):
        assert main(["test", run, option, str(tmp_path / file), "--device", "cpu"]) == 1
        error = capsys.readouterr().err
        assert "CS740" in error
        assert "its costs, cost, have no error rate" in error
        assert not (tmp_path / file).exists()


@pytest.mark.parametrize("kind", ["bce", "logreg"])
def test_pictures_with_several_labels(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All labels are written; which class is taken for which has no answer, unless one label of each was drawn."""
    write_jpegs(tmp_path / "set")
    bce = "[probs]\ntype=neuron\nneuron=logistic\ninputs=fc2\n[cost]\ntype=cost.bce\ninputs=labels,probs\ncoeff=1\n"
    top, labels = (bce, 2) if kind == "bce" else (SOFTMAX, 1)
    run = make_run(tmp_path / "run", tmp_path / "set", top=top, labels=labels, classes=4, provider="jpeg")
    file = tmp_path / "p.csv"
    assert main(["test", str(run), "--views", "10", "--predictions", str(file), "--device", "cpu"]) == 0
    assert ("most often" in capsys.readouterr().out) == (kind == "logreg")
    with file.open(newline="") as text:
        rows = list(csv.reader(text))[1:]
    assert [row[0] for row in rows] == [f"data_batch_2[{i}]" for i in range(len(LABELS))]
    assert [row[1] for row in rows] == ["; ".join(NAMES[label] for label in own) for own in LABELS]
    assert main(["test", str(run), "--predictions", str(tmp_path / "p.npz"), "--device", "cpu"]) == 0
    with np.load(tmp_path / "p.npz") as found:
        assert [np.flatnonzero(row).tolist() for row in found["sets"]] == LABELS
    capsys.readouterr()
    code = main(["test", str(run), "--confusion", str(tmp_path / "c.csv"), "--device", "cpu"])
    assert code == (1 if kind == "bce" else 0)
    assert ("CS740" in capsys.readouterr().err) == (kind == "bce")
    assert (tmp_path / "c.csv").exists() == (kind == "logreg")


def test_bf16(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", data, precision="bf16")
    assert main(["test", str(run), str(run), "--views", "10", "--device", "cpu", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["together"]["loss"] == pytest.approx(found["runs"][0]["costs"]["logprob"]["loss"])


def test_other_costs_have_lines_of_their_own(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = "[size]\ntype=cost.sum2\ninputs=fc2\ncoeff=0\n"
    run = make_run(tmp_path / "run", data, top=SOFTMAX + size)
    assert main(["test", str(run), "--device", "cpu"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("size ")]


def test_a_name_stands_for_the_picture_that_was_read(run: Path, data: Path, tmp_path: Path) -> None:
    """Of a set too large to keep in memory, the next picture stands in for a broken one."""
    from convspec.data import Split
    from convspec.data.folder import Folder

    broken = write_folder(tmp_path / "broken", classes=("ant", "bee"))
    (broken / "val" / "ant" / "1.png").write_bytes(b"no picture")
    dataset = Folder(str(broken), size=11, channels=3, notify=lambda diagnostic: None, cache_bytes=0)
    out = np.empty((3, 11, 11, 3), np.uint8)
    dataset.read(Split.TEST, np.arange(3), epoch=0, out=out)
    assert [dataset.picture_name(Split.TEST, i) for i in range(3)] == [
        "val/ant/0.png",
        "val/ant/2.png",
        "val/ant/2.png",
    ]

"""`convspec features`, and the files in which features are kept."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import convspec
from convspec.cli import main
from convspec.data.gallery import Files, list_pictures
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.train import features as kept
from convspec.train.checkpoint import load_newest
from convspec.train.features import Features, RowsFile, features_of
from convspec.train.looking import Looker, open_with_layers
from convspec.train.trained import Trained
from tests.looking.conftest import COLORS, picture


def by_hand(run: Path, pixels: NDArray[np.uint8], layers: tuple[str, ...]) -> list[NDArray[np.float32]]:
    """Outputs of the emitted module for the middle of one stored picture."""
    checkpoint = load_newest(run / "checkpoints", lambda diagnostic: None)
    assert checkpoint is not None
    net = convspec.load(run / "resolved.cfg", outputs=layers).eval()
    net.load_state_dict(dict(checkpoint.weights))
    crop = torch.from_numpy(pixels[2:14, 2:14].astype(np.float32) - checkpoint.training["mean"].numpy())
    with torch.inference_mode():
        outputs = net({"data": crop.permute(2, 0, 1)[None]})
    return [outputs[layer][0].numpy() for layer in layers]


@pytest.fixture
def noise(tmp_path: Path) -> tuple[Path, NDArray[np.uint8]]:
    """A file of the stored size, and its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return tmp_path / "noise.png", pixels


def test_towers_are_joined_and_dropout_is_off(
    trained_run: Path, noise: tuple[Path, NDArray[np.uint8]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "f.npz"
    assert main(["features", str(trained_run), str(noise[0]), "--layer", "fc2", "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: fc2a, fc2b, 16 for each of 1 picture\n"
    with np.load(target) as found:
        np.testing.assert_allclose(
            found["features"][0], np.concatenate(by_hand(trained_run, noise[1], ("fc2a", "fc2b"))), rtol=1e-5, atol=1e-6
        )
        assert found["features"].dtype == np.float32
        assert found["layers"].tolist() == ["fc2a", "fc2b"]
    # the last hidden layer is what is taken where none is named
    again = tmp_path / "again.npz"
    assert main(["features", str(trained_run), str(noise[0]), "-o", str(again)]) == 0
    assert again.read_bytes() == target.read_bytes()


def test_maps_keep_their_shape(trained_run: Path, noise: tuple[Path, NDArray[np.uint8]], tmp_path: Path) -> None:
    target = tmp_path / "maps.npy"
    assert main(["features", str(trained_run), str(noise[0]), "--layer", "conv1b", "-o", str(target)]) == 0
    maps = np.load(target)
    assert maps.shape == (1, 4, 10, 10)
    np.testing.assert_allclose(maps[0], by_hand(trained_run, noise[1], ("conv1b",))[0], rtol=1e-5, atol=1e-4)
    about = json.loads((tmp_path / "maps.npy.json").read_text())
    assert about["names"] == [str(noise[0])]
    assert about["labels"] == [None]
    assert (about["layers"], about["classes"]) == (["conv1b"], list(COLORS))


def test_labels_and_names(trained_run: Path, colors: Path, tmp_path: Path) -> None:
    """Of a folder all pictures, of the run's own data the test pictures, or those for training."""
    folder = ["--data", str(colors)]
    for arguments, count in (
        (folder, 80),
        ([*folder, "--split", "test"], 16),
        ([], 16),
        (["--split", "train"], 64),
    ):
        target = tmp_path / "f.npz"
        assert main(["features", str(trained_run), *arguments, "-o", str(target)]) == 0
        with np.load(target) as found:
            assert found["features"].shape == (count, 16)
            named = [Path(name).parent.name for name in found["names"]]
            assert [list(COLORS)[label] for label in found["labels"]] == named
            assert len({*found["names"]}) == count


def test_data_of_other_classes(trained_run: Path, tmp_path: Path) -> None:
    """Features serve for classes that the network never heard of, which are named as the data name them."""
    target = tmp_path / "f.npz"
    for i, name in enumerate(("apple", "sky")):
        (tmp_path / "fruit" / "train" / name).mkdir(parents=True)
        for j in range(3):
            picture("red" if i else "blue", j).save(tmp_path / "fruit" / "train" / name / f"{j}.png")
    assert main(["features", str(trained_run), "--data", str(tmp_path / "fruit"), "-o", str(target)]) == 0
    with np.load(target) as found:
        assert found["classes"].tolist() == ["apple", "sky"]
        assert found["labels"].tolist() == [0, 0, 0, 1, 1, 1]
    arguments = ["--data", str(tmp_path / "fruit"), "--split", "train", "-o", str(target)]
    assert main(["features", str(trained_run), *arguments]) == 0
    with np.load(target) as found:
        assert sorted(found["labels"].tolist()) == [0, 0, 1, 1]
    assert main(["features", str(trained_run), "--data", "digits", "-o", str(target)]) == 0
    with np.load(target) as found:
        assert found["classes"].tolist() == [*"0123456789"]
        assert found["features"].shape == (359, 16)
        assert set(found["labels"].tolist()) == set(range(10))


def test_a_broken_picture_has_no_row(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        picture("red", i).save(folder / f"{i}.png")
    (folder / "1.png").write_bytes(b"no")
    target = tmp_path / "f.npz"
    assert main(["features", str(trained_run), str(folder), "-o", str(target)]) == 1
    assert "1.png: not a picture" in capsys.readouterr().err
    with np.load(target) as found:
        assert [Path(name).name for name in found["names"]] == ["0.png", "2.png"]
        assert len(found["features"]) == 2
    before = target.read_bytes()
    assert main(["features", str(trained_run), str(folder / "1.png"), "-o", str(target)]) == 1
    assert "none of the 1 pictures can be read" in capsys.readouterr().err
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "nothing is left behind"


def test_what_cannot_be(trained_run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, image = str(trained_run), str(colors / "red" / "00.png")
    for arguments, code, said in (
        (["-o", "f.txt"], 2, "name FILE.npy or FILE.npz"),
        (["-o", str(tmp_path / "no" / "f.npy")], 2, "cannot be written"),
        (["--layer", "fc9", "-o", str(tmp_path / "f.npy")], 2, "there is no layer fc9"),
        (["--layer", "conv1,fc2", "-o", str(tmp_path / "f.npy")], 1, "they cannot be joined"),
    ):
        assert main(["features", run, image, *arguments]) == code, arguments
        assert said in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_rows_one_after_another() -> None:
    """The header is written before the number of rows is known, and completed in its place."""
    rows = np.random.default_rng(1).normal(size=(1234, 3, 2)).astype(np.float32)
    file = io.BytesIO()
    writer = RowsFile(file)
    for start in range(0, 1234, 100):
        writer.add(rows[start : start + 100])
    writer.close()
    file.seek(0)
    assert np.array_equal(np.load(file), rows)


class Opened:
    """A run, and the pictures of a folder, of which features are asked for; `looks` counts how often they are computed."""

    def __init__(self, run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.looks = folder, 0
        self.trained, self.layers = self._open(run)
        self.warnings: list[Diagnostic] = []
        compute = kept._compute

        def counting(*arguments: object) -> None:
            self.looks += 1
            compute(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(kept, "_compute", counting)

    def _open(self, run: Path) -> tuple[Trained, tuple[str, ...]]:
        return open_with_layers(str(run), None, device="cpu", checkpoint=None, notify=lambda diagnostic: None)

    def numbers(self, cache: Path | None) -> NDArray[np.float32]:
        files = list_pictures([str(self.folder)], self.trained.classes)
        gallery = Files(
            files, self.trained.classes, self.trained.stored_shape, self.warnings.append, title=str(self.folder)
        )
        with ExitStack() as stack:
            found: Features = stack.enter_context(
                features_of(Looker(self.trained), gallery, self.layers, folder=cache, notify=self.warnings.append)
            )
            return np.array(found.numbers)


@pytest.fixture
def opened(run: Path, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(run, Path(shutil.copytree(colors / "red", tmp_path / "red")), monkeypatch)


def test_features_are_kept_until_something_changes(opened: Opened, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = opened.numbers(cache)
    assert np.array_equal(opened.numbers(cache), first)
    assert opened.looks == 1
    assert len([*cache.glob("*.npy")]) == 2
    # a picture is replaced
    picture("green", 3).save(opened.folder / "07.png")
    second = opened.numbers(cache)
    assert opened.looks == 2
    assert (second[7] != first[7]).any()
    assert np.array_equal(np.delete(second, 7, 0), np.delete(first, 7, 0))
    assert len([*cache.glob("*.npy")]) == 2, "what is stale is removed"
    # a weight changes
    with torch.no_grad():
        next(iter(opened.trained.net.parameters())).add_(0.01)
    assert (opened.numbers(cache) != second).any()
    assert opened.looks == 3
    # another layer beside it
    opened.layers = ("fc2a",)
    opened.trained, _ = open_with_layers(
        str(opened.trained.run_dir), "fc2a", device="cpu", checkpoint=None, notify=lambda diagnostic: None
    )
    assert opened.numbers(cache).shape == (20, 8)
    assert len([*cache.glob("*.npy")]) == 4


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 4
    path.write_bytes(content)


HARMS: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "another file": lambda path: path.write_bytes(b"no array"),
    "a flipped bit": flip_a_bit,
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["*.npy", "*.places.npy", "*.sha256.json"])
def test_a_file_that_is_not_as_it_was_written_is_computed_again(
    opened: Opened, tmp_path: Path, name: str, harm: str
) -> None:
    cache = tmp_path / "cache"
    first = opened.numbers(cache)
    HARMS[harm](min(cache.glob(name), key=lambda path: len(path.name)))
    assert np.array_equal(opened.numbers(cache), first)
    assert opened.looks == 2
    is_said = (name, harm) != ("*.npy", "gone")
    assert [(d.code, d.severity) for d in opened.warnings] == [("CS724", Severity.WARNING)] * is_said
    assert np.array_equal(opened.numbers(cache), first)
    assert opened.looks == 2, "what was written anew is whole"


def test_what_was_checked_once_is_not_read_again(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    opened.numbers(cache)
    hashed: list[str] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: hashed.append(file.name) or digest(file, name))
    opened.numbers(cache)
    assert hashed == []
    for path in cache.glob("*.npy"):
        path.touch()
    opened.numbers(cache)
    assert len(hashed) == 2


def test_a_folder_that_cannot_be_made(opened: Opened, tmp_path: Path) -> None:
    """The features are computed all the same, and a note names the way out."""
    (tmp_path / "file").write_text("in the way")
    first = opened.numbers(None)
    assert not opened.warnings
    assert np.array_equal(opened.numbers(tmp_path / "file" / "cache"), first)
    [note] = opened.warnings
    assert (note.code, note.severity) == ("CS706", Severity.NOTE)
    assert "--cache" in str(note.help)
    assert opened.looks == 2


def test_a_full_disk(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(RowsFile):
        def add(self, rows: NDArray[np.float32]) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "RowsFile", Full)
    cache = tmp_path / "cache"
    with pytest.raises(DiagnosticError) as caught:
        opened.numbers(cache)
    assert caught.value.diagnostics[0].code == "CS711"
    assert not [*cache.iterdir()]


def test_leftovers_of_killed_processes_go(opened: Opened, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    old, young = cache / ".writing-1-x.npy", cache / ".writing-2-x.npy"
    for path in (old, young):
        path.touch()
    os.utime(old, (1e9, 1e9))
    opened.numbers(cache)
    assert not old.exists()
    assert young.exists()


def test_numbers_that_are_not_finite(opened: Opened, tmp_path: Path) -> None:
    with torch.no_grad():
        next(iter(opened.trained.net.parameters())).fill_(float("nan"))
    with pytest.raises(DiagnosticError) as caught:
        opened.numbers(tmp_path / "cache")
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.code == "CS707"
    assert "00.png" in diagnostic.message
    assert not [*(tmp_path / "cache").iterdir()]

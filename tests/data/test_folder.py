"""Folders as users have them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convspec.data import Split
from convspec.data.folder import Folder
from convspec.data.layout import read_folder
from convspec.data.relabelled import Relabelled
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity


def put(path: Path, value: int, size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def make(root: Path, split: str = "", classes: str = "ab", each: int = 10) -> Path:
    """Pictures whose grey is 20 times their class plus their number."""
    for label, name in enumerate(classes):
        for i in range(each):
            put(root / split / name / f"{i}.png", 20 * label + i)
    return root


def folder(root: Path, told: list[Diagnostic] | None = None, cache_bytes: int = 1 << 20) -> Folder:
    return Folder(
        str(root), size=8, channels=1, notify=(told if told is not None else []).append, cache_bytes=cache_bytes
    )


def read(dataset: Folder, split: Split) -> tuple[list[int], list[int]]:
    """The grey of each picture, and the labels."""
    indices = np.arange(dataset.count(split))
    out = np.empty((len(indices), *dataset.shape), np.uint8)
    labels = dataset.read(split, indices, epoch=0, out=out)
    dataset.close()
    assert (out == out[:, :1, :1]).all()
    return out[:, 0, 0, 0].tolist(), labels.tolist()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
@pytest.mark.parametrize("test", ["val", "test"])
def test_train_and_val(tmp_path: Path, test: str, cache_bytes: int) -> None:
    make(tmp_path, "train", each=3)
    make(tmp_path, test, each=2)
    dataset = folder(tmp_path, cache_bytes=cache_bytes)
    assert dataset.classes == ("a", "b")
    assert read(dataset, Split.TRAIN) == ([0, 1, 2, 20, 21, 22], [0, 0, 0, 1, 1, 1])
    assert read(folder(tmp_path, cache_bytes=cache_bytes), Split.TEST) == ([0, 1, 20, 21], [0, 0, 1, 1])


def test_classes_alone_are_split_the_same_way_each_time(tmp_path: Path) -> None:
    make(tmp_path, each=10)
    train, labels = read(folder(tmp_path), Split.TRAIN)
    test, test_labels = read(folder(tmp_path), Split.TEST)
    assert sorted(train + test) == [*range(10), *range(20, 30)]
    assert (labels.count(0), labels.count(1), test_labels) == (8, 8, [0, 0, 1, 1])
    assert read(folder(tmp_path), Split.TEST)[0] == test


def test_a_train_folder_alone_gives_its_tests(tmp_path: Path) -> None:
    make(tmp_path, "train", each=10)
    dataset = folder(tmp_path)
    assert (dataset.count(Split.TRAIN), dataset.count(Split.TEST)) == (16, 4)
    dataset.close()


def test_hidden_files_and_folders_below(tmp_path: Path) -> None:
    make(tmp_path, each=4)
    put(tmp_path / "a" / "more" / "9.png", 9)
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    told: list[Diagnostic] = []
    dataset = folder(tmp_path, told)
    assert dataset.count(Split.TRAIN) + dataset.count(Split.TEST) == 9
    assert told == []
    dataset.close()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_broken_files_are_named_and_skipped(tmp_path: Path, cache_bytes: int) -> None:
    make(tmp_path, "train", each=4)
    make(tmp_path, "val", each=2)
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"not a picture at all")
    (tmp_path / "train" / "a" / "notes.txt").write_text("hello")
    told: list[Diagnostic] = []
    greys, labels = read(folder(tmp_path, told, cache_bytes), Split.TRAIN)
    if cache_bytes:
        assert (greys, labels) == ([0, 2, 3, 20, 21, 22, 23], [0, 0, 0, 1, 1, 1, 1])
    else:
        assert (greys, labels) == ([0, 2, 2, 3, 20, 21, 22, 23], [0, 0, 0, 0, 1, 1, 1, 1])
    assert {(d.code, d.severity) for d in told} == {("CS703", Severity.WARNING)}
    assert [d.message for d in told] == [
        "skipped train/a/notes.txt: not a picture",
        "skipped train/a/1.png: not a picture",
    ]


def test_a_broken_last_picture_is_followed_by_the_first(tmp_path: Path) -> None:
    make(tmp_path, "train", each=2)
    make(tmp_path, "val", each=2)
    (tmp_path / "train" / "b" / "1.png").write_bytes(b"")
    assert read(folder(tmp_path, cache_bytes=0), Split.TRAIN) == ([0, 1, 20, 0], [0, 0, 1, 0])


def test_each_broken_file_is_named_once(tmp_path: Path) -> None:
    make(tmp_path, "train", each=4)
    make(tmp_path, "val", each=2)
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"")
    told: list[Diagnostic] = []
    dataset = folder(tmp_path, told, 0)
    out = np.empty((8, *dataset.shape), np.uint8)
    for _ in range(3):
        dataset.read(Split.TRAIN, np.arange(8), epoch=0, out=out)
    dataset.close()
    assert len(told) == 1


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_too_many_broken_files_are_an_error(tmp_path: Path, cache_bytes: int) -> None:
    make(tmp_path, "train", each=20)
    make(tmp_path, "val", each=2)
    for i in range(11):
        (tmp_path / "train" / "a" / f"{i}.png").write_bytes(b"")
    with pytest.raises(DiagnosticError, match="CS703: more than 10 of 44 files"):
        read(folder(tmp_path, cache_bytes=cache_bytes), Split.TRAIN)


def test_missing_or_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, what in (("nowhere", "there is no folder"), ("file", "is a file")):
        with pytest.raises(DiagnosticError, match=f"CS701.*{what}") as caught:
            folder(tmp_path / path)
        assert "DIR/train/CLASS" in str(caught.value.diagnostics[0].help)


def test_an_archive_has_to_be_prepared(tmp_path: Path) -> None:
    (tmp_path / "flowers.tar.gz").write_bytes(b"x")
    with pytest.raises(DiagnosticError, match=r"CS701.*is a file") as caught:
        folder(tmp_path / "flowers.tar.gz")
    assert f"convspec data prepare {tmp_path / 'flowers.tar.gz'} DIR" in str(caught.value.diagnostics[0].help)


def test_no_name_at_all() -> None:
    """Not the folder that one happens to be in."""
    with pytest.raises(DiagnosticError, match=r"CS701.*named"):
        Folder("", size=8, channels=1, notify=lambda diagnostic: None)


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("convspec.data.layout.os.scandir", refuse)
    with pytest.raises(DiagnosticError, match=r"CS701.*Permission denied"):
        folder(tmp_path)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    make(tmp_path)
    try:
        put(tmp_path / "a" / "caf\udce9.png", 5)
    except OSError:
        pytest.skip("this file system takes text alone")
    folder(tmp_path).close()


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"CS702.*no class folders"):
        folder(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("x")
    with pytest.raises(DiagnosticError, match=r"CS702: no pictures under .*: 1 folders, 1 other files"):
        folder(tmp_path)


def test_pictures_without_class_folders(tmp_path: Path) -> None:
    """ImageNet's validation set as it is downloaded."""
    make(tmp_path, "train")
    put(tmp_path / "val" / "ILSVRC2012_val_00000001.png", 1)
    with pytest.raises(DiagnosticError, match=r"CS702.*val holds no class folders"):
        folder(tmp_path)


def test_a_single_picture_a_class(tmp_path: Path) -> None:
    make(tmp_path, each=1)
    with pytest.raises(DiagnosticError, match=r"CS702.*single picture"):
        folder(tmp_path)


def test_all_of_a_split_broken(tmp_path: Path) -> None:
    make(tmp_path, "train", each=2)
    make(tmp_path, "val", each=1)
    for name in "ab":
        (tmp_path / "val" / name / "0.png").write_bytes(b"")
    with pytest.raises(DiagnosticError, match="CS702: no test picture"):
        folder(tmp_path)


def test_all_of_a_split_broken_that_is_read_as_it_is_used(tmp_path: Path) -> None:
    """No file is left that could stand in for another."""
    make(tmp_path, "train", each=2)
    make(tmp_path, "val", each=1)
    for name in "ab":
        (tmp_path / "val" / name / "0.png").write_bytes(b"")
    dataset = folder(tmp_path, cache_bytes=0)
    out = np.empty((1, *dataset.shape), np.uint8)
    with pytest.raises(DiagnosticError, match="CS703: all 2 pictures of the test split"):
        dataset.read(Split.TEST, np.array([0]), epoch=0, out=out)
    dataset.close()


def test_an_empty_class_folder_is_no_class(tmp_path: Path) -> None:
    make(tmp_path, classes="abc", each=3)
    (tmp_path / "aa").mkdir()
    dataset = folder(tmp_path)
    assert dataset.classes == ("a", "b", "c")
    dataset.close()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_the_fingerprint_is_that_of_names_and_order_and_what_is_in_the_files(tmp_path: Path, cache_bytes: int) -> None:
    def fingerprint() -> str:
        return folder(tmp_path / "two", cache_bytes=cache_bytes).fingerprint

    make(tmp_path / "one")
    make(tmp_path / "two")
    before = folder(tmp_path / "one", cache_bytes=cache_bytes).fingerprint
    os.utime(tmp_path / "two" / "a" / "3.png", (1, 1))
    assert fingerprint() == before, "where the folder lies and when it was written do not matter"
    picture = (tmp_path / "two" / "a" / "3.png").read_bytes()
    put(tmp_path / "two" / "a" / "3.png", 3, size=(11, 10))
    assert fingerprint() != before
    (tmp_path / "two" / "a" / "3.png").write_bytes(picture)
    assert fingerprint() == before
    put(tmp_path / "two" / "a" / "new.png", 1)
    assert fingerprint() != before


def test_a_set_that_is_decoded_at_the_start_is_known_by_its_bytes(tmp_path: Path) -> None:
    make(tmp_path, each=3)
    before = folder(tmp_path).fingerprint
    file = tmp_path / "a" / "1.png"
    size = file.stat().st_size
    put(file, 5)
    assert file.stat().st_size == size
    assert folder(tmp_path).fingerprint != before


def test_a_fingerprint_of_an_earlier_version_is_known(tmp_path: Path) -> None:
    make(tmp_path, each=3)
    _, layout = read_folder(str(tmp_path))
    names = layout.digest(repr((8, 8, 1)).encode())
    for cache_bytes in (0, 1 << 20):
        dataset = folder(tmp_path, cache_bytes=cache_bytes)
        assert dataset.fingerprint != names
        assert dataset.is_that_of(names)
        assert Relabelled(dataset, ("a", "b")).is_that_of(names)
    (tmp_path / "a" / "1.png").rename(tmp_path / "a" / "9.png")
    assert not folder(tmp_path).is_that_of(names)


def test_a_file_that_is_gone_has_no_size(tmp_path: Path) -> None:
    make(tmp_path, each=3)
    (tmp_path / "a" / "1.png").unlink()
    (tmp_path / "a" / "1.png").symlink_to("nowhere.png")
    tree, layout = read_folder(str(tmp_path))
    sizes = tree.sizes(layout.names())
    assert [name for name, size in sizes.items() if size == -1] == ["a/1.png"]
    assert sizes["b/2.png"] == (tmp_path / "b" / "2.png").stat().st_size

"""Prepared folders as datasets, whole and damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convspec.data import BatchStream, Dataset, Split, integrity, open_dataset
from convspec.data.integrity import CHECKED, check
from convspec.data.manifest import MANIFEST, read_manifest
from convspec.data.shards import Shards
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from tests.data.pictures import flowers
from tests.data.preparing import digests, prepared
from tests.data.settings import Settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    prepared(flowers(root / "in", each=10), root / "out")
    return root / "out"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy, of which nothing is known yet."""
    shutil.copytree(made, tmp_path / "out")
    (tmp_path / "out" / CHECKED).unlink()
    return tmp_path / "out"


def opened(root: Path, input_shape: tuple[int, int, int] = (3, 8, 8), classes: int = 2, **options: Any) -> Dataset:
    return open_dataset(Settings(size=99), data=str(root), seed=0, input_shape=input_shape, classes=classes, **options)


def rewrite(change: Callable[[dict[str, Any]], object], path: Path) -> None:
    body = json.loads(path.read_bytes())
    change(body)
    path.write_text(json.dumps(body, indent=1))


def test_open_dataset_knows_it_by_its_manifest(made: Path) -> None:
    dataset = opened(made, (3, 6, 7))
    assert isinstance(dataset, Shards)
    assert dataset.shape == (8, 8, 3)
    assert dataset.classes == ("rose", "tulip")
    assert (dataset.count(Split.TRAIN), dataset.count(Split.TEST)) == (16, 4)
    assert dataset.labels(Split.TEST).tolist() == [0, 0, 1, 1]


def test_reading_is_a_gather_over_all_shards(made: Path) -> None:
    dataset = Shards(str(made))
    whole = np.concatenate([np.load(made / f"train-0000{i}.npy") for i in range(4)])
    indices = np.array([15, 0, 4, 3, 12, 0])
    out = np.empty((6, 8, 8, 3), np.uint8)
    labels = dataset.read(Split.TRAIN, indices, epoch=0, out=out)
    assert (out == whole[indices]).all()
    assert labels.tolist() == [1, 0, 0, 0, 1, 0]


def test_batches_of_shards(made: Path) -> None:
    with BatchStream(Shards(str(made)), Split.TRAIN, batch_size=5, crop=(6, 6), mirror=True) as stream:
        assert sorted(np.concatenate([batch.labels.copy() for batch in stream]).tolist()) == [0] * 8 + [1] * 8


def test_what_does_not_fit_a_network(made: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"CS705: the network reads 9x8, and the pictures of .*out are 8x8"):
        opened(made, (3, 9, 8))
    with pytest.raises(DiagnosticError, match=r"CS713: the network reads 1 channels, and the pictures of .* have 3"):
        opened(made, (1, 8, 8))
    with pytest.raises(DiagnosticError, match=r"CS704: .*out has 2 classes, and the network has 1 outputs"):
        opened(made, classes=1)


def test_the_fingerprint_is_that_of_the_pictures(made: Path, folder: Path, tmp_path: Path) -> None:
    assert Shards(str(folder)).fingerprint == Shards(str(made)).fingerprint
    prepared(flowers(tmp_path / "others", each=9), tmp_path / "other")
    assert Shards(str(tmp_path / "other")).fingerprint != Shards(str(made)).fingerprint


@pytest.mark.parametrize("name", ["train-00002.npy", "test-00000.npy", "train-labels.npy", "mean.npy"])
def test_a_file_cut_short_is_named(folder: Path, name: str) -> None:
    path = folder / name
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DiagnosticError, match=rf"CS724: .*{name} is damaged: it is cut short"):
        opened(folder)


@pytest.mark.parametrize("name", ["train-00002.npy", "test-00000.npy", "train-labels.npy", "mean.npy"])
def test_a_flipped_bit_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-7] ^= 4
    (folder / name).write_bytes(content)
    with pytest.raises(DiagnosticError, match=rf"CS724: .*{name} is damaged: .*its checksum is another") as caught:
        opened(folder)
    assert len(caught.value.diagnostics) == 1


def test_all_that_is_damaged_is_named_at_once(folder: Path) -> None:
    (folder / "train-00000.npy").unlink()
    os.truncate(folder / "train-00001.npy", 0)
    with pytest.raises(DiagnosticError) as caught:
        opened(folder)
    assert [d.message.split("is damaged: ")[1] for d in caught.value.diagnostics] == [
        "it is missing",
        "it is cut short: 0 bytes of 896",
    ]


def test_a_bit_that_flips_once_all_was_checked(folder: Path) -> None:
    """Whoever writes to a file cannot hide it: not even by setting its time back."""
    opened(folder)
    assert (folder / CHECKED).is_file()
    path = folder / "train-00001.npy"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(500)
        byte = file.read(1)[0]
        file.seek(500)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DiagnosticError, match=r"CS724: .*train-00001\.npy"):
        opened(folder)


def test_what_was_checked_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(folder)
    hashed: list[str] = []
    monkeypatch.setattr(integrity, "_hashed", lambda root, entry: hashed.append(entry.name) or ([], ""))
    opened(folder)
    assert hashed == []
    (folder / CHECKED).write_text("{ damaged")
    opened(folder)
    assert len(hashed) == 9


def test_a_large_folder_is_not_read_when_it_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "MOST_BYTES", 2000)
    told: list[Diagnostic] = []
    opened(folder, notify=told.append)
    assert [(d.code, d.severity) for d in told] == [("CS724", Severity.NOTE)]
    assert f"convspec data verify {folder}" in str(told[0].help)
    path = folder / "mean.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DiagnosticError, match=r"CS724: .*mean\.npy"):
        opened(folder)


def test_verifying_reads_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(folder)
    content = bytearray((folder / "train-00003.npy").read_bytes())
    content[200] ^= 1
    (folder / "train-00003.npy").write_bytes(content)
    done: list[str] = []
    with pytest.raises(DiagnosticError, match=r"CS724: .*train-00003\.npy"):
        check(folder, list(read_manifest(folder).files()), advance=lambda entry: done.append(entry.name))
    assert len(done) == 9


def test_a_folder_that_is_only_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(integrity, "replace_file", refuse)
    opened(folder)
    assert not (folder / CHECKED).exists()


def test_a_shard_that_is_cut_short_while_it_is_used(folder: Path) -> None:
    """Touching what is no longer there would end the process by SIGBUS."""
    dataset = Shards(str(folder))
    os.truncate(folder / "train-00001.npy", 300)
    out = np.empty((1, 8, 8, 3), np.uint8)
    dataset.read(Split.TRAIN, np.array([0]), epoch=0, out=out)
    with pytest.raises(DiagnosticError, match=r"CS724: .*train-00001\.npy was cut short while it was in use"):
        dataset.read(Split.TRAIN, np.array([7]), epoch=0, out=out)


def test_an_interrupted_preparation(tmp_path: Path) -> None:
    (tmp_path / "out" / ".prepare").mkdir(parents=True)
    with pytest.raises(DiagnosticError, match=r"CS724: the preparation of .*out is not finished") as caught:
        opened(tmp_path / "out")
    assert "goes on where it stopped" in str(caught.value.diagnostics[0].help)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "format": (lambda body: body.update(format="zip"), "is not the manifest"),
    "version": (lambda body: body.update(version=2), "is of version 2, and this convspec reads version 1"),
    "classes": (lambda body: body["classes"].reverse(), "is not as it was written"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_manifest_that_was_changed(folder: Path, what: str) -> None:
    change, why = CHANGES[what]
    rewrite(change, folder / MANIFEST)
    with pytest.raises(DiagnosticError, match=f"CS724: .*{MANIFEST} {why}"):
        opened(folder)


NONSENSE: dict[str, Callable[[dict[str, Any]], object]] = {
    "parent": lambda body: body["splits"]["train"]["shards"][0].update(file="../secret"),
    "absolute": lambda body: body["splits"]["train"]["shards"][0].update(file="/etc/passwd"),
    "no shards": lambda body: body["splits"]["train"].update(shards=[]),
    "no pictures": lambda body: body["splits"]["train"]["shards"][0].update(pictures=0),
    "no tests": lambda body: body["splits"].pop("test"),
    "two numbers": lambda body: body.update(shape=[8, 8]),
    "two channels": lambda body: body.update(shape=[8, 8, 2]),
    "large": lambda body: body.update(shape=[1 << 40, 8, 3]),
    "numbers for names": lambda body: body.update(classes=[1, 2]),
    "short pca": lambda body: body.update(color_pca={"deviations": [1], "directions": [2]}),
    "no mean": lambda body: body.update(mean=None),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_a_manifest_that_makes_no_sense(folder: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As someone would write it who knows how to sum it up."""
    monkeypatch.setattr("convspec.data.manifest._digest", lambda body: None)
    rewrite(lambda body: (NONSENSE[what](body), body.pop("sha256")), folder / MANIFEST)
    with pytest.raises(DiagnosticError, match=r"CS724: .*manifest\.json does not describe a prepared folder"):
        opened(folder)


def consistent(folder: Path, name: str, content: bytes) -> None:
    """Put other bytes in the place of a file, and a manifest that agrees."""
    import hashlib

    from convspec.data import manifest

    def update(body: Any) -> None:
        match body:
            case {"file": str() as file} if file == name:
                body.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            case dict():
                for each in body.values():
                    update(each)
            case list():
                for each in body:
                    update(each)

    (folder / name).write_bytes(content)
    body = json.loads((folder / MANIFEST).read_bytes())
    body.pop("sha256")
    update(body)
    body["sha256"] = manifest._digest(body)
    (folder / MANIFEST).write_bytes(manifest._dumped(body))


@pytest.mark.parametrize(
    ("name", "array", "why"),
    [
        ("train-00000.npy", np.zeros((5, 8, 8, 3), np.uint8), "is not 4 pictures 3x8x8 of bytes"),
        ("train-00000.npy", np.zeros((4, 8, 8, 3), np.float32), "holds float32 and not bytes"),
        ("train-00000.npy", np.asfortranarray(np.zeros((4, 8, 8, 3), np.uint8)), "picture by picture"),
        ("train-labels.npy", np.zeros(15, np.int64), "is not 16 labels"),
        ("train-labels.npy", np.full(16, 2), "has labels that no class has"),
        ("train-labels.npy", np.full(16, -1), "has labels that no class has"),
        ("mean.npy", np.zeros((8, 8, 1), np.float32), "is not a mean of pictures 3x8x8"),
        ("mean.npy", np.full((8, 8, 3), np.nan, np.float32), "is not a mean"),
    ],
)
def test_files_that_do_not_fit_together(folder: Path, name: str, array: np.ndarray, why: str) -> None:
    with (folder / "other.npy").open("wb") as file:
        np.save(file, array)
    consistent(folder, name, (folder / "other.npy").read_bytes())
    with pytest.raises(DiagnosticError, match=f"CS724: .*{name} .*{why}"):
        opened(folder)


@pytest.mark.parametrize(
    "content", [b"\x93NUMPY\x01\x00\xff\xff{'descr'", b"no array", b"\x93NUMPY\x02\x00" + bytes(200)]
)
@pytest.mark.parametrize("name", ["train-00000.npy", "mean.npy", "train-labels.npy"])
def test_files_that_are_no_arrays(folder: Path, name: str, content: bytes) -> None:
    consistent(folder, name, content)
    with pytest.raises(DiagnosticError, match=f"CS724: .*{name}"):
        opened(folder)


def test_objects_are_never_unpickled(folder: Path) -> None:
    with (folder / "other.npy").open("wb") as file:
        np.save(file, np.array([print] * 16), allow_pickle=True)
    consistent(folder, "train-labels.npy", (folder / "other.npy").read_bytes())
    with pytest.raises(DiagnosticError, match="CS724"):
        opened(folder)


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_is_found(made: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A bit of any file but the report of what was checked: none is missed, and none brings anything down."""
    root = tmp_path_factory.getbasetemp() / "spoilt"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(made, root)
    names = sorted(digests(root))
    name = data.draw(st.sampled_from([name for name in names if (root / name).stat().st_size]))
    content = bytearray((root / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (root / name).write_bytes(content)
    with pytest.raises(DiagnosticError, match="CS724"):
        opened(root)

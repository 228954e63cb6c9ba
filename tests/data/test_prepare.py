"""Preparation of pictures: what goes in, what comes out, and that nothing disturbs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from convspec.data import Split
from convspec.data.filling import Stopped
from convspec.data.layout import Layout
from convspec.data.manifest import WORK
from convspec.data.shards import Shards
from convspec.data.sources import ArchiveSource, Choice, FolderSource, open_source
from convspec.diagnostics import Diagnostic, DiagnosticError
from tests.data.pictures import broken, colorful, flowers, odd
from tests.data.preparing import Quiet, digests, pictures_of, prepared

ROOT = Path(__file__).parents[2]


def plain_square(path: Path, size: int) -> np.ndarray:
    """Section 2 of the paper, step by step: the shorter side to `size`, then the middle."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def test_a_folder_becomes_shards(tmp_path: Path) -> None:
    source = flowers(tmp_path / "flowers", each=10, form="png")
    manifest = prepared(source, tmp_path / "out")
    assert manifest.classes == ("rose", "tulip")
    assert [shard.pictures for shard in manifest.splits[Split.TRAIN].shards] == [4, 4, 4, 4]
    assert [shard.pictures for shard in manifest.splits[Split.TEST].shards] == [4]
    train, names = pictures_of(tmp_path / "out", Split.TRAIN)
    assert names == ["rose"] * 8 + ["tulip"] * 8
    found = {picture.tobytes() for split in Split for picture in pictures_of(tmp_path / "out", split)[0]}
    assert len(found) == 20
    closest = [min(np.abs(plain_square(p, 8).astype(int) - t).mean() for p in source.rglob("*.png")) for t in train]
    assert max(closest) < 2, "one resize of the middle is a resize of all and a crop"
    assert not (tmp_path / "out" / WORK).exists()


def test_shards_are_plain_npy_files(tmp_path: Path) -> None:
    prepared(flowers(tmp_path / "flowers", each=10), tmp_path / "out")
    mapped = np.load(tmp_path / "out" / "train-00002.npy", mmap_mode="r")
    assert (mapped.shape, mapped.dtype) == ((4, 8, 8, 3), np.uint8)
    assert (mapped == pictures_of(tmp_path / "out", Split.TRAIN)[0][8:12]).all()


def test_mean_and_colors_are_numpys(tmp_path: Path) -> None:
    prepared(flowers(tmp_path / "flowers", each=30), tmp_path / "out", shard_pictures=7)
    dataset = Shards(str(tmp_path / "out"))
    train = pictures_of(tmp_path / "out", Split.TRAIN)[0].astype(np.float64)
    assert dataset.mean is not None
    assert dataset.color_pca is not None
    np.testing.assert_array_equal(dataset.mean, train.mean(axis=0).astype(np.float32))
    deviations, directions = dataset.color_pca
    covariance = np.cov(train.reshape(-1, 3), rowvar=False)
    np.testing.assert_allclose(deviations**2, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-5)
    np.testing.assert_allclose(directions * deviations**2 @ directions.T, covariance, rtol=1e-4, atol=1e-2)


def test_train_and_val_folders_stay_what_they_are(tmp_path: Path) -> None:
    flowers(tmp_path / "in" / "train", each=5)
    flowers(tmp_path / "in" / "val", each=2)
    manifest = prepared(tmp_path / "in", tmp_path / "out")
    assert [manifest.splits[split].pictures for split in Split] == [10, 4]


def test_the_share_that_is_kept_for_testing(tmp_path: Path) -> None:
    manifest = prepared(flowers(tmp_path / "in", each=10), tmp_path / "out", share=0.4)
    assert [manifest.splits[split].pictures for split in Split] == [12, 8]


def test_odd_pictures_are_read_and_broken_ones_named(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in" / "train")
    flowers(tmp_path / "in" / "val", each=1)
    good, bad = odd(source / "rose"), broken(source / "tulip")
    told: list[Diagnostic] = []
    manifest = prepared(tmp_path / "in", tmp_path / "out", notify=told.append)
    assert manifest.splits[Split.TRAIN].pictures == 6 + len(good)
    assert manifest.broken == len(bad)
    report = dict(line.split("\t") for line in (tmp_path / "out" / "broken.txt").read_text().splitlines())
    assert set(report) == {f"train/tulip/{name}" for name in bad}
    for name, why in bad.items():
        assert why in report[f"train/tulip/{name}"]
    assert {d.message for d in told} == {f"skipped {name}: {why}" for name, why in report.items()}
    assert len(pictures_of(tmp_path / "out", Split.TRAIN)[0]) == 6 + len(good), (
        "shards with fewer pictures are read too"
    )


def test_a_shard_with_fewer_pictures_than_were_planned(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in" / "train", each=6, form="png")
    flowers(tmp_path / "in" / "val", each=1)
    whole = prepared(tmp_path / "in", tmp_path / "whole")
    (source / "rose" / "1.png").write_bytes(b"")
    manifest = prepared(tmp_path / "in", tmp_path / "out")
    assert [shard.pictures for shard in manifest.splits[Split.TRAIN].shards] == [3, 4, 4]
    pictures = pictures_of(tmp_path / "whole", Split.TRAIN)[0]
    assert (pictures_of(tmp_path / "out", Split.TRAIN)[0] == np.delete(pictures, 1, axis=0)).all()
    assert whole.splits[Split.TRAIN].shards[1:] == manifest.splits[Split.TRAIN].shards[1:]


def test_turned_pictures_are_upright(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for split in ("train", "val"):
        (source / split / "a").mkdir(parents=True)
    upright = colorful(3, 16, 16)
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright.transpose(turn).save(source / "train" / "a" / f"{orientation}.png", exif=exif)
    upright.save(source / "val" / "a" / "1.png")
    prepared(source, tmp_path / "out")
    expected = pictures_of(tmp_path / "out", Split.TEST)[0][0]
    for picture in pictures_of(tmp_path / "out", Split.TRAIN)[0]:
        assert np.abs(picture.astype(int) - expected).max() <= 1


def test_grey(tmp_path: Path) -> None:
    manifest = prepared(flowers(tmp_path / "in"), tmp_path / "out", channels=1)
    assert manifest.shape == (8, 8, 1)
    assert manifest.color_pca is None
    assert pictures_of(tmp_path / "out", Split.TRAIN)[0].shape == (10, 8, 8, 1)


def test_large_photographs_are_decoded_small_and_look_the_same(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / "in" / split / "a").mkdir(parents=True)
        colorful(5, 640, 640).save(tmp_path / "in" / split / "a" / "1.jpg", quality=95)
    prepared(tmp_path / "in", tmp_path / "out", size=32)
    found = pictures_of(tmp_path / "out", Split.TRAIN)[0][0]
    difference = np.abs(plain_square(tmp_path / "in" / "train" / "a" / "1.jpg", 32).astype(int) - found)
    assert difference.mean() < 1
    assert difference.max() <= 4


def test_built_in_sets(tmp_path: Path) -> None:
    digits = prepared("digits", tmp_path / "digits", size=None, channels=1, shard_pictures=None)
    assert digits.shape == (32, 32, 1)
    assert [digits.splits[split].pictures for split in Split] == [1438, 359]
    shrunk = prepared(tmp_path / "digits", tmp_path / "again", size=None, shard_pictures=500)
    assert [shard.pictures for shard in shrunk.splits[Split.TRAIN].shards] == [500, 500, 438]
    for split in Split:
        assert (pictures_of(tmp_path / "digits", split)[0] == pictures_of(tmp_path / "again", split)[0]).all()


def test_a_size_that_stored_squares_do_not_have(tmp_path: Path) -> None:
    prepared(flowers(tmp_path / "in"), tmp_path / "squares")
    with pytest.raises(DiagnosticError, match="CS726: the pictures of squares are stored as 3x8x8") as caught:
        prepared(tmp_path / "squares", tmp_path / "out", size=16)
    assert "leave out --size" in str(caught.value.diagnostics[0].help)


def test_threads_change_no_byte(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in", each=20)
    broken(source / "rose")
    prepared(source, tmp_path / "one", jobs=1)
    prepared(source, tmp_path / "four", jobs=4)
    assert digests(tmp_path / "one") == digests(tmp_path / "four")


def test_more_broken_files_than_the_limit(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in", each=20)
    bad = broken(source / "rose")
    with pytest.raises(DiagnosticError, match=r"CS703: more than 3 of 46 files under in are broken") as caught:
        prepared(source, tmp_path / "out", limit_broken=3)
    assert "--limit-broken" in str(caught.value.diagnostics[0].help)
    told: list[Diagnostic] = []
    prepared(source, tmp_path / "out", limit_broken=len(bad), notify=told.append)
    assert len(told) < len(bad) + 1, "what was named once is not named again, as far as its shard was done"
    prepared(source, tmp_path / "undisturbed", limit_broken=len(bad))
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")


def test_the_limit_holds_across_interruptions(tmp_path: Path) -> None:
    source = tmp_path / "in"
    flowers(source / "train", each=8)
    flowers(source / "val", each=2)
    for i in range(4):
        (source / "train" / "rose" / f"{2 * i}.jpg").write_bytes(b"")
    progress = Quiet()
    with pytest.raises(Stopped):
        prepared(source, tmp_path / "out", limit_broken=3, progress=progress, is_stopped=lambda: progress.done >= 6)
    with pytest.raises(DiagnosticError, match="CS703: more than 3 of 20 files"):
        prepared(source, tmp_path / "out", limit_broken=3)


def test_a_shard_without_a_good_picture(tmp_path: Path) -> None:
    source = tmp_path / "in"
    flowers(source / "train", each=6)
    flowers(source / "val", each=1)
    for i in range(4):
        (source / "train" / "rose" / f"{i}.jpg").write_bytes(b"")
    manifest = prepared(source, tmp_path / "out")
    assert [shard.file.name for shard in manifest.splits[Split.TRAIN].shards] == ["train-00001.npy", "train-00002.npy"]
    assert pictures_of(tmp_path / "out", Split.TRAIN)[1] == ["rose"] * 2 + ["tulip"] * 6


def test_no_good_picture_at_all(tmp_path: Path) -> None:
    source = tmp_path / "in"
    flowers(source / "train", each=2)
    flowers(source / "val", each=1)
    for path in (source / "val").rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DiagnosticError, match="CS702: no picture of the test split can be read"):
        prepared(source, tmp_path / "out")


def test_a_stop_keeps_what_is_whole_and_goes_on(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in", each=20)
    prepared(source, tmp_path / "undisturbed")
    for after in (1, 5, 17, 39):
        progress = Quiet()
        with pytest.raises(Stopped, match="of 40 pictures; type the same command again"):
            prepared(source, tmp_path / "out", progress=progress, is_stopped=lambda p=progress, n=after: p.done >= n)
        assert not list((tmp_path / "out").rglob("*.part"))
    progress = Quiet()
    prepared(source, tmp_path / "out", progress=progress)
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")
    assert progress.done == 40


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = flowers(tmp_path / "in", each=20)
    progress = Quiet()
    with pytest.raises(Stopped):
        prepared(source, tmp_path / "out", jobs=1, progress=progress, is_stopped=lambda: progress.done >= 17)
    for i in range(4):  # its first pictures must not be opened
        file = source / "rose" / f"{i}.jpg"
        file.write_bytes(bytes(file.stat().st_size))
    prepared(source, tmp_path / "out", limit_broken=0)
    before = digests(tmp_path / "out")
    prepared(source, tmp_path / "out")
    assert digests(tmp_path / "out") == before


def test_a_line_of_the_journal_that_was_cut_short_costs_that_line(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in", each=20)
    prepared(source, tmp_path / "undisturbed")
    for after in (13, 25):
        progress = Quiet()
        with pytest.raises(Stopped):
            prepared(
                source, tmp_path / "out", jobs=1, progress=progress, is_stopped=lambda p=progress, n=after: p.done >= n
            )
        with (tmp_path / "out" / WORK / "journal.jsonl").open("ab") as file:
            file.write(b'{"split": "tra')
    progress = Starts()
    prepared(source, tmp_path / "out", progress=progress)
    assert progress.begun >= 20, "what was written after the first cut is counted on"
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")


class Starts(Quiet):
    """begun: pictures that were done at the start."""

    def start(self, what: str, total: int, done: int) -> None:
        super().start(what, total, done)
        self.begun = done


@pytest.mark.parametrize("length", [None, 0, 500])
def test_a_shard_that_went_away_is_made_again(tmp_path: Path, length: int | None) -> None:
    source = flowers(tmp_path / "in", each=20)
    prepared(source, tmp_path / "undisturbed")
    progress = Quiet()
    with pytest.raises(Stopped):
        prepared(source, tmp_path / "out", jobs=1, progress=progress, is_stopped=lambda: progress.done >= 17)
    if length is None:
        (tmp_path / "out" / "train-00001.npy").unlink()
    else:
        os.truncate(tmp_path / "out" / "train-00001.npy", length)
    prepared(source, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """A process is killed (SIGKILL) at each write, sync and rename in turn; then the same command ends the work."""
    source = flowers(tmp_path / "in", each=4)
    (source / "rose" / "2.jpg").write_bytes(b"")
    prepared(source, tmp_path / "undisturbed", shard_pictures=3)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "tests.data.killing", str(source), str(tmp_path / "undisturbed"), str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kills = int(done.stdout.split()[0])
    assert kills > 30, "there are that many moments"


def test_another_plan_is_refused(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in")
    progress = Quiet()
    with pytest.raises(Stopped):
        prepared(source, tmp_path / "out", progress=progress, is_stopped=lambda: progress.done >= 2)
    with pytest.raises(DiagnosticError, match=r"CS726: .*out was begun with shape \[8, 8, 3\], not \[9, 9, 3\]"):
        prepared(source, tmp_path / "out", size=9)
    with pytest.raises(DiagnosticError, match=r"CS726: .*out was begun with shard_pictures 4, not 5"):
        prepared(source, tmp_path / "out", shard_pictures=5)
    (source / "rose" / "0.jpg").rename(source / "rose" / "00.jpg")
    with pytest.raises(DiagnosticError, match=r"CS726: .*out was begun from another SRC"):
        prepared(source, tmp_path / "out")
    colorful(99, 9, 9).save(source / "rose" / "1.jpg")
    (source / "rose" / "00.jpg").rename(source / "rose" / "0.jpg")
    with pytest.raises(DiagnosticError, match=r"CS726: .*out was begun from .* pictures that have changed since"):
        prepared(source, tmp_path / "out")
    for content in ("[]", "[" * 100_000):
        (tmp_path / "out" / ".prepare" / "plan.json").write_text(content)
        with pytest.raises(DiagnosticError, match=r"CS726: .*out was begun with .* None, not"):
            prepared(source, tmp_path / "out")


@pytest.mark.parametrize("is_archive", [False, True])
def test_what_an_earlier_version_began_goes_on(tmp_path: Path, is_archive: bool) -> None:
    """It recorded the names of the pictures, and not their sizes."""
    source = flowers(tmp_path / "in")
    if is_archive:
        source = Path(shutil.make_archive(str(tmp_path / "in"), "tar", source))
    found = open_source(str(source), Choice(8, None, 0.2), lambda diagnostic: None)
    assert isinstance(found, FolderSource | ArchiveSource)
    names = Layout(found.classes, found.samples, []).digest(found.kind.encode())
    assert names != found.digest
    progress = Quiet()
    with pytest.raises(Stopped):
        prepared(source, tmp_path / "out", progress=progress, is_stopped=lambda: progress.done >= 2)
    plan = tmp_path / "out" / WORK / "plan.json"
    plan.write_text(plan.read_text().replace(found.digest, names))
    manifest = prepared(source, tmp_path / "out")
    assert manifest.prepared["digest"] == names
    assert prepared(source, tmp_path / "out").to_bytes() == manifest.to_bytes()


def test_a_folder_that_is_prepared_already(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in")
    before = prepared(source, tmp_path / "out")
    assert prepared(source, tmp_path / "out").to_bytes() == before.to_bytes()
    with pytest.raises(DiagnosticError, match=r"CS726: .*out was prepared with test_share 0\.2, not 0\.5"):
        prepared(source, tmp_path / "out", share=0.5)


@pytest.mark.parametrize("jobs", [1, 3])
def test_damaged_shards_are_made_again(tmp_path: Path, jobs: int) -> None:
    source = flowers(tmp_path / "in", each=20)
    (source / "rose" / "3.jpg").write_bytes(b"")
    manifest = prepared(source, tmp_path / "out")
    before = digests(tmp_path / "out")
    (tmp_path / "out" / "train-00002.npy").unlink()
    os.truncate(tmp_path / "out" / "train-00000.npy", 77)
    flip(tmp_path / "out" / "test-00001.npy")
    told: list[Diagnostic] = []
    progress = Starts()
    again = prepared(source, tmp_path / "out", jobs=jobs, notify=told.append, progress=progress)
    assert again.to_bytes() == manifest.to_bytes()
    assert digests(tmp_path / "out") == before
    assert progress.begun == 40 - 3 * 4, "the others are left alone"
    assert sorted(d.message.split("/")[-1] for d in told if d.code == "CS724") == [
        "test-00001.npy is damaged: its bytes are not those that were written: its checksum is another; it is made again",
        "train-00000.npy is damaged: it is cut short: 77 bytes of 896; it is made again",
        "train-00002.npy is damaged: it is missing; it is made again",
    ]
    assert pictures_of(tmp_path / "out", Split.TEST)[0].shape == (8, 8, 8, 3)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 2
    path.write_bytes(content)


def test_a_repair_that_is_stopped_goes_on(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in", each=20)
    prepared(source, tmp_path / "out")
    before = digests(tmp_path / "out")
    for number in range(8):
        flip(tmp_path / "out" / f"train-0000{number}.npy")
    progress = Quiet()
    with pytest.raises(Stopped):
        prepared(source, tmp_path / "out", jobs=1, progress=progress, is_stopped=lambda: progress.done >= 22)
    prepared(source, tmp_path / "out")
    assert digests(tmp_path / "out") == before


def test_damage_that_cannot_be_repaired(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in", each=20, form="bmp")
    prepared(source, tmp_path / "out")
    flip(tmp_path / "out" / "train-00000.npy")
    colorful(99).save(source / "rose" / "0.bmp")
    colorful(99).save(source / "rose" / "1.bmp")
    with pytest.raises(DiagnosticError, match=r"CS724: .*train-00000\.npy was made again, and is not what it was"):
        prepared(source, tmp_path / "out")
    flip(tmp_path / "out" / "train-labels.npy")
    with pytest.raises(DiagnosticError, match=r"CS724: .*train-labels\.npy is damaged"):
        prepared(source, tmp_path / "out")


def test_a_folder_with_something_else_in_it(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(DiagnosticError, match=r"CS726: .*out is not empty"):
        prepared(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    with pytest.raises(DiagnosticError, match=r"CS726: .* lies inside"):
        prepared(source, source / "out")
    with pytest.raises(DiagnosticError, match=r"CS726: cannot write to .*File exists"):
        prepared(source, tmp_path / "in" / ".." / "out" / "thesis.tex")


def test_two_at_once(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    source = flowers(tmp_path / "in")

    def another() -> bool:
        with pytest.raises(DiagnosticError, match="CS726: another process is preparing"):
            prepared(source, tmp_path / "out")
        return True

    with pytest.raises(Stopped):
        prepared(source, tmp_path / "out", is_stopped=another)


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(DiagnosticError, match=r"CS711: the pictures take 0\.0 GB"):
        prepared(flowers(tmp_path / "in"), tmp_path / "out")


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fifth sync fails as on a full disk; once there is room, the same command goes on to the same bytes."""
    source = flowers(tmp_path / "in", each=20)
    prepared(source, tmp_path / "undisturbed")
    sync, calls = os.fsync, iter(range(100))

    def full(descriptor: int) -> None:
        if next(calls) >= 5:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DiagnosticError, match="CS711: the disk is full, while writing to") as caught:
            prepared(source, tmp_path / "out")
    assert "type the same command again" in str(caught.value.diagnostics[0].help)
    prepared(source, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")


def test_names_that_would_move_the_cursor(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in")
    (source / "rose" / "a\x1b[2J\n.jpg").write_bytes(b"")
    (source / "rose" / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    prepared(source, tmp_path / "out")
    report = (tmp_path / "out" / "broken.txt").read_text()
    assert report == "rose/a\\x1b[2J\\x0a.jpg\tan empty file\nrose/\\udcff.jpg\tan empty file\n"

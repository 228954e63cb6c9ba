"""Data batches of cuda-convnet and CIFAR: pictures come out pixel by pixel, labels and means as the files say.

Batches are written as Python 2 wrote them, in both layouts, with pictures of random bytes.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convspec.data import BatchStream, Split, mean_image
from convspec.data.batch_folders import parse_numbers
from convspec.diagnostics import Diagnostic, DiagnosticError
from tests.data.batch_files import (
    BIG,
    CASES,
    LABELS,
    NAMES,
    SIDE,
    cases,
    matrix,
    opened,
    pictures,
    strings,
    write_jpegs,
    write_matrices,
)
from tests.data.python2 import dumps
from tests.data.settings import Settings

# matrices


LAYOUTS = ("python", "column", "Fortran")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_come_out_pixel_by_pixel(layout: str, tmp_path: Path) -> None:
    dataset = opened(write_matrices(tmp_path / "set", layout))
    assert dataset.classes == tuple(NAMES)
    assert dataset.shape == (SIDE, SIDE, 3)
    train, labels = pictures(dataset, Split.TRAIN)
    np.testing.assert_array_equal(train, np.concatenate([cases(1)[0], cases(2)[0]]))
    assert labels == cases(1)[1] + cases(2)[1]
    test, labels = pictures(dataset, Split.TEST)
    np.testing.assert_array_equal(test, cases(3)[0])
    assert labels == cases(3)[1]


def test_a_square_matrix_is_read_by_what_lies_beside_it(tmp_path: Path) -> None:
    """As many pictures as numbers a picture: a mean in the description means columns."""
    count = 3 * SIDE * SIDE
    for layout in ("python", "column"):
        root = write_matrices(tmp_path / layout, layout)
        images, labels = cases(1, count)
        (root / "data_batch_1").write_bytes(dumps({"data": matrix(images, layout), "labels": labels}))
        np.testing.assert_array_equal(pictures(opened(root), Split.TRAIN)[0][:count], images)


def test_equal_pictures_are_one_dataset_whatever_the_layout(tmp_path: Path) -> None:
    prints = {opened(write_matrices(tmp_path / layout, layout)).fingerprint for layout in LAYOUTS}
    assert len(prints) == 1
    images, labels = cases(2)
    images[0, 0, 0, 0] ^= 1
    (tmp_path / "column" / "data_batch_2").write_bytes(dumps({"data": matrix(images, "column"), "labels": labels}))
    assert opened(tmp_path / "column").fingerprint not in prints


def test_the_mean_is_that_of_the_file(tmp_path: Path) -> None:
    root = write_matrices(tmp_path / "set", "column")
    taken = np.stack([cases(n)[0] for n in (1, 2)]).mean((0, 1)).astype(np.float32)
    np.testing.assert_array_equal(mean_image(opened(root), "image"), taken)
    own = np.arange(3 * SIDE * SIDE, dtype=np.float32).reshape(-1, 1)
    (root / "batches.meta").write_bytes(dumps({"label_names": NAMES, "data_mean": own}))
    np.testing.assert_array_equal(mean_image(opened(root), "image"), own.reshape(3, SIDE, SIDE).transpose(1, 2, 0))
    assert not mean_image(opened(root), "none").any()
    channel = mean_image(opened(root), "channel")
    np.testing.assert_allclose(channel[3, 5], own.reshape(3, -1).mean(1), rtol=1e-6)
    (root / "batches.meta").write_bytes(dumps({"label_names": NAMES}))
    np.testing.assert_allclose(mean_image(opened(root), "image"), taken, atol=1e-4)


@pytest.mark.parametrize(
    ("train", "test", "trained", "tested"),
    [
        ("", "", [1, 2], [3]),
        ("1", "", [1], [3]),
        ("", "1", [2, 3], [1]),
        ("2-3", "1", [2, 3], [1]),
        ("3,1", "2", [3, 1], [2]),
        ("1", "2-3", [1], [2, 3]),
    ],
)
def test_batches_are_chosen_by_number(
    train: str, test: str, trained: list[int], tested: list[int], tmp_path: Path
) -> None:
    root = write_matrices(tmp_path / "set", "column")
    dataset = opened(root, Settings("cifar", train_batches=train, test_batches=test))
    assert pictures(dataset, Split.TRAIN)[1] == [label for n in trained for label in cases(n)[1]]
    assert pictures(dataset, Split.TEST)[1] == [label for n in tested for label in cases(n)[1]]


def test_ten_comes_after_nine(tmp_path: Path) -> None:
    dataset = opened(write_matrices(tmp_path / "set", "column", batches=11))
    assert pictures(dataset, Split.TRAIN)[1] == [label for n in range(1, 11) for label in cases(n)[1]]


def test_the_layout_of_cifar_100(tmp_path: Path) -> None:
    for number, name in ((1, "train"), (2, "test")):
        images, labels = cases(number)
        value = {"filenames": ["x"] * CASES, "data": matrix(images, "python"), "coarse_labels": [0] * CASES}
        (tmp_path / name).write_bytes(dumps({**value, "fine_labels": labels}))
    (tmp_path / "meta").write_bytes(dumps({"fine_label_names": NAMES, "coarse_label_names": ["all"]}))
    dataset = opened(tmp_path)
    assert dataset.classes == tuple(NAMES)
    assert pictures(dataset, Split.TRAIN)[1] == cases(1)[1]
    np.testing.assert_array_equal(pictures(dataset, Split.TEST)[0], cases(2)[0])


def test_labels_as_an_array_and_grey_pictures(tmp_path: Path) -> None:
    grey = np.arange(2 * 16, dtype=np.uint8).reshape(16, 2)
    for name in ("data_batch_1", "data_batch_2"):
        (tmp_path / name).write_bytes(dumps({"data": grey, "labels": np.array([[1.0, 3.0]], np.float32)}))
    (tmp_path / "batches.meta").write_bytes(dumps({"label_names": NAMES}))
    dataset = opened(tmp_path, shape=(1, 4, 4))
    images, labels = pictures(dataset, Split.TRAIN)
    assert labels == [1, 3]
    np.testing.assert_array_equal(images[1, :, :, 0], grey[:, 1].reshape(4, 4))


def test_crops_are_those_of_the_seed(tmp_path: Path) -> None:
    """A crop and its mirror come from the picture; the same seed, epoch and place give the same bits."""
    dataset = opened(write_matrices(tmp_path / "set", "column"), shape=(3, 6, 6))

    def stream(split: Split, start: int = 0, seed: int = 3) -> list[tuple[np.ndarray[Any, Any], list[int]]]:
        with BatchStream(
            dataset, split, batch_size=5, crop=(6, 6), mirror=True, seed=seed, epoch=2, start=start
        ) as batches:
            return [(batch.images.copy(), batch.labels.tolist()) for batch in batches]

    whole, rest = stream(Split.TRAIN), stream(Split.TRAIN, start=1)
    for (images, labels), (again, same) in zip(whole[1:], rest, strict=True):
        np.testing.assert_array_equal(images, again)
        assert labels == same
    assert any((a[0] != b[0]).any() for a, b in zip(whole, stream(Split.TRAIN, seed=4), strict=True))
    [(middle, _), *_] = stream(Split.TEST)
    np.testing.assert_array_equal(middle, cases(3)[0][:5, 1:7, 1:7])
    everything = np.concatenate([cases(1)[0], cases(2)[0]])
    for image in np.concatenate([images for images, _ in whole]):
        crops = [p[y : y + 6, x : x + 6] for p in everything for y in range(3) for x in range(3)]
        assert any((crop == image).all() or (crop[:, ::-1] == image).all() for crop in crops)


# JPEG files


def decoded(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def packed(value: Any) -> bytes:
    return gzip.compress(dumps(value))


@pytest.mark.parametrize("wrap", [dumps, packed])
def test_jpeg_files_come_out_as_they_decode(wrap: Callable[[Any], bytes], tmp_path: Path) -> None:
    dataset = opened(write_jpegs(tmp_path / "set", wrap))
    assert dataset.classes == tuple(NAMES)
    assert dataset.shape == (BIG, BIG, 3)
    for split, number in ((Split.TRAIN, 1), (Split.TEST, 2)):
        images, labels = pictures(dataset, split)
        np.testing.assert_array_equal(images, np.stack([decoded(each) for each in strings(number)]))
        assert all(label in allowed for label, allowed in zip(labels, LABELS, strict=True))
    dataset.close()


def test_the_description_of_jpeg_batches(tmp_path: Path) -> None:
    dataset = opened(write_jpegs(tmp_path / "set"))
    mean = mean_image(dataset, "image")
    assert mean[1, 2, 1] == BIG * BIG + BIG + 2
    assert dataset.color_pca is not None
    np.testing.assert_array_equal(dataset.color_pca[0], [3, 2, 1])
    np.testing.assert_array_equal(dataset.color_pca[1], np.eye(3))
    assert opened(write_jpegs(tmp_path / "plain", color_pca=None)).color_pca is None


def test_one_of_several_labels_is_drawn_at_each_use(tmp_path: Path) -> None:
    root = write_jpegs(tmp_path / "set")
    dataset = opened(root, seed=1)
    drawn = [pictures(dataset, Split.TRAIN, epoch)[1] for epoch in range(40)]
    for i, allowed in enumerate(LABELS):
        assert {labels[i] for labels in drawn} == set(allowed)
    again = opened(root, seed=1)
    assert [pictures(again, Split.TRAIN, epoch)[1] for epoch in range(40)] == drawn
    other = opened(root, seed=2)
    assert [pictures(other, Split.TRAIN, epoch)[1] for epoch in range(40)] != drawn
    assert pictures(dataset, Split.TEST, 5)[1] == pictures(other, Split.TEST, 9)[1]


def test_all_labels_of_a_picture_as_a_row(tmp_path: Path) -> None:
    dataset = opened(write_jpegs(tmp_path / "set"))
    with BatchStream(dataset, Split.TEST, batch_size=6, crop=(BIG, BIG)) as batches:
        sets = next(batches).sets
    assert sets is not None
    assert [np.flatnonzero(row).tolist() for row in sets] == LABELS
    matrices = opened(write_matrices(tmp_path / "matrices", "column"))
    with BatchStream(matrices, Split.TEST, batch_size=6, crop=(SIDE, SIDE)) as batches:
        assert next(batches).sets is None


def test_labels_are_offset_and_those_of_2012_have_names(tmp_path: Path) -> None:
    root = write_jpegs(tmp_path / "set", label_offset=-1)
    pairs = [("n01440764", 1), ("n02", 3), ("n03", 4), ("n04", 2), ("n05", 1), ("n06", 1)]
    for part in (0, 1):
        (root / "data_batch_1" / f"data_batch_1.{part}").write_bytes(
            dumps((strings(1)[3 * part : 3 * part + 3], [0] * 3, pairs[3 * part : 3 * part + 3]))
        )
    (root / "data_batch_2").write_bytes(dumps((strings(2), [0] * 6, pairs)))
    assert pictures(opened(root), Split.TRAIN)[1] == [0, 2, 3, 1, 0, 0]


def test_a_broken_picture_is_named_and_another_stands_in_for_it(tmp_path: Path) -> None:
    root = write_jpegs(tmp_path / "set")
    broken = [b"no picture" * 20, strings(2)[1][:300], *strings(2)[2:]]
    (root / "data_batch_2").write_bytes(dumps({"data": broken, "labels": LABELS}))
    told: list[Diagnostic] = []
    dataset = opened(root, notify=told.append)
    images, labels = pictures(dataset, Split.TEST)
    np.testing.assert_array_equal(images[0], decoded(strings(2)[2]))
    np.testing.assert_array_equal(images[1], images[0])
    assert labels[:3] == [3, 3, 3]
    assert sorted({d.code for d in told}) == ["CS703"]
    assert any("data_batch_2[0]: not a picture" in d.message for d in told)
    assert np.flatnonzero(dataset.label_sets(Split.TEST, np.array([0]))[0]).tolist() == [3]
    assert pictures(dataset, Split.TEST)[1] == labels


def test_too_many_broken_pictures_end_it(tmp_path: Path) -> None:
    root = write_jpegs(tmp_path / "set")
    many = [b"x" * 100] * 30
    (root / "data_batch_2").write_bytes(dumps({"data": many, "labels": [[0]] * 30}))
    with pytest.raises(DiagnosticError, match="CS703: more than 10 of 36"):
        pictures(opened(root), Split.TEST)


def test_a_split_of_few_broken_pictures_ends(tmp_path: Path) -> None:
    """Fewer than are skipped elsewhere; there is none left to stand in for them."""
    root = write_jpegs(tmp_path / "set")
    (root / "data_batch_2").write_bytes(dumps({"data": [b"x" * 100] * 6, "labels": LABELS}))
    with pytest.raises(DiagnosticError, match=r"CS703: all 6 pictures of the \w+ split"):
        pictures(opened(root), Split.TEST)


def test_pictures_without_labels_are_left_out(tmp_path: Path) -> None:
    root = write_jpegs(tmp_path / "set")
    (root / "data_batch_2").write_bytes(dumps({"data": strings(2), "labels": [[], [1], [], [2], [3], []]}))
    told: list[Diagnostic] = []
    dataset = opened(root, notify=told.append)
    images, labels = pictures(dataset, Split.TEST)
    assert labels == [1, 2, 3]
    np.testing.assert_array_equal(images[1], decoded(strings(2)[3]))
    assert [(d.code, d.severity.value) for d in told] == [("CS723", "warning")]


def test_grey_networks_and_small_inputs(tmp_path: Path) -> None:
    root = write_jpegs(tmp_path / "set")
    assert opened(root, shape=(1, 20, 20)).shape == (BIG, BIG, 1)
    with pytest.raises(DiagnosticError, match="CS705"):
        opened(root, shape=(3, 33, 33))


# what does not fit


def spoil_batch(**entries: Any) -> Callable[[Path], object]:
    images, labels = cases(2)
    value = {"data": matrix(images, "column"), "labels": labels, **entries}
    return lambda root: (root / "data_batch_2").write_bytes(dumps(value))


def spoil_meta(**entries: Any) -> Callable[[Path], object]:
    return lambda root: (root / "batches.meta").write_bytes(dumps({"label_names": NAMES, **entries}))


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (spoil_batch(data=None), "CS723", "'data' is None, not a matrix of bytes"),
        (spoil_batch(data=np.zeros((192, CASES), np.float32)), "CS723", "type float32, not a matrix of bytes"),
        (spoil_batch(data=np.zeros((192, 5), np.uint8)), "CS723", "it has 6 labels, and 'data' is 192x5"),
        (spoil_batch(data=np.zeros((191, CASES), np.uint8)), "CS723", "pictures of 191 numbers"),
        (spoil_batch(data=np.zeros((48, CASES), np.uint8)), "CS723", "its pictures are 3x4x4"),
        (spoil_batch(labels=None), "CS723", "'labels' is None"),
        (spoil_batch(labels=[]), "CS723", "'labels' is a list of length 0"),
        (spoil_batch(labels=["x"] * CASES), "CS723", "'labels' is a list of length 6, not a list of whole numbers"),
        (spoil_batch(labels=[-1] * CASES), "CS723", "no whole number from 0 on"),
        (spoil_batch(labels=np.full(CASES, 0.5)), "CS723", "holds what is no whole number from 0 on"),
        (spoil_batch(labels=[9] * CASES), "CS723", "label 9, and there are 4 names"),
        (spoil_meta(data_mean=np.zeros(5, np.float32)), "CS723", "data_mean is an array of shape 5"),
        (spoil_meta(data_mean=np.full(192, np.nan, np.float32)), "CS723", "not finite"),
        (spoil_meta(num_colors=5), "CS723", "are not 5 square planes"),
        (lambda root: (root / "batches.meta").write_bytes(dumps([1])), "CS723", "a list of length 1, not a dictionary"),
        (lambda root: (root / "batches.meta").write_bytes(b"x"), "CS720", "batches.meta cannot be read"),
        (lambda root: (root / "data_batch_2").write_bytes(dumps(3)), "CS723", "not a dictionary with 'data'"),
        (lambda root: (root / "data_batch_1").write_bytes(dumps({})), "CS723", "without pictures under 'data'"),
        (lambda root: (root / "data_batch_1").write_bytes(b"(" * 50), "CS720", "data_batch_1 cannot be read"),
        (lambda root: [path.unlink() for path in root.glob("data_*")], "CS723", "no batch is left for training"),
        (lambda root: [(root / f"data_batch_{n}").unlink() for n in (1, 2)], "CS723", "is left for training"),
    ],
)
def test_what_does_not_fit_is_told(spoil: Callable[[Path], object], code: str, says: str, tmp_path: Path) -> None:
    root = write_matrices(tmp_path / "set", "column")
    spoil(root)
    with pytest.raises(DiagnosticError) as caught:
        opened(root)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.code == code
    assert says in diagnostic.message


@pytest.mark.parametrize("length", range(1, 900, 61))
def test_a_batch_that_is_cut_short_is_told(length: int, tmp_path: Path) -> None:
    root = write_matrices(tmp_path / "set", "column")
    (root / "data_batch_2").write_bytes((root / "data_batch_2").read_bytes()[:length])
    with pytest.raises(DiagnosticError, match="CS720"):
        opened(root)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"data": strings(2), "labels": LABELS[:5]}, "it has 6 pictures and 5 labels"),
        ({"data": [1] * 6, "labels": LABELS}, "picture 0 is a value of type int"),
        ({"data": strings(2), "labels": [["x"]] * 6}, "that is no number of a class"),
        ({"data": strings(2), "labels": [[7]] * 6}, "label 7, and there are 4 names"),
        ({"data": strings(2), "labels": [[]] * 6}, "no picture in data_batch_2 has a label"),
        ({"data": 3}, "not JPEG strings under 'data'"),
    ],
)
def test_jpeg_batches_that_do_not_fit(value: Any, says: str, tmp_path: Path) -> None:
    root = write_jpegs(tmp_path / "set")
    (root / "data_batch_2").write_bytes(dumps(value))
    with pytest.raises(DiagnosticError, match="CS723") as caught:
        opened(root)
    assert says in caught.value.diagnostics[0].message


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({"num_vis": 3000}, "'num_vis' of batches.meta"),
        ({"num_vis": None}, "'num_vis' of batches.meta"),
        ({"color_pca": 3}, "'color_pca' of batches.meta"),
        ({"data_mean": "x"}, "data_mean is a str"),
    ],
)
def test_descriptions_that_do_not_fit(meta: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="CS723") as caught:
        opened(write_jpegs(tmp_path / "set", **meta))
    assert says in caught.value.diagnostics[0].message


def test_an_empty_folder_of_a_batch(tmp_path: Path) -> None:
    root = write_jpegs(tmp_path / "set")
    for file in (root / "data_batch_1").iterdir():
        file.rename(file.with_name("x"))
    with pytest.raises(DiagnosticError, match=r"CS723.*without files named"):
        opened(root)


def test_the_provider_has_to_be_what_is_there(tmp_path: Path) -> None:
    root = write_matrices(tmp_path / "set", "column")
    with pytest.raises(DiagnosticError, match=r"CS723.*batches of matrices, not of JPEG files"):
        opened(None, Settings("jpeg", str(root)))
    assert opened(None, Settings("cifar", str(root))).name == str(root)
    assert opened(root, Settings("jpeg", "elsewhere")).name == str(root)
    for nowhere in ("", str(tmp_path / "nowhere"), str(root / "data_batch_1")):
        with pytest.raises(DiagnosticError, match="CS701"):
            opened(None, Settings("cifar", nowhere))
    with pytest.raises(DiagnosticError, match=r"CS723.*no batches.meta"):
        opened(None, Settings("cifar", str(tmp_path)))
    with pytest.raises(DiagnosticError, match=r"CS723.*no data_batch_7"):
        opened(root, Settings("cifar", test_batches="7"))
    with pytest.raises(DiagnosticError, match="CS705"):
        opened(root, shape=(3, SIDE + 1, SIDE))
    with pytest.raises(DiagnosticError, match="CS713"):
        opened(root, shape=(1, SIDE, SIDE))


def test_numbers_of_batches() -> None:
    assert parse_numbers(" 1-3, 7,2 ", "train") == (1, 2, 3, 7)
    assert parse_numbers("", "train") == ()
    for wrong in ("x", "3-1", "1,", "1-", "-1", "1-9999999"):
        with pytest.raises(DiagnosticError, match="CS723"):
            parse_numbers(wrong, "train")

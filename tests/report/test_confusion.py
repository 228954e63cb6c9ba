"""The picture of a confusion: what stands where, how dark it is, and how many classes it takes."""

from __future__ import annotations

import numpy as np
import pytest

from convspec.diagnostics import DiagnosticError
from convspec.report.confusion import MOST_CLASSES, NAMED_CLASSES, check_drawable, draw_confusion
from convspec.train.confusion import Confusion


def confusion_of(classes: int, *pairs: tuple[int, int]) -> Confusion:
    found = Confusion([f"class {i}" for i in range(classes)])
    for label, prediction in pairs:
        found.add(np.eye(classes)[[prediction]], np.array([label]))
    return found


def test_a_row_a_class_and_darker_for_more() -> None:
    classes = NAMED_CLASSES + 1
    picture = np.asarray(draw_confusion(confusion_of(classes, (0, 0), (0, 0), (0, 3), (0, 3), (7, 5))))
    cell = 960 // classes
    assert picture.shape == (classes * cell, classes * cell, 3)
    at = picture[cell // 2 :: cell, cell // 2 :: cell]
    half = [round(255 + (dark - 255) / 2) for dark in (8, 48, 107)]
    assert abs(at[0, 0].astype(int) - half).max() <= 1
    assert np.array_equal(at[0, 0], at[0, 3])
    assert at[7, 5].tolist() == [8, 48, 107]
    assert (at != 255).any(2).sum() == 3


@pytest.mark.parametrize("classes", [2, 10, NAMED_CLASSES])
def test_names_stand_at_the_top_and_at_the_left(classes: int) -> None:
    confusion = confusion_of(classes, (0, 1))
    plain = np.asarray(draw_confusion(confusion))
    side = classes * min(28, 960 // classes)
    margin = plain.shape[0] - side - 1
    assert plain.shape[0] == plain.shape[1]
    assert (plain[: margin - 1, margin:] < 128).any()
    assert (plain[margin:, : margin - 1] < 128).any()
    assert (plain[: margin - 1, : margin - 1] == 255).all()
    # each name beside its row
    cell = side // classes
    for i in range(classes):
        assert (plain[margin + i * cell : margin + (i + 1) * cell, : margin - 1] < 200).any()


def test_any_name_can_be_drawn() -> None:
    names = ["", " ", "\N{SNOWMAN}" * 3, "x" * 400, "a\nb", "\udcff"]
    confusion = Confusion(names)
    confusion.add(np.eye(6), np.arange(6))
    assert draw_confusion(confusion).size[0] < 6 * 28 + 300


def test_too_many_classes() -> None:
    check_drawable(MOST_CLASSES)
    with pytest.raises(DiagnosticError, match=r"CS740: 4,097 classes are too many for a picture") as caught:
        check_drawable(MOST_CLASSES + 1)
    assert "csv" in (caught.value.diagnostics[0].help or "")

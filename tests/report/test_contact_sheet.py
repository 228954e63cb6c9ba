"""Contact sheets by their pixels: the pictures in their places, names beside them."""

from __future__ import annotations

import numpy as np

from convspec.report.contact_sheet import COLUMNS, SIDE, Row, draw_sheet

RED, GREEN = (200, 10, 10), (10, 180, 10)


def plain(color: tuple[int, int, int], height: int = 40, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def sheet(rows: list[Row], title: str = "flowers") -> np.ndarray:
    return np.asarray(draw_sheet(title, rows)).astype(int)


def where(pixels: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of all that has a colour."""
    rows, columns = np.nonzero((pixels == color).all(axis=2))
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1


def test_each_class_has_its_row() -> None:
    pixels = sheet([Row("rose", 5, [plain(RED)] * 3), Row("tulip", 2, [plain(GREEN)])])
    red, green = where(pixels, RED), where(pixels, GREEN)
    assert green[0] > red[0] + SIDE
    assert green[1] == red[1]
    assert red[2:] == (SIDE, 3 * SIDE + 2 * 6)
    assert green[2:] == (SIDE, SIDE)


def test_names_and_counts_stand_at_the_left() -> None:
    rows = [Row("rose", 1234, [plain(RED)]), Row("", 0, [])]
    pixels = sheet(rows)
    top, left, *_ = where(pixels, RED)
    names = pixels[top : top + SIDE, : left - 1]
    assert (names.min(axis=2) < 100).any(), "the name is dark"
    assert (names[:, -6:] == 255).all(), "nothing runs into the pictures"
    longer = sheet([Row("rose" * 50, 1234, [plain(RED)]), rows[1]])
    assert (longer[top : top + SIDE, left - 6 : left] == 255).all()
    assert (longer[:, left:] == pixels[:, left:]).all()


def test_pictures_that_are_not_square_keep_their_proportions() -> None:
    assert where(sheet([Row("wide", 1, [plain(RED, 20, 40)])]), RED)[2:] == (SIDE // 2, SIDE)


def test_a_broken_picture_leaves_its_place_grey() -> None:
    pixels = sheet([Row("rose", 2, [None, plain(RED)])])
    top, left, *_ = where(pixels, RED)
    before = pixels[top : top + SIDE, left - 6 - SIDE : left - 6].reshape(-1, 3)
    assert (before == before[0]).all()
    assert before[0].min() < 255


def test_no_more_than_a_row_holds() -> None:
    full = [plain(RED)] * COLUMNS
    assert (sheet([Row("rose", 99, [*full, plain(GREEN)])]) == sheet([Row("rose", 99, full)])).all()


def test_grey_pictures() -> None:
    assert where(sheet([Row("grey", 1, [np.full((9, 9, 1), 77, np.uint8)])]), (77, 77, 77))[2:] == (SIDE, SIDE)

"""Panels of pictures: places, proportions, bars, and words that fit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convspec.report import letters
from convspec.report.letters import draw_text
from convspec.report.panels import OTHER, RIGHT, SIDE, Found, Guess, Guessed, draw_guesses, draw_neighbours

GREY = np.full((SIDE, SIDE, 1), 100, np.uint8)
TOP = 16 + SIDE + 22


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image.convert("RGB")).astype(np.int64)


def has_color(found: NDArray[np.int64], color: str) -> NDArray[np.bool_]:
    is_it: NDArray[np.bool_] = (found == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(2)
    return is_it


def written(text: str, width: float = 1000) -> NDArray[np.int64]:
    image = Image.new("RGB", (1200, 40), "#ffffff")
    draw_text(ImageDraw.Draw(image), (4, 20), text, size=13, color="#000000", width=width, anchor="lm")
    return pixels(image)


def test_bars_are_as_long_as_guesses_are_probable() -> None:
    """Without words, so that nothing hides a bar; what is not between 0 and 1 is taken for the nearest that is."""
    numbers = [0.75, 0.5, 0.25, 0.0, 1.5, -1.0]
    panel = pixels(draw_guesses([Guessed(GREY, None, [Guess(" ", number) for number in numbers])]))
    lengths = [has_color(panel, OTHER)[TOP + i * 23 + 10].sum() for i in range(len(numbers))]
    assert lengths == [0.75 * SIDE, 0.5 * SIDE, 0.25 * SIDE, 2, SIDE, 2]
    assert not has_color(panel, RIGHT).any()


def test_the_right_bar_alone_is_red() -> None:
    guesses = [Guess(" ", 0.5, is_right=i == 1) for i in range(3)]
    panel = pixels(draw_guesses([Guessed(GREY, "label", guesses)]))
    assert [has_color(panel, RIGHT)[TOP + i * 23 : TOP + i * 23 + 20].any() for i in range(3)] == [False, True, False]
    assert (panel[TOP - 22 : TOP] < 100).any(), "the label is written beneath the picture"


def test_nine_cells_take_three_rows() -> None:
    panel = draw_guesses([Guessed(GREY, None, [Guess("a", 1.0)])] * 9)
    assert panel.size == (16 + 4 * (SIDE + 16), 16 + 3 * (SIDE + 22 + 23 + 16))
    found = pixels(panel)
    assert (found[16 + 2 * (SIDE + 22 + 23 + 16) + 5, 16 + 5] == 100).all()
    assert (found[16 + 2 * (SIDE + 22 + 23 + 16) + 5, 16 + SIDE + 16 + 5] == 255).all(), "the tenth cell is empty"


def test_small_pictures_keep_their_pixels_and_tall_ones_their_proportions() -> None:
    checks = ((np.indices((8, 8)).sum(0) % 2)[:, :, None] * 255).astype(np.uint8)
    tall = np.full((200, 100, 3), (200, 0, 0), np.uint8)
    panel = pixels(draw_neighbours([(Found(checks, ""), [Found(tall, "")])]))
    first = panel[16 : 16 + SIDE, 16 : 16 + SIDE]
    assert np.unique(first).tolist() == [0, 255]
    assert (first[:20, :20] == 0).all()
    assert (first[:20, 20:40] == 255).all()
    second = panel[16 : 16 + SIDE, 16 + SIDE + 32 : 16 + SIDE + 32 + SIDE]
    is_red = (second == (200, 0, 0)).all(2)
    assert is_red.all(0).sum() == SIDE // 2
    assert is_red.any(0).argmax() == SIDE // 4


def test_words_are_shortened_to_their_place() -> None:
    text = "a name that is much longer than its place"
    found = written(text, width=90)
    columns = np.flatnonzero((found < 128).any((0, 2)))
    assert 60 < columns.max() < 4 + 90 + 1
    assert not np.array_equal(found, written(text))
    assert np.array_equal(written("short", width=90), written("short"))


def test_ascii_is_drawn_in_the_font_that_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("no font of the machine is asked for")

    monkeypatch.setattr(letters, "_of_machine", refuse)
    assert (written("plain") < 128).any()


def test_other_letters_where_the_machine_has_no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accents are left out rather than the letters under them."""
    monkeypatch.setattr(letters, "_FONTS_OF_MACHINES", ("no such font.ttf",))
    assert np.array_equal(written("Café Müller"), written("Cafe Muller"))
    assert (written("蘇") < 128).any(), "a box"
    assert np.array_equal(written("one\ntwo"), written("one\\x0atwo")), "one line"


def test_other_letters_in_a_font_of_the_machine() -> None:
    font = next((f for name in letters._FONTS_OF_MACHINES if (f := letters._of_machine(name, 13)) is not None), None)
    if font is None:
        pytest.skip("this machine has none of the fonts that are looked for")
    assert letters._count_missing("é", font) == 0
    assert letters._count_missing("\U0010ffff", font) == 1
    assert not np.array_equal(written("é"), written("e"))

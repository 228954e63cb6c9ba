"""Curves as SVG and as PNG: what stands in them, that both show the same, and that any values can be drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convspec.report.curve_picture import picture_of_curves
from convspec.report.curves import DASHES, Chart, Series, draw_curves, lay_out
from convspec.report.network_style import LIGHT

SVG = "{http://www.w3.org/2000/svg}"
FAST = [(step / 10, 0.9 / (1 + step / 10)) for step in range(61)]
SLOW = [(step / 10, 0.9 / (1 + step / 60)) for step in range(361)]
FIGURE = Chart(
    "Error on <digits> & more", "epochs", "training error", [Series("relu", [FAST]), Series("tanh", [SLOW])], 0.25, True
)


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def lines(root: ET.Element, kind: str) -> list[ET.Element]:
    return [line for line in root.iter(f"{SVG}polyline") if line.get("class") == kind]


def places(line: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in (line.get("points") or "").split())]


def test_axes_labels_legend_and_level() -> None:
    root = ET.fromstring(draw_curves(FIGURE))
    found = texts(root)
    assert found[:6] == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert found[6:10] == ["0", "10", "20", "30"]
    assert found[10:] == ["epochs", "training error", "Error on <digits> & more", "relu", "tanh"]
    dotted = [places(line) for line in lines(root, "axis") if line.get("stroke-dasharray") == "1 3"]
    ticks = {text.text: float(text.get("y") or 0) for text in root.iter(f"{SVG}text")}
    ((_, y), _) = dotted[0]
    assert y == pytest.approx(ticks["0%"] - 4 + (ticks["100%"] - ticks["0%"]) * 0.25, abs=0.2)


def test_curves_stand_where_their_values_are() -> None:
    root = ET.fromstring(draw_curves(FIGURE))
    ticks = {text.text: (float(text.get("x") or 0), float(text.get("y") or 0) - 4) for text in root.iter(f"{SVG}text")}
    left, bottom, top = ticks["0"][0], ticks["0%"][1], ticks["100%"][1]
    for kind, points in (("c0", FAST), ("c1", SLOW)):
        drawn = places(lines(root, kind)[0])
        x = [left + px * (ticks["30"][0] - left) / 30 for px, _ in points]
        y = [bottom + py * (top - bottom) for _, py in points]
        np.testing.assert_allclose(drawn, np.column_stack([x, y]), atol=0.2)


def test_the_first_line_is_solid_and_the_second_dashed_as_in_the_paper() -> None:
    root = ET.fromstring(draw_curves(FIGURE))
    assert [line.get("stroke-dasharray") for line in lines(root, "c0")] == [None, None]
    assert [line.get("stroke-dasharray") for line in lines(root, "c1")] == ["7 4", "7 4"]
    many = Chart("t", "x", "y", [Series(str(i), [FAST, SLOW]) for i in range(7)])
    root = ET.fromstring(draw_curves(many))
    assert len(lines(root, "c0")) == 2 * 3  # seven series in six colours, each two lines and a sample of them
    assert len({(line.get("class"), line.get("stroke-dasharray")) for line in root.iter(f"{SVG}polyline")}) == 7 + 1
    assert len(DASHES) % len(LIGHT) != 0


def test_the_same_curves_give_the_same_bytes_without_links_or_scripts() -> None:
    text = draw_curves(FIGURE)
    assert text == draw_curves(FIGURE)
    assert "<script" not in text
    assert "href" not in text
    assert "prefers-color-scheme:dark" in text


def test_the_picture_of_pixels_shows_the_same() -> None:
    picture = picture_of_curves(FIGURE, scale=2)
    plot = lay_out(FIGURE)
    assert picture.size == (1440, 920)
    pixels = np.asarray(picture).astype(int)
    assert (pixels[2, 2] == 255).all()
    for stroke in plot.strokes:
        if stroke.color != 0:
            continue
        color = [int(LIGHT[0][i : i + 2], 16) for i in (1, 3, 5)]
        for x, y in stroke.points[-40:]:  # further to the left the other line covers this one
            near = pixels[round(2 * y) - 3 : round(2 * y) + 4, round(2 * x) - 3 : round(2 * x) + 4].reshape(-1, 3)
            assert np.abs(near - color).sum(1).min() < 40
    (dashed,) = (stroke for stroke in plot.strokes if stroke.color == 1 and len(stroke.points) > 2)
    at_points = np.array([pixels[round(2 * y), round(2 * x)] for x, y in dashed.points])
    gaps = (at_points == 255).all(1).mean()
    assert 0.2 < gaps < 0.5  # 4 of 11 pixels
    dark = (pixels.sum(2) < 200).any(0)
    assert dark[40:120].any()  # the label that is read from below, and the numbers


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1e9), st.floats(allow_nan=True, allow_infinity=True)), max_size=5).map(sorted),
        max_size=4,
    ),
    st.booleans(),
    st.none() | st.floats(-1e12, 1e12),
)
def test_any_values_can_be_drawn(curves: list[list[tuple[float, float]]], is_share: bool, level: float | None) -> None:
    chart = Chart("\x1b[0m\ntitle", "x", "y", [Series("\x00 label", [curve]) for curve in curves], level, is_share)
    root = ET.fromstring(draw_curves(chart))
    for line in root.iter(f"{SVG}polyline"):
        assert all(-1 <= x <= 721 and -1 <= y <= 461 for x, y in places(line))
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x") or -1) <= 720
        assert 0 <= float(text.get("y") or -1) <= 460


def test_what_is_not_finite_is_left_out() -> None:
    chart = Chart("t", "x", "y", [Series("a", [[(0, 1.0), (1, nan), (2, inf), (3, 0.5)]])])
    assert len(places(lines(ET.fromstring(draw_curves(chart)), "c0")[0])) == 2
    assert picture_of_curves(Chart("t", "x", "y", []), scale=1).size == (720, 460)

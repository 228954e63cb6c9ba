"""Layouts of random graphs: nothing overlaps, lines go down and pass no box, chains are straight, columns keep apart."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convspec.report.layering import Levels, _with_bends, find_levels, order_levels
from convspec.report.layout import Box, Layout, lay_out
from convspec.report.text_width import text_width

Edges = list[tuple[str, str]]
Gpus = dict[str, tuple[int, ...]]


@st.composite
def graphs(draw: st.DrawFn, most_gpus: int = 1) -> tuple[dict[str, tuple[float, float]], Edges, Gpus]:
    """Boxes of several sizes; each node reads some of those before it."""
    count = draw(st.integers(1, 14))
    names = [f"n{i}" for i in range(count)]
    sizes = {name: (float(draw(st.integers(40, 200))), float(draw(st.integers(20, 90)))) for name in names}
    edges = [
        (source, target)
        for number, target in enumerate(names)
        for source in draw(st.sets(st.sampled_from(names[:number]), max_size=3) if number else st.just(set()))
    ]
    gpus = {name: tuple(sorted(draw(st.sets(st.integers(0, most_gpus - 1), min_size=1)))) for name in names}
    return sizes, sorted(edges, key=lambda e: (names.index(e[1]), names.index(e[0]))), gpus


def overlap(one: Box, other: Box) -> bool:
    apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
    apart_y = one.y + one.height <= other.y or other.y + other.height <= one.y
    return not (apart_x or apart_y)


def assert_good(layout: Layout, sizes: dict[str, tuple[float, float]], edges: Edges) -> None:
    boxes = layout.boxes
    assert {name: (box.width, box.height) for name, box in boxes.items()} == sizes
    assert [pair for pair in combinations(boxes, 2) if overlap(boxes[pair[0]], boxes[pair[1]])] == []
    for box in boxes.values():
        assert box.x >= -1e-6
        assert box.x + box.width <= layout.width + 1e-6
        assert 0 <= box.y <= box.y + box.height <= layout.height + 1e-6
    assert set(layout.routes) == set(edges)
    for (source, target), points in layout.routes.items():
        start, end = points[0], points[-1]
        assert (start.x, start.y) == (boxes[source].middle, boxes[source].y + boxes[source].height)
        assert end.y == boxes[target].y
        assert boxes[target].x < end.x < boxes[target].x + boxes[target].width
        assert all(upper.y <= lower.y for upper, lower in pairwise(points))
        for upper, lower in list(pairwise(points))[::2]:
            # The straight parts beside boxes: levels are between them, where only curves are.
            assert upper.x == lower.x
            passed = [
                n
                for n, b in boxes.items()
                if b.x < upper.x < b.x + b.width and upper.y < b.y + b.height and b.y < lower.y
            ]
            assert [n for n in passed if n not in (source, target)] == []


@given(graphs())
def test_one_column(graph: tuple[dict[str, tuple[float, float]], Edges, Gpus]) -> None:
    sizes, edges, gpus = graph
    assert_good(lay_out(sizes, edges, gpus), sizes, edges)


@given(graphs(most_gpus=4))
def test_columns_of_gpus(graph: tuple[dict[str, tuple[float, float]], Edges, Gpus]) -> None:
    sizes, edges, gpus = graph
    layout = lay_out(sizes, edges, gpus)
    assert_good(layout, sizes, edges)
    single = [column for column in layout.columns if column.gpu is not None]
    assert all(left.right < right.left for left, right in pairwise(single))
    assert [column.gpu for column in single] == sorted({c.gpu for c in single if c.gpu is not None})
    for name, on in gpus.items():
        column = next((c for c in single if (c.gpu,) == on), None)
        if column is not None:
            assert column.left - 1e-6 <= layout.boxes[name].x
            assert layout.boxes[name].x + layout.boxes[name].width <= column.right + 1e-6


@given(graphs(most_gpus=3))
def test_the_same_graph_gives_the_same_layout(graph: tuple[dict[str, tuple[float, float]], Edges, Gpus]) -> None:
    assert lay_out(*graph) == lay_out(*graph)


def test_a_chain_is_straight() -> None:
    names = [f"n{i}" for i in range(20)]
    sizes = {name: (50.0 + 13 * (i % 5), 30.0) for i, name in enumerate(names)}
    layout = lay_out(sizes, list(pairwise(names)), dict.fromkeys(names, (0,)))
    assert len({round(box.middle, 6) for box in layout.boxes.values()}) == 1


def test_a_long_line_beside_a_chain_is_straight() -> None:
    names = [f"n{i}" for i in range(8)]
    edges = [*pairwise(names), ("n0", "n7")]
    layout = lay_out(dict.fromkeys(names, (80.0, 30.0)), edges, dict.fromkeys(names, (0,)))
    assert len({point.x for point in layout.routes["n0", "n7"][2:-2]}) == 1
    assert len({round(layout.boxes[name].middle, 6) for name in names[1:-1]}) == 1


def test_lines_meet_a_box_in_the_order_in_which_they_come() -> None:
    """A line around three layers and one through them share the middle of the sum, as in a residual network."""
    names = ["in", "a", "b", "c", "sum"]
    layout = lay_out(dict.fromkeys(names, (80.0, 30.0)), [*pairwise(names), ("in", "sum")], dict.fromkeys(names, (0,)))
    through, around = layout.routes["c", "sum"][-1].x, layout.routes["in", "sum"][-1].x
    assert (through < around) == (layout.boxes["c"].middle < layout.routes["in", "sum"][2].x)
    assert through + around == pytest.approx(2 * layout.boxes["sum"].middle)


def test_branches_stand_under_their_source_in_the_order_of_the_file() -> None:
    sizes = dict.fromkeys(["s", "a", "b", "c", "t"], (60.0, 30.0))
    layout = lay_out(sizes, [("s", x) for x in "abc"] + [(x, "t") for x in "abc"], dict.fromkeys(sizes, (0,)))
    xs = {name: round(box.middle, 6) for name, box in layout.boxes.items()}
    assert xs["a"] < xs["b"] < xs["c"]
    assert xs["s"] == xs["b"] == xs["t"]


def test_towers_stand_face_to_face_with_the_data_between() -> None:
    sizes = dict.fromkeys(["data", "a1", "b1", "a2", "b2"], (60.0, 30.0))
    edges = [("data", "a1"), ("data", "b1"), ("a1", "a2"), ("b1", "b2"), ("b1", "a2")]
    gpus: Gpus = {"data": (0, 1), "a1": (0,), "a2": (0,), "b1": (1,), "b2": (1,)}
    boxes = lay_out(sizes, edges, gpus).boxes
    assert boxes["a1"].middle == boxes["a2"].middle
    assert boxes["b1"].middle == boxes["b2"].middle
    assert boxes["data"].middle == pytest.approx((boxes["a1"].middle + boxes["b1"].middle) / 2)


def crossings(levels: Levels) -> int:
    """Counted pair by pair."""
    total = 0
    for upper, lower in pairwise(levels.order):
        ends = [(upper.index(a), lower.index(b)) for a in upper for b in levels.below[a]]
        total += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(ends, 2))
    return total


def test_lines_that_need_not_cross_do_not() -> None:
    names = ["a", "b", "c", "x", "y", "z"]
    edges = [("a", "z"), ("b", "y"), ("c", "x")]
    assert crossings(order_levels(names, edges, find_levels(names, edges))) == 0


@pytest.mark.parametrize(
    ("edges", "as_walked", "fewest"),
    [
        ("0-1 1-2 0-3 1-3 2-3 1-4 1-5 2-5 2-6 4-7", 8, 2),
        ("0-1 0-2 1-3 2-3 0-4 1-4 3-5 2-6 0-7 1-7", 5, 1),
    ],
)
def test_medians_and_exchanges_together_take_crossings_away(edges: str, as_walked: int, fewest: int) -> None:
    """Found by search: either of the two alone leaves more."""
    names = [f"n{i}" for i in range(8)]
    pairs = [(f"n{edge[0]}", f"n{edge[2]}") for edge in edges.split()]
    levels = find_levels(names, pairs)
    assert crossings(_with_bends(names, pairs, levels)) == as_walked
    assert crossings(order_levels(names, pairs, levels)) == fewest


@given(graphs())
def test_long_lines_that_do_not_cross_are_straight(graph: tuple[dict[str, tuple[float, float]], Edges, Gpus]) -> None:
    sizes, edges, gpus = graph
    routes = lay_out(sizes, edges, gpus).routes
    inner = {edge: points[2:-2] for edge, points in routes.items() if len(points) > 4}
    segments = {(upper, lower) for points in inner.values() for upper, lower in pairwise(points)}
    for (a, b), (c, d) in combinations(segments, 2):
        if (a.y, b.y) == (c.y, d.y) and (a.x - c.x) * (b.x - d.x) < 0:
            return
    for edge, points in inner.items():
        assert len({round(point.x, 6) for point in points}) == 1, edge


def test_many_long_lines_between_columns_have_room() -> None:
    """Each of six lines from the left column to the right one takes a track of its own beside the boxes."""
    left, right = [f"a{i}" for i in range(9)], [f"b{i}" for i in range(9)]
    edges = [*pairwise(left), *pairwise(right), *((f"a{i}", "b8") for i in range(6))]
    sizes = dict.fromkeys(left + right, (80.0, 30.0))
    gpus: Gpus = {**dict.fromkeys(left, (0,)), **dict.fromkeys(right, (1,))}
    layout = lay_out(sizes, edges, gpus)
    assert_good(layout, sizes, edges)
    assert len({layout.routes[f"a{i}", "b8"][2].x for i in range(6)}) == 6


def test_what_is_shared_makes_way_for_long_lines() -> None:
    """The line from a to t runs in the gap between the columns, where s would stand."""
    sizes = dict.fromkeys(["a", "s", "t"], (80.0, 30.0))
    edges = [("a", "s"), ("s", "t"), ("a", "t")]
    assert_good(lay_out(sizes, edges, {"a": (0,), "s": (0, 1), "t": (1,)}), sizes, edges)


def test_a_side_input_stands_on_the_outer_side_of_a_tower() -> None:
    """Labels on the left GPU are left of its tower, so that the towers stay next to each other."""
    sizes = dict.fromkeys(["data", "a1", "b1", "labels", "a2", "cost"], (60.0, 30.0))
    edges = [("data", "a1"), ("data", "b1"), ("a1", "a2"), ("b1", "a2"), ("labels", "cost"), ("a2", "cost")]
    gpus: Gpus = {"data": (0, 1), "a1": (0,), "b1": (1,), "a2": (0,), "labels": (0,), "cost": (0,)}
    boxes = lay_out(sizes, edges, gpus).boxes
    assert boxes["labels"].x < boxes["a2"].x == boxes["a1"].x == boxes["cost"].x < boxes["b1"].x
    assert boxes["b1"].x - boxes["a1"].x - 60 < 60


@given(graphs())
def test_ordering_never_makes_crossings(graph: tuple[dict[str, tuple[float, float]], Edges, Gpus]) -> None:
    sizes, edges, _ = graph
    names = list(sizes)
    levels = find_levels(names, edges)
    assert all(levels[source] < levels[target] for source, target in edges)
    drawing = order_levels(names, edges, levels)
    assert sorted(map(str, (item for level in drawing.order for item in level if isinstance(item, str)))) == sorted(
        names
    )
    assert crossings(drawing) <= crossings(_with_bends(names, edges, levels))


@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_trees_are_drawn_without_crossings(parents: list[int]) -> None:
    names = [f"n{i}" for i in range(len(parents) + 1)]
    edges = [(names[parent % number], names[number]) for number, parent in enumerate(parents, start=1)]
    assert crossings(order_levels(names, edges, find_levels(names, edges))) == 0


def test_what_reads_nothing_is_just_above_its_reader() -> None:
    names = ["data", "labels", "conv", "fc", "cost"]
    edges = [("data", "conv"), ("conv", "fc"), ("fc", "cost"), ("labels", "cost")]
    assert find_levels(names, edges) == {"data": 0, "labels": 2, "conv": 1, "fc": 2, "cost": 3}


def test_widths_are_those_of_helvetica() -> None:
    assert text_width("AV i", 1000) == pytest.approx(1.04 * (667 + 667 + 278 + 222))
    assert text_width("m", 10, is_bold=True) == pytest.approx(1.04 * 8.89)
    assert text_width("e\u0301", 10) == text_width("e", 10)
    assert text_width("中", 10) == pytest.approx(1.04 * 10)


def test_widths_agree_with_a_font_of_the_same_metrics() -> None:
    font = pytest.importorskip("PIL.ImageFont")
    try:
        liberation = font.truetype("LiberationSans-Regular.ttf", 1000)
    except OSError:
        pytest.skip("Liberation Sans is not installed")
    for text in ("conv1a", "(227 - 11) / 4 + 1 = 55", "60,965,224 parameters"):
        assert text_width(text, 1000) / 1.04 == pytest.approx(liberation.getlength(text, features=["-kern"]), rel=0.01)

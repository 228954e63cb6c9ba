"""A page about a run: well formed, whole in itself, and harmless whatever names and texts stand in it."""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convspec.report.page import Listing, Page, Picture, Section, Spark, Table, draw_page

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><style>text{fill:red}</style></svg>'
HOSTILE = "<script>alert(1)</script> \"'& \x1b[31m \u202eevil"
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Checks that tags nest, and collects elements and texts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(page: Page) -> Reader:
    reader = Reader()
    reader.feed(draw_page(page))
    reader.close()
    assert not reader.open
    return reader


def page_with(text: str) -> Page:
    table = Table((text, "number"), [(text, "1"), (Spark((1.0, None, 3.0, 2.0)), "2")], frozenset({"number"}))
    parts = (Picture(SVG, text), Picture(b"\x89PNG", text), table, Listing(text, f"{text}\n{text}"))
    return Page(text, ((text, text),), (Section(text, parts, text),))


def test_what_is_put_in_stands_there() -> None:
    reader = read(page_with("a name"))
    assert reader.texts.count("a name") == 9
    assert "a name\na name" in reader.texts
    images = [attributes["src"] or "" for tag, attributes in reader.elements if tag == "img"]
    assert [image.partition(",")[0] for image in images] == ["data:image/svg+xml;base64", "data:image/png;base64"]
    assert b64decode(images[0].partition(",")[2]).decode() == SVG
    line = next(attributes for tag, attributes in reader.elements if tag == "polyline")
    assert line["points"] == "0,17 80,1 120,9", "the missing value is passed over, at its place"


@pytest.mark.parametrize("text", [HOSTILE, "</style></title><img src=x onerror=alert(1)>", "\x00\x07"])
def test_texts_do_nothing(text: str) -> None:
    reader = read(page_with(text))
    tags = {tag for tag, _ in reader.elements}
    assert not tags & {"script", "iframe", "object", "link", "base"}
    for _, attributes in reader.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert all((attributes.get(name) or "data:").startswith("data:") for name in ("src", "href"))
    assert not any(character in draw_page(page_with(text)) for character in "\x00\x07\x1b\u202e")


@given(st.text(max_size=40))
def test_any_text_leaves_the_page_well_formed(text: str) -> None:
    reader = read(page_with(text))
    assert {tag for tag, _ in reader.elements} == {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "dl", "div", "dt", "dd", "section", "h2",
        *(["p"] if text else []), "img", "table", "thead", "tr", "th", "tbody", "td", "svg", "polyline", "details",
        "summary", "pre",
    }  # fmt: skip


def test_nothing_is_fetched() -> None:
    text = draw_page(page_with("a name"))
    assert not re.search(r"https?:|@import|url\(", text)
    assert "default-src 'none'" in text


def test_the_same_content_gives_the_same_bytes() -> None:
    assert draw_page(page_with("a")) == draw_page(page_with("a"))


@pytest.mark.parametrize("values", [(), (1.0,), (None, None), (None, 2.0)])
def test_one_value_is_no_curve(values: tuple[float | None, ...]) -> None:
    table = Table(("curve",), [(Spark(values),)])
    assert "polyline" not in {tag for tag, _ in read(Page("t", (), (Section("s", (table,)),))).elements}


def test_equal_values_are_a_flat_curve() -> None:
    table = Table(("curve",), [(Spark((2.0, 2.0)),)])
    reader = read(Page("t", (), (Section("s", (table,)),)))
    assert next(a["points"] for tag, a in reader.elements if tag == "polyline") == "0,17 120,17"

"""A page about a run: one HTML file with all that it shows inside it, for any browser, without scripts or a network.

Pictures stand in it as data: an SVG keeps its own style sheet that way, light or dark as the reader prefers. The same
content gives the same bytes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convspec.diagnostics.visible import visible
from convspec.report.network_style import DARK, LIGHT
from convspec.report.svg import escape, number
from convspec.report.text_width import FONTS

SPARK_WIDTH, SPARK_HEIGHT = 120.0, 18.0


@dataclass(frozen=True, slots=True)
class Spark:
    """A small curve in a cell of a table, from its lowest value to its highest; None where a value is missing."""

    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Picture:
    """content: of a file, SVG as text or PNG as bytes. alternative: what it shows, for those who do not see it."""

    content: str | bytes
    alternative: str


Cell = str | Spark


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many cells as there are headings. numbers: headings whose cells are numbers, and stand to the right."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Listing:
    """A text that is shown when it is opened, such as a file. title: its name."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """note: a sentence or two below the title."""

    title: str
    parts: Sequence[Picture | Table | Listing]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """facts: what stands at the top, by name."""

    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def draw_page(page: Page) -> str:
    """The text of an HTML file. Control characters of names and texts are shown as what they are."""
    return "".join(f"{line}\n" for line in _lines(page))


def _lines(page: Page) -> Iterator[str]:
    yield "<!doctype html>"
    yield '<html lang="en">'
    yield '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    # whatever a file's name or a class may hold, nothing is loaded or run
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';img-src data:;style-src 'unsafe-inline'\">"
    yield f"<title>{_text(page.title)}</title>"
    yield f"<style>\n{_STYLE}</style></head>"
    yield f"<body><main><h1>{_text(page.title)}</h1>"
    yield "<dl>" + "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(fact)}</dd></div>" for name, fact in page.facts)
    yield "</dl>"
    for section in page.sections:
        yield f"<section><h2>{_text(section.title)}</h2>"
        if section.note:
            yield f"<p>{_text(section.note)}</p>"
        for part in section.parts:
            yield from _part(part)
        yield "</section>"
    yield "</main></body></html>"


def _part(part: Picture | Table | Listing) -> Iterator[str]:
    match part:
        case Picture():
            yield f'<div class="wide"><img src="{_address(part.content)}" alt="{_text(part.alternative)}"></div>'
        case Table():
            yield from _table(part)
        case Listing():
            yield f"<details><summary>{_text(part.title)}</summary>"
            yield f"<pre>{escape(_visible_lines(part.text))}</pre></details>"


def _table(table: Table) -> Iterator[str]:
    kinds = [' class="number"' if heading in table.numbers else "" for heading in table.headings]
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f"<th{kind}>{_text(name)}</th>" for name, kind in zip(table.headings, kinds, strict=True))
    yield "</tr></thead><tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td{kind}>{_cell(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
    yield "</tbody></table></div>"


def _cell(cell: Cell) -> str:
    return _spark(cell) if isinstance(cell, Spark) else _text(cell)


def _spark(spark: Spark) -> str:
    known = [(place, value) for place, value in enumerate(spark.values) if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(value for _, value in known), max(value for _, value in known)
    across, up = SPARK_WIDTH / (len(spark.values) - 1), (SPARK_HEIGHT - 2) / ((high - low) or 1.0)
    points = " ".join(f"{number(i * across)},{number(SPARK_HEIGHT - 1 - (value - low) * up)}" for i, value in known)
    size = f'width="{number(SPARK_WIDTH)}" height="{number(SPARK_HEIGHT)}"'
    return f'<svg class="spark" {size} role="img" aria-label="from {low:.2g} to {high:.2g}"><polyline points="{points}"/></svg>'


def _address(content: str | bytes) -> str:
    kind, data = ("svg+xml", content.encode()) if isinstance(content, str) else ("png", content)
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def _text(text: str) -> str:
    return escape(visible(text))


def _visible_lines(text: str) -> str:
    return "\n".join(visible(line.expandtabs(4)) for line in text.splitlines())


_STYLE = f"""\
:root{{color-scheme:light dark;--paper:#ffffff;--ink:#1c2733;--quiet:#55636f;--line:#d4dce4;--panel:#f5f8fa;--mark:{LIGHT[0]}}}
@media (prefers-color-scheme:dark){{:root{{--paper:#12171c;--ink:#e3e9ef;--quiet:#9fadba;--line:#33404c;--panel:#1a2129;--mark:{DARK[0]}}}}}
body{{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 {FONTS}}}
main{{max-width:1080px;margin:0 auto;padding:24px 20px 64px}}
h1{{font-size:26px;margin:8px 0 16px}}
h2{{font-size:18px;margin:36px 0 8px;padding-top:12px;border-top:1px solid var(--line)}}
p{{color:var(--quiet);margin:0 0 12px;max-width:75ch}}
dl{{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:12px 20px;margin:0}}
dt{{color:var(--quiet);font-size:13px}}
dd{{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}}
.wide{{overflow-x:auto;margin:0 0 16px}}
img{{max-width:100%;height:auto;display:block}}
table{{border-collapse:collapse;font-size:13px;white-space:nowrap}}
th,td{{text-align:left;padding:4px 14px 4px 0;border-bottom:1px solid var(--line)}}
th{{color:var(--quiet);font-weight:normal}}
.number{{text-align:right;font-variant-numeric:tabular-nums}}
.spark{{display:block}}
.spark polyline{{fill:none;stroke:var(--mark);stroke-width:1.4}}
details{{margin:0 0 10px}}
summary{{cursor:pointer}}
pre{{background:var(--panel);border:1px solid var(--line);padding:12px;overflow:auto;max-height:520px;font-size:12px;line-height:1.45}}
"""

"""The style sheet of the picture of a network: a light page, and a dark one where the reader prefers it."""

from __future__ import annotations

from convspec.report.text_width import FONTS

# Sizes of letters, pixels.
NAME_SIZE, TEXT_SIZE, TITLE_SIZE, LEGEND_SIZE = 13.0, 11.0, 19.0, 12.0

# Colours of GPUs and of curves in light and dark: told apart by people who do not see red and green as others do (Okabe and Ito, 2008).
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b8527f", "#8f6a00", "#3a9bd0")
DARK = ("#56b4e9", "#f0883e", "#2cc295", "#e08bb3", "#e0b73a", "#8fd0f5")

_STYLE = """\
text{font-family:%(fonts)s;fill:#1c2733}
.title{font-size:%(title)gpx;font-weight:bold}
.legend{font-size:%(legend)gpx;fill:#4b5a69}
.name{font-size:%(name)gpx;font-weight:bold}
.shape{font-size:%(name)gpx;text-anchor:end}
.note{font-size:%(text)gpx;fill:#55636f}
.gpu{font-size:%(legend)gpx;font-weight:bold}
.page{fill:#ffffff}
.box{fill:#ffffff;stroke:#b4bfca;stroke-width:1}
.learns{fill:#f1f5f9;stroke:#8795a3}
.source{fill:#dfe6ed;stroke:#8795a3}
.line{fill:none;stroke:#8795a3;stroke-width:1.4}
.head{fill:#8795a3}
.crossing{fill:none;stroke:#c2185b;stroke-width:1.9}
.crossing-head{fill:#c2185b}
.band{opacity:.09}"""
_DARK_STYLE = """\
text{fill:#e3e9ef}
.legend{fill:#a3b1bf}
.note{fill:#9fadba}
.page{fill:#12171c}
.box{fill:#1a2129;stroke:#46535f}
.learns{fill:#222c36;stroke:#6b7a88}
.source{fill:#33404c;stroke:#6b7a88}
.line{stroke:#75838f}
.head{fill:#75838f}
.crossing{stroke:#ff6fa3}
.crossing-head{fill:#ff6fa3}
.band{opacity:.13}"""
COLORS = len(LIGHT)


def style_sheet(*, has_gpus: bool) -> str:
    """CSS. has_gpus: whether there are classes g0 to g5 for the colours of GPUs."""
    sizes = {"title": TITLE_SIZE, "legend": LEGEND_SIZE, "name": NAME_SIZE, "text": TEXT_SIZE}
    light, dark = (
        "\n".join(f".g{i}{{fill:{color}}}" for i, color in enumerate(colors)) if has_gpus else ""
        for colors in (LIGHT, DARK)
    )
    parts = [_STYLE % {"fonts": FONTS, **sizes}, light, "@media (prefers-color-scheme:dark){", _DARK_STYLE, dark, "}"]
    return "\n".join(filter(None, parts))

"""What every SVG of ours spells alike."""

from __future__ import annotations


def number(value: float) -> str:
    """Pixels to a tenth, without a zero behind the point."""
    return f"{value:.1f}".removesuffix(".0")


def escape(text: str) -> str:
    """A text as it stands between tags, and in an attribute."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")

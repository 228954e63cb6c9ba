"""Text from files and arguments, made harmless for a terminal or a log."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """`text` on one line, without what would move the cursor, turn the direction or end the line."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(escape(c) if is_harmful(c) else c for c in text)


def is_harmful(character: str) -> bool:
    """Controls, format characters, surrogates, private and unassigned ones, line and paragraph separators."""
    category = unicodedata.category(character)
    return category.startswith("C") or category in ("Zl", "Zp")


def escape(character: str) -> str:
    r"""`\x1b`, `\u202e`."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

"""Amounts with units, as people write them: 80GB, 24GiB, 3.35TB/s, 67TFLOP/s."""

from __future__ import annotations

import re

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z/]*)")


def parse_amount(text: str, unit: str) -> float | None:
    """The amount in `unit`, which stands at the end of the text behind a prefix, and may be left out without one; None for
    anything else, and for 0.

    unit: `B`, `B/s` or `FLOP/s`. Prefixes are K to P, powers of 1000, and of bytes Ki to Ti, powers of 1024.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    number, written = float(match[1]), match[2]
    prefixes = _DECIMAL if unit.startswith("FLOP") else _DECIMAL | _BINARY
    factors = {f"{prefix}{unit}".lower(): factor for prefix, factor in prefixes.items()} | {"": 1}
    factor = factors.get(written.lower())
    return None if factor is None or not number else number * factor


def decimal(amount: float, unit: str) -> str:
    """Three digits and a prefix: 3.35 TB/s."""
    prefix, factor = next(((p, f) for p, f in reversed(_DECIMAL.items()) if amount >= f), ("", 1))
    return f"{amount / factor:.3g} {prefix}{unit}"


def duration(seconds: float) -> str:
    """Three digits: 3.77 s, 98.2 ms, 688 ns."""
    unit, size = next(((u, s) for u, s in _SECONDS.items() if seconds >= s), ("ns", _SECONDS["ns"]))
    number = seconds / size
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"


def mebibytes(count: float) -> str:
    """As the table of `check` says it."""
    return f"{count / 2**20:,.1f} MiB"

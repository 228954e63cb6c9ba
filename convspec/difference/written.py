"""Values of keys as a spec writes them, so that equal values are equal texts."""

from __future__ import annotations


def written(value: object) -> str:
    """`0.01`, `1,2`, `3x5`, `dexp[base=0.02;tgtFactor=250]`; a list of equal entries is written once, nothing as `none`."""
    match value:
        case None:
            return "none"
        case bool():
            return "1" if value else "0"
        case float():
            return f"{value:.10g}"
        case tuple() if not hasattr(value, "_fields"):
            entries = list(map(written, value))
            return ",".join(entries[:1] if len(set(entries)) == 1 else entries) or "none"
        case _:
            return str(value) or "none"

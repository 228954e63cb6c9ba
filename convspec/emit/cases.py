"""How emitted code names parts of the minibatch."""

from __future__ import annotations

from convspec.program.operator import Cases


def slice_size(total: int) -> str:
    """The variable that holds the number of cases in a slice, of `total` slices of a minibatch."""
    return f"slice{total}"


def slices(cases: Cases | None) -> str:
    """`slice4 : 2 * slice4`; all cases for None."""
    if cases is None:
        return ":"
    first, stop = edge(cases.first, cases.total), edge(cases.stop, cases.total) if cases.stop < cases.total else ""
    spaced = " : " if " " in first or " " in stop else ":"
    return f"{first}{spaced}{stop}".strip()


def edge(index: int, total: int) -> str:
    """Where a slice begins."""
    return "" if index == 0 else f"{'' if index == 1 else f'{index} * '}{slice_size(total)}"

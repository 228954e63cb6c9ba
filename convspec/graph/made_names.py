"""Names of layers that `repeat=` and templates make: `stage2_1.conv` is a layer of `stage2`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_COPY = re.compile(r"_[1-9][0-9]*$")


def maker_of(name: str, names: Collection[str]) -> str | None:
    """Which of `names` would make a layer of this name, if it has an instance or copies; the nearest."""
    return next((above for above in _above(name) if above in names), None)


def _above(name: str) -> Iterator[str]:
    """`stage2_1.first`, `stage2_1`, `stage2` for `stage2_1.first.conv`; `conv` for `conv_1`."""
    while name:
        single = _COPY.sub("", name)
        if single != name:
            yield single
        name = name.rpartition(".")[0]
        if name:
            yield name

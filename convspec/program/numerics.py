"""Where the arithmetic of the originals and that of today differ, and a spec chooses with `[@net]`."""

from __future__ import annotations

from typing import NamedTuple


class Numerics(NamedTuple):
    """The defaults are what PyTorch does, or what is exact.

    ties_share: of equal largest pixels each gets the whole gradient of its window, as in all originals; else one does.
    holds_means: the gradient of contrast normalisation takes local means for constants, as the published kernel does.
    """

    ties_share: bool = False
    holds_means: bool = False

"""The paper's choices that a network can be trained without, and what the paper says that each is worth."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from convspec.checker import Checked
from convspec.train.variants import (
    Edits,
    conv_stages,
    on_one_gpu,
    without_colour,
    without_conv,
    without_crops,
    without_dropout,
    without_overlap,
    without_response_norm,
)


class Choice(NamedTuple):
    """One of the paper's choices.

    name: for `--only`. title: of the network without it. section, paper: where the paper says what it is worth, and what,
    as the change of top-1 and top-5 error in percentage points without it. derive: see `variants`.
    """

    name: str
    title: str
    section: str
    paper: str
    derive: Callable[[Checked], Edits | str]

    @property
    def file(self) -> str:
        return f"without-{self.name}.cfg"


def choices_of(checked: Checked) -> list[Choice]:
    """All choices that can be asked of a network, those that it has not made included; one for each of its convolutional
    layers."""
    stages = len(conv_stages(checked))
    return [
        Choice("lrn", "without response normalisation", "3.3", "+1.4 top-1, +1.2 top-5", without_response_norm),
        Choice("overlap", "pooling without overlap", "3.4", "+0.4 top-1, +0.3 top-5", without_overlap),
        Choice("dropout", "without dropout", "4.2", "substantial overfitting", without_dropout),
        Choice("colour", "without colour shifts", "4.1", "over +1 top-1", without_colour),
        Choice("crops", "without crops and mirrors", "4.1", "substantial overfitting", without_crops),
        *(
            Choice(
                f"conv{stage + 1}",
                f"without convolutional layer {stage + 1}",
                "7",
                "about +2 top-1" if 0 < stage < stages - 1 else "inferior",
                partial(without_conv, stage=stage),
            )
            for stage in range(stages)
        ),
        Choice("gpus", "one GPU, half the kernels", "3.2", "+1.7 top-1, +1.2 top-5", on_one_gpu),
    ]

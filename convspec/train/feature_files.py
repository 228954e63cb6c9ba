"""Features as files for other programs: `.npz` with all that is known of them, or `.npy` and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from convspec.data.gallery import UNKNOWN
from convspec.train.features import Features
from convspec.train.nearest import BLOCK_BYTES, blocks


@dataclass(frozen=True, slots=True)
class About:
    """names: of the pictures, a name a row of the features. classes: by the numbers that labels are. layers:
    whose outputs the features are, joined in this order. run, checkpoint: where the weights are from.
    """

    names: Sequence[str]
    classes: Sequence[str]
    layers: Sequence[str]
    run: str
    checkpoint: str


def write_npz(file: IO[bytes], features: Features, about: About) -> None:
    """Features float32, labels int64 (N,), -1 where not known, and the fields of `About` as text; readable without pickles.

    The same features give the same bytes: the members have no dates.
    """
    texts = {name: getattr(about, name) for name in about.__slots__}
    with ZipFile(file, "w") as archive:
        with archive.open(ZipInfo("features.npy"), "w", force_zip64=True) as member:
            write_npy(member, features)
        for name, array in {"labels": features.labels, **{name: _text(text) for name, text in texts.items()}}.items():
            with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def write_npy(file: IO[bytes], features: Features) -> None:
    """The numbers alone, block by block."""
    numbers = features.numbers
    npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": numbers.shape})
    for block in blocks(len(numbers), max(1, BLOCK_BYTES // numbers[0].nbytes)):
        file.write(np.ascontiguousarray(numbers[block], "<f4").tobytes())


def describe(features: Features, about: About) -> str:
    """What goes with a `.npy` file, as JSON: the fields of `About`, and labels by name, null where not known."""
    labels = [None if label == UNKNOWN else about.classes[label] for label in features.labels.tolist()]
    fields = {name: getattr(about, name) for name in about.__slots__}
    return json.dumps({**fields, "labels": labels}, indent=1) + "\n"


def _text(text: str | Sequence[str]) -> NDArray[np.str_]:
    return np.array(text, dtype=np.str_)

"""The recorded answers of the original programs, read from `../shared/corpus`, in one form for both of its lists."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
REASON = f"{CORPUS} is not here: it holds layer files of others, which the project does not copy"

Layer = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What one program said of one pair of files, whose texts end in a line end (`check` takes others for paths).

    dialect: the program. data_dims: features of each matrix of the data provider, by its index. gpus: GPUs it was given,
    None where that is not recorded. error: its first message, None where it took the files. layers: as it read them.
    """

    name: str
    dialect: str
    layers_text: str
    params_text: str
    data_dims: Mapping[int, int]
    classes: int
    gpus: int | None
    error: str | None
    layers: tuple[Layer, ...] = field(repr=False)

    @property
    def refused_layer(self) -> str | None:
        """The layer that the message names, without the index of an input."""
        found = re.match(r"Layer '(.+?)(?:\[\d+\])?'", self.error or "")
        if found is None:
            found = re.match(r"Bad value substitution:\s+section: \[(.+)\]", self.error or "")
        return None if found is None else found.group(1)


def _rows(name: str) -> list[dict[str, Any]]:
    path = CORPUS / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _dims(row: Mapping[str, Any]) -> dict[int, int]:
    return {int(index): dim for index, dim in row["data_dims"].items()}


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _of_bytes(text: str) -> str:
    """The text of a file whose bytes are given as Latin-1: a byte order mark is one again."""
    return text.encode("latin-1").decode("utf-8")


def pairs() -> list[Answer]:
    """Each pair of `expected.jsonl`; its `oracle` says which program read it."""
    answers = []
    for row in _rows("expected.jsonl"):
        folder = CORPUS / "files" / row["id"]
        answers.append(
            Answer(
                name=row["id"],
                dialect=row["oracle"],
                layers_text=_text(folder / "layers.cfg") + "\n",
                params_text=_text(folder / "params.cfg") + "\n",
                data_dims=_dims(row),
                classes=row["num_classes"],
                gpus=None,
                error=None if row["accepted"] else row["error"]["message"],
                layers=tuple(row.get("layers") or ()),
            )
        )
    return answers


def micro() -> list[Answer]:
    """Each small configuration of `micro.jsonl`, as each of the four programs answered."""
    return [
        Answer(
            name=row["name"],
            dialect=dialect,
            layers_text=_of_bytes(row["layers"]) + "\n",
            params_text=_of_bytes(row["params"]) + "\n",
            data_dims=_dims(row),
            classes=row["num_classes"],
            gpus=row["num_gpus"],
            error=None if answer["ok"] else answer["error"],
            layers=tuple(_in_the_form_of_pairs(layer) for layer in answer.get("layers") or ()),
        )
        for row in _rows("micro.jsonl")
        for dialect, answer in row["results"].items()
    ]


_UPDATES = ("epsW", "epsB", "momW", "wc")


def _in_the_form_of_pairs(layer: Layer) -> Layer:
    renamed = {"inputNames": "inputs", "modulesX": "outSize", "outputsX": "outSize"}
    plain = {renamed.get(key, key): value for key, value in layer.items() if key not in _UPDATES}
    return {**plain, "params": {key: layer[key] for key in _UPDATES if key in layer}}

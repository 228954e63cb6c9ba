"""`manifest.json` of a prepared folder: what is in it, with the size and SHA-256 of each file; and its own, of the rest.

    flowers/  manifest.json  train-00000.npy ...  train-labels.npy  test-00000.npy ...  test-labels.npy  mean.npy  broken.txt

Nothing in it depends on the clock, on where it lies or on how many threads made it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convspec.data.dataset import ColorPca, Split
from convspec.diagnostics import Diagnostic, DiagnosticError

MANIFEST = "manifest.json"
WORK = ".prepare"
"""Folder inside a folder that is being prepared, or whose preparation was interrupted."""

FORMAT = "convspec shards"
VERSION = 1

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the folder. name: without a folder. bytes: its size. sha256: hexadecimal."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A `.npy` file of uint8, (pictures, H, W, C)."""

    file: FileEntry
    pictures: int


@dataclass(frozen=True, slots=True)
class SplitEntry:
    """labels: a `.npy` file of int64, one for each picture of the shards in their order."""

    labels: FileEntry
    shards: tuple[ShardEntry, ...]

    @property
    def pictures(self) -> int:
        return sum(shard.pictures for shard in self.shards)


@dataclass(frozen=True, slots=True)
class Manifest:
    """shape: of each picture, (H, W, C). mean: a `.npy` file of float32, (H, W, C). broken: files that were left out, whose
    names are in `report`. prepared: how, for people."""

    shape: Shape
    classes: tuple[str, ...]
    splits: Mapping[Split, SplitEntry]
    mean: FileEntry
    color_pca: ColorPca | None
    broken: int
    report: FileEntry
    prepared: Mapping[str, Any]

    def files(self) -> Iterator[FileEntry]:
        """All files, those with pictures last."""
        yield self.mean
        yield self.report
        for split in Split:
            yield self.splits[split].labels
        for split in Split:
            yield from (shard.file for shard in self.splits[split].shards)

    def to_bytes(self) -> bytes:
        """The file, the same for the same manifest."""
        body: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "mean": _to_json(self.mean),
            "color_pca": None,
            "broken": self.broken,
            "report": _to_json(self.report),
            "prepared": dict(self.prepared),
            "splits": {split.value: _split_to_json(self.splits[split]) for split in Split},
        }
        if self.color_pca is not None:
            deviations, directions = self.color_pca
            body["color_pca"] = {"deviations": deviations.tolist(), "directions": directions.tolist()}
        return _dumped({**body, "sha256": _digest(body)})


def read_manifest(root: Path) -> Manifest:
    """Raises DiagnosticError CS724 where it cannot be read, or is not as it was written."""
    path = root / MANIFEST
    try:
        body = json.loads(path.read_bytes())
    except OSError as error:
        raise damaged(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise damaged(f"{path} is no JSON") from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise damaged(f"{path} is not the manifest of a prepared folder")
    if body.get("version") != VERSION:
        message = f"{path} is of version {body.get('version')!r}, and this convspec reads version {VERSION}"
        raise damaged(message, help="use the convspec that prepared it, or prepare the pictures again")
    digest = body.pop("sha256", None)
    if digest != _digest(body):
        raise damaged(f"{path} is not as it was written: its checksum is another")
    try:
        return _from_json(body)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(f"{path} does not describe a prepared folder") from error


def damaged(message: str, *, help: str | None = None) -> DiagnosticError:
    return DiagnosticError(damage(message, help=help))


def damage(message: str, *, help: str | None = None) -> Diagnostic:
    help = (
        help
        or "copy the file again from where it is whole; the command that prepared the folder makes damaged shards again"
    )
    return Diagnostic("CS724", message, help=help)


def _dumped(body: Mapping[str, Any]) -> bytes:
    return (json.dumps(body, indent=1) + "\n").encode()


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_dumped(body)).hexdigest()


def _to_json(entry: FileEntry) -> dict[str, Any]:
    return {"file": entry.name, "bytes": entry.bytes, "sha256": entry.sha256}


def _split_to_json(split: SplitEntry) -> dict[str, Any]:
    shards = [{**_to_json(shard.file), "pictures": shard.pictures} for shard in split.shards]
    return {"pictures": split.pictures, "labels": _to_json(split.labels), "shards": shards}


def _from_json(body: Mapping[str, Any]) -> Manifest:
    height, width, channels = map(_count, body["shape"])
    if channels not in (1, 3) or max(height, width) > 1 << 16:
        raise ValueError(body["shape"])
    pca = body["color_pca"]
    return Manifest(
        shape=(height, width, channels),
        classes=tuple(_text(name) for name in body["classes"]),
        splits={split: _split(body["splits"][split.value]) for split in Split},
        mean=_file(body["mean"]),
        color_pca=None if pca is None else _color_pca(pca),
        broken=int(body["broken"]),
        report=_file(body["report"]),
        prepared=dict(body["prepared"]),
    )


def _split(body: Mapping[str, Any]) -> SplitEntry:
    shards = tuple(ShardEntry(_file(shard), _count(shard["pictures"])) for shard in body["shards"])
    if not shards:
        raise ValueError("no shards")
    return SplitEntry(_file(body["labels"]), shards)


def _file(body: Mapping[str, Any]) -> FileEntry:
    name = _text(body["file"])
    # a manifest names files beside it and no others
    if Path(name).name != name or name in ("", ".", "..") or "\0" in name:
        raise ValueError(name)
    return FileEntry(name, int(body["bytes"]), _text(body["sha256"]))


def _color_pca(body: Mapping[str, Any]) -> ColorPca:
    deviations, directions = np.array(body["deviations"], np.float32), np.array(body["directions"], np.float32)
    if deviations.shape != (3,) or directions.shape != (3, 3):
        raise ValueError("color_pca")
    return deviations, directions


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value

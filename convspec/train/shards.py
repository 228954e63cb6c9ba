"""Checkpoints that several processes write together: each the tensors of its own part, none of them the whole net.

    checkpoints/0003-00000750/
        weights-00001-of-00002.safetensors     a file a GPU, with the layers that are on it
        weights.safetensors.index.json         which file has which tensor
        training-00001-of-00002.safetensors    momentum and the like; the first has what all have in common
        state.json                             as ever, with the digests of all files

Names are canonical, so that whoever reads the files together has the checkpoint of one device. The folder is filled
under a temporary name, by all, and the chief renames it when all have said that theirs is written: a process that ends
on the way leaves the checkpoint before it as the newest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor

from convspec.data.durable import sync_folder, write_file
from convspec.train.checkpoint import (
    Checkpoint,
    put_in_place,
    temporary_folder,
    write_state,
    write_tensors,
    writing_to,
)

T = TypeVar("T")


class Writers(Protocol):
    """What a checkpoint needs of the processes that write it."""

    @property
    def is_chief(self) -> bool: ...
    @property
    def file_number(self) -> tuple[int, int] | None:
        """(i, n) where this process writes file i of n, from 0; None where others have what it has."""

    def owns(self, tensor: str) -> bool:
        """Whether this process writes a tensor, by its canonical name; where several have it, one does."""

    def chief_does(self, work: Callable[[], T]) -> T: ...
    def union(self, own: dict[str, T]) -> dict[str, T]: ...
    def all_do(self, work: Callable[[], T]) -> list[T]:
        """What `work` gives in each process; raises in all of them where it raises in one."""


def save_shards(writers: Writers, folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """As `save_checkpoint`; all processes call it. checkpoint: what this one has."""
    temporary = folder / temporary_folder(checkpoint.name)
    with writing_to(folder):
        try:
            writers.chief_does(lambda: _begin(folder, temporary))
            digests = writers.all_do(lambda: _write_own(writers, temporary, checkpoint))
            rates = writers.union(checkpoint.state["momentum_rates"])
            whole = replace(checkpoint, state={**checkpoint.state, "momentum_rates": rates})
            return writers.chief_does(lambda: _finish(folder, temporary, whole, digests, keep))
        except BaseException:
            if writers.is_chief:
                shutil.rmtree(temporary, ignore_errors=True)
            raise


def _begin(folder: Path, temporary: Path) -> None:
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()


def _write_own(writers: Writers, temporary: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Write the files of this process; returns their digests and names of tensors."""
    if writers.file_number is None:
        return {}
    number, count = writers.file_number
    weights = {name: tensor for name, tensor in checkpoint.weights.items() if writers.owns(name)}
    training = {name: tensor for name, tensor in checkpoint.training.items() if _is_own(writers, name)}
    written: dict[str, Any] = {}
    with writing_to(temporary.parent):
        for kind, tensors in (("weights", weights), ("training", training)):
            stem = f"{kind}-{number + 1:05d}-of-{count:05d}"
            written[stem] = write_tensors(temporary, stem, tensors), _sizes(tensors)
    return written


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}


def _is_own(writers: Writers, name: str) -> bool:
    parameter = parameter_of(name)
    return writers.is_chief if parameter is None else writers.owns(parameter)


def parameter_of(name: str) -> str | None:
    """Whose tensor of training it is: `momentum/NAME` and `learning/KIND/NAME` are of one parameter; None for others."""
    kind, _, rest = name.partition("/")
    if kind == "learning":
        rest = rest.partition("/")[2]
    return rest if kind in ("momentum", "learning") else None


def _finish(folder: Path, temporary: Path, checkpoint: Checkpoint, written: list[dict[str, Any]], keep: int) -> Path:
    """Write what names all files, and give the folder its name."""
    with writing_to(folder):
        files = {stem: own for each in written for stem, own in each.items()}
        places = {
            name: f"{stem}.safetensors"
            for stem, (_, sizes) in files.items()
            if stem.startswith("weights")
            for name in sizes
        }
        total = sum(size for stem, (_, sizes) in files.items() if stem.startswith("weights") for size in sizes.values())
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_file(temporary / "weights.safetensors.index.json", json.dumps(index, indent=1).encode() + b"\n")
        write_state(temporary, checkpoint.state, {stem: digest for stem, (digest, _) in files.items()})
        sync_folder(temporary)
        return put_in_place(folder, temporary, checkpoint.name, keep=keep)

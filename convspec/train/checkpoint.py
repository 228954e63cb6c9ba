"""Checkpoints: everything that a run needs to go on, in a folder that is there whole or not at all.

    checkpoints/0003-00000750/         epochs done, steps done
        weights.safetensors            by canonical names, whatever the placement; buffers of the network as well
        training.safetensors           momentum/NAME, learning/sum/NAME and the like, rng/cpu, rng/cuda.0, mean
        state.json                     position, schedule, sums of the epoch, rates of the buffers; sha256 of all three

The folder is filled under a temporary name, synced, and renamed. Digests find a file that rotted or was cut short.
A folder rather than one file: the weights can be used by themselves, and a rename is as atomic for both.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor

from convspec.data.durable import sync_folder, write_file
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.train.durable import reporting_write_errors
from convspec.train.integrity import misfits, without_rates

FORMAT, FORMAT_OF_SHARDS = 1, 2

T = TypeVar("T")

_NAME = re.compile(r"(\d{4,})-(\d{8,})")
_TEMPORARY = ".writing-"


class BrokenCheckpoint(Exception):
    """A checkpoint that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """weights, training: tensors by name, on the CPU. state: JSON; `epoch` and `step` (of the run) give it its name."""

    weights: Mapping[str, Tensor]
    training: Mapping[str, Tensor]
    state: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.state['epoch']:04d}-{self.state['step']:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [
        (tuple(map(int, match.groups())), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest `keep`. Raises DiagnosticError CS711 (full disk) or CS706.

    Whatever goes wrong, the checkpoints that were there before are untouched.
    """
    temporary = folder / temporary_folder(checkpoint.name)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        try:
            temporary.mkdir()
            _write_into(temporary, checkpoint)
            return put_in_place(folder, temporary, checkpoint.name, keep=keep)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def writing_to(folder: Path) -> AbstractContextManager[None]:
    """Around what is written among the checkpoints of a run. Raises DiagnosticError CS711 or CS706, with what is safe."""
    return reporting_write_errors(folder, lambda: kept_note(folder), run=folder.parent)


def put_in_place(folder: Path, temporary: Path, name: str, *, keep: int) -> Path:
    """Give a checkpoint that is written and synced its name, then remove all but the newest `keep`."""
    final = folder / name
    # the same position again is the same state; only a broken one can stand in the way
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    sync_folder(folder)
    for path in list_checkpoints(folder)[: -max(1, keep)]:
        shutil.rmtree(path, ignore_errors=True)
    return final


def temporary_folder(name: str) -> str:
    """What the folder of a checkpoint is called while it is written."""
    return f"{_TEMPORARY}{name}"


def kept_note(folder: Path) -> str:
    """What is safe if a checkpoint cannot be written."""
    older = list_checkpoints(folder)
    return f"the last good checkpoint is {older[-1]}" if older else "there is no earlier checkpoint"


def load_newest(folder: Path, notify: Callable[[Diagnostic], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; a warning for each newer one that is not. None where there never was one.

    Raises DiagnosticError CS708 where all are broken.
    """
    return newest_of(list_checkpoints(folder), load_checkpoint, notify)


def newest_of(paths: Sequence[Path], read: Callable[[Path], T], notify: Callable[[Diagnostic], None]) -> T | None:
    """What `read` gives of the last that is whole of checkpoints, oldest first; it raises BrokenCheckpoint where one is not.

    Else as `load_newest`.
    """
    for path in reversed(paths):
        try:
            return read(path)
        except BrokenCheckpoint as error:
            older = "going on from the one before" if path != paths[0] else "and there is none before it"
            notify(Diagnostic("CS708", f"{path} cannot be used: {error}; {older}", severity=Severity.WARNING))
    if paths:
        message = f"none of the {len(paths)} checkpoints in {paths[0].parent} can be used"
        raise DiagnosticError(Diagnostic("CS708", message, help="start a new run"))
    return None


def verify_files(path: Path, share: tuple[int, int]) -> None:
    """Compare the files of a checkpoint with their digests, of which nothing is held in memory. Raises BrokenCheckpoint.

    share: (i, n) for the i-th of n parts of the files.
    """
    part, parts = share
    _, digests = _read_state(path)
    for stem in sorted(digests.keys() - {"state"})[part::parts]:
        try:
            with (path / f"{stem}.safetensors").open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BrokenCheckpoint(f"{error.filename}: {error.strerror}") from error
        _check_digest(stem, found, digests)


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises BrokenCheckpoint."""
    return _load(path, _all_tensors)


def load_verified(path: Path, wanted: Callable[[str], bool]) -> Checkpoint:
    """Of a checkpoint that was verified the tensors that are wanted, by their names in its files; of the files no more is
    read. Raises BrokenCheckpoint."""

    def read(folder: Path, stem: str, digests: Mapping[str, str]) -> dict[str, Tensor]:
        with safetensors.safe_open(folder / f"{stem}.safetensors", "pt") as file:
            # copies, since what is read lies in the file, which will be removed
            return {name: file.get_tensor(name).clone() for name in file.keys() if wanted(name)}  # noqa: SIM118

    return _load(path, read)


_Read = Callable[[Path, str, Mapping[str, str]], dict[str, Tensor]]
"""Of the file of a stem in a folder, whose digests are given."""


def _load(path: Path, read: _Read) -> Checkpoint:
    state, digests = _read_state(path)
    try:
        weights, training = (_read_tensors(path, name, digests, read) for name in ("weights", "training"))
    except OSError as error:
        raise BrokenCheckpoint(f"{error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenCheckpoint("state.json is not what was written") from error
    if unknown := without_rates(training, state):
        raise BrokenCheckpoint(f"state.json is not what was written: momentum_rates lacks {', '.join(unknown)}")
    return Checkpoint(weights, training, state)


def newest_state(folder: Path) -> Mapping[str, Any] | None:
    """The state of the newest checkpoint whose state can be read, without its tensors; None where there is none."""
    while True:
        before = seen(folder)
        for path in reversed(list_checkpoints(folder)):
            try:
                return _read_state(path)[0]
            except BrokenCheckpoint:
                continue
        if seen(folder) == before:
            return None


def seen(folder: Path) -> list[tuple[str, int, int]]:
    """Checkpoints, and what tells one from another that took its place. Where this changed while they were read, a training
    put a newer one there and removed an old one, and what could not be read was not broken."""
    found = []
    for path in list_checkpoints(folder):
        try:
            stat = path.stat()
        except OSError:
            continue
        found.append((path.name, stat.st_ino, stat.st_mtime_ns))
    return found


def _read_state(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The state of a checkpoint, and the digests of its files. Raises BrokenCheckpoint."""
    try:
        for file in path.iterdir():
            if not (file.is_file() or file.is_dir()):  # to open a pipe would wait for whoever writes into it
                raise BrokenCheckpoint(f"{file.name} is not a file")
        document = json.loads((path / "state.json").read_bytes())
        state, digests = document["state"], document["sha256"]
        if document["format"] not in (FORMAT, FORMAT_OF_SHARDS):
            raise BrokenCheckpoint(f"it has format {document['format']}, and this version reads {FORMAT_OF_SHARDS}")
        if digests["state"] != _digest(_canonical(state)):
            raise BrokenCheckpoint("state.json does not have the digest that it was written with")
        spoilt = [key for key in ("epoch", "step") if key not in state] or misfits(state)
        if spoilt:
            raise BrokenCheckpoint(f"state.json is not what was written: {', '.join(spoilt)}")
    except OSError as error:
        raise BrokenCheckpoint(f"{error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BrokenCheckpoint("state.json is not what was written") from error
    return state, digests


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed run left under a temporary name."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _write_into(folder: Path, checkpoint: Checkpoint) -> None:
    digests = {
        name: write_tensors(folder, name, tensors)
        for name, tensors in (("weights", checkpoint.weights), ("training", checkpoint.training))
    }
    write_state(folder, checkpoint.state, digests)
    sync_folder(folder)


def write_tensors(folder: Path, stem: str, tensors: Mapping[str, Tensor]) -> str:
    """Write `STEM.safetensors`, and make it last; returns its digest."""
    content = safetensors.torch.save({key: tensor.contiguous() for key, tensor in tensors.items()})
    write_file(folder / f"{stem}.safetensors", content)
    return _digest(content)


def write_state(folder: Path, state: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    """Write state.json. digests: of the files of tensors, by stem."""
    digests = {"state": _digest(_canonical(state)), **digests}
    document = {"format": FORMAT if "weights" in digests else FORMAT_OF_SHARDS, "sha256": digests, "state": state}
    write_file(folder / "state.json", json.dumps(document, indent=1, allow_nan=False).encode() + b"\n")


def _read_tensors(folder: Path, name: str, digests: Mapping[str, str], read: _Read) -> dict[str, Tensor]:
    """Of one kind of tensors, from the file or from all files that have them."""
    stems = [stem for stem in digests if stem == name or stem.startswith(f"{name}-")]
    if not stems:
        raise KeyError(name)
    tensors: dict[str, Tensor] = {}
    for stem in stems:
        try:
            tensors |= read(folder, stem, digests)
        except safetensors.SafetensorError as error:
            raise BrokenCheckpoint(f"{stem}.safetensors: {error}") from error
    return tensors


def _all_tensors(folder: Path, stem: str, digests: Mapping[str, str]) -> dict[str, Tensor]:
    content = (folder / f"{stem}.safetensors").read_bytes()
    _check_digest(stem, _digest(content), digests)
    return safetensors.torch.load(content)


def _check_digest(stem: str, found: str, digests: Mapping[str, str]) -> None:
    if found != digests[stem]:
        raise BrokenCheckpoint(f"{stem}.safetensors does not have the digest that it was written with")


def _canonical(state: Mapping[str, Any]) -> bytes:
    return json.dumps(state, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

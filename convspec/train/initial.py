"""First values that a spec takes from elsewhere, set once, when a run begins (`convspec.program.initial`).

Copies come from the newest checkpoint of another run, by canonical names: matrix i of a layer is `LAYER.weights.i`, or
`LAYER.weight` where it is the only one. So a run that `convspec import` made of an old checkpoint serves as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError, did_you_mean
from convspec.program.initial import Called, Copied, InitialValue, Piece, Written
from convspec.train.called import call_function
from convspec.train.checkpoint import BrokenCheckpoint, list_checkpoints, load_checkpoint
from convspec.train.saved import newest_checkpoint


def set_initial_values(net: nn.Module, values: Sequence[InitialValue], init_from: str, notify: Notify) -> None:
    """Put `values` into a network of the emitted module, or what it has of them into a part, over what it drew.

    init_from: the run to copy from; empty where each function names its own. Raises DiagnosticError CS716 where a value
    cannot be had, or is not of the shape that it is for, and CS708 for a run whose checkpoints are broken.
    """
    if not values:
        return
    runs = _Runs(init_from, notify)
    state: dict[str, Tensor] = net.state_dict()
    for value in values:
        if value.name not in state:
            continue  # another process has it
        state[value.name] = _tensor(value, runs).to(state[value.name].dtype)
    net.load_state_dict(state)


def _tensor(value: InitialValue, runs: _Runs) -> Tensor:
    match value.source:
        case Copied() as source:
            tensor = runs.copied(value, source)
        case Written(numbers):
            tensor = torch.tensor(numbers)
            if tensor.numel() == _count(value.shape):
                tensor = tensor.reshape(value.shape)
        case Called() as source:
            tensor = call_function(value, source)
    if tuple(tensor.shape) != value.shape:
        message = f"{value.spelling} gives {_size(tensor.shape)} for {value.name}, which is {_size(value.shape)}"
        raise refuse(value, message, help="layers that are copied from one another have equal sizes")
    return tensor


class _Runs:
    """The runs that values are copied from, each read once."""

    def __init__(self, init_from: str, notify: Notify) -> None:
        self._init_from, self._notify = init_from, notify
        self._weights: dict[str, Mapping[str, Tensor]] = {}

    def copied(self, value: InitialValue, source: Copied) -> Tensor:
        """What `source` stands for: pieces of the layers that it names, joined along their outputs."""
        run = self._init_from or source.place
        weights = self._read(run, value)
        layers = source.layers or (self._layer(source.place, weights) or value.layer,)
        return torch.cat([self._piece(layer, value, run, weights) for layer in layers])

    def _layer(self, place: str, weights: Mapping[str, Tensor]) -> str | None:
        """`place`, if the run has a layer of this name."""
        return place if self._init_from and any(name.startswith(f"{place}.") for name in weights) else None

    def _piece(self, layer: str, value: InitialValue, run: str, weights: Mapping[str, Tensor]) -> Tensor:
        piece, index = value.piece.value, value.index
        single = "weight" if value.piece is Piece.WEIGHTS else piece
        names = [f"{layer}.{piece}.{index}", *([f"{layer}.{single}"] if index == 0 else [])]
        found = next((weights[name] for name in names if name in weights), None)
        if found is not None:
            return found
        layers = [name.rpartition(f".{single}")[0] for name in weights if f".{single}" in name]
        if layer in layers:
            problem, help = f"{layer} of {run} has no {piece} for input {index}", None
        else:
            problem = f"{run} has no layer {layer} with {value.piece.name.lower()}"
            help = did_you_mean(layer, layers) or f"it has {', '.join(list(dict.fromkeys(layers))[:8])}"
        raise refuse(value, f"{value.spelling} of {value.layer} copies from another run, and {problem}", help=help)

    def _read(self, run: str, value: InitialValue) -> Mapping[str, Tensor]:
        if run not in self._weights:
            self._weights[run] = self._read_checkpoint(run, value)
        return self._weights[run]

    def _read_checkpoint(self, run: str, value: InitialValue) -> Mapping[str, Tensor]:
        path = Path(run)
        try:
            if (path / "state.json").is_file():
                return load_checkpoint(path).weights
            if list_checkpoints(path / "checkpoints"):
                return newest_checkpoint(path, self._notify).weights
        except (BrokenCheckpoint, OSError, ValueError) as error:
            raise refuse(value, f"{run} cannot be used: {error}") from error
        problem = "has no checkpoint" if path.is_dir() else "is not there" if not path.exists() else "is not a run"
        raise refuse(
            value,
            f"{value.spelling} of {value.layer} copies from another run, and {run} {problem}",
            help="name a run with --init-from, or initFrom= under [@train]; "
            "convspec import makes one of an old checkpoint",
        )


def refuse(value: InitialValue, message: str, *, help: str | None = None) -> DiagnosticError:
    """CS716, at the key that asks for the value."""
    return DiagnosticError(Diagnostic("CS716", message, span=value.span, help=help))


def _count(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))

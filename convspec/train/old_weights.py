"""The weights of an old checkpoint, by the canonical names of ours, and what they last moved by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convspec.data.dataset import Notify
from convspec.data.pickles import describe
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.layers.restored import Restored
from convspec.layers.undone import entry
from convspec.layers.unparsed import OldLayer
from convspec.program.program import Block, Parameter, Program
from convspec.train.matrices import Matrix, biases_of, matrix_shape, weights_of
from convspec.train.old_state import OldState


def read_weights(
    state: OldState, restored: Restored, program: Program, notify: Notify
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and what they last moved by (the v of the paper's rule), by canonical name."""
    layers = {layer.name: layer for layer in restored.layers}
    weights: dict[str, Tensor] = {}
    moves: dict[str, Tensor] = {}
    for name, shape in (block for parameter in program.parameters for block in _blocks(parameter)):
        place = _Place.of(name, shape, layers)
        for tensors, field in ((weights, place.field), (moves, f"{place.field}Inc")):
            matrix = place.matrix(state.path, field)
            if matrix is not None:
                tensors[name] = torch.from_numpy(place.converted(matrix))
        if name not in weights:
            raise misfit(state.path, f"{place.layer.name} has no {place.field}")
    _report_resting([name for name in weights if name not in moves], state.path, notify)
    weights |= {b.name: _connections(state.path, b, layers) for buffer in program.buffers for b in buffer.blocks}
    return weights, moves


def _connections(path: Path, block: Block, layers: Mapping[str, OldLayer]) -> Tensor:
    """`filterConns`: the channels that the groups of a sparse layer see, one after another."""
    match = _CONNECTIONS.fullmatch(block.name)
    assert match is not None, block.name
    layer, index = layers[match["layer"]], int(match["index"] or 0)
    assert block.rows is not None
    wanted, channels = block.rows[1], entry(layer.fields.get("channels"), index)
    listed = layer.fields.get("filterConns")
    found = listed[index] if isinstance(listed, list) and index < len(listed) else None
    found = found.tolist() if isinstance(found, np.ndarray) else found
    if not isinstance(found, list) or len(found) != wanted or any(type(each) is not int for each in found):
        raise misfit(
            path, f"filterConns[{index}] of {layer.name} is {describe(found)}, not {wanted} numbers of channels"
        )
    if not all(0 <= each < channels for each in found):
        raise misfit(path, f"filterConns[{index}] of {layer.name} names a channel beyond the {channels} that there are")
    return torch.tensor(found, dtype=torch.int64)


def _blocks(parameter: Parameter) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Canonical names and shapes of what a parameter is made of."""
    for block in parameter.blocks:
        axes = [axis for axis in (block.rows, block.columns) if axis is not None]
        yield block.name, (*(stop - start for start, stop in axes), *parameter.shape[len(axes) :])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the checkpoint keeps the tensor of a canonical name: a layer, and which of its matrices; None: its biases."""

    layer: OldLayer
    index: int | None
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], layers: Mapping[str, OldLayer]) -> _Place:
        match = _CANONICAL.fullmatch(name)
        assert match is not None, name
        return cls(layers[match["layer"]], None if match["bias"] else int(match["index"] or 0), shape)

    @property
    def field(self) -> str:
        return "biases" if self.index is None else "weights"

    @property
    def parts(self) -> int:
        parts = self.layer.fields.get("parts", 1)
        return parts if isinstance(parts, int) else 1

    def matrix(self, path: Path, field: str) -> Matrix | None:
        """The matrix, or None where there is none. Raises CS722 where it is of another shape, or is no matrix."""
        value = self.layer.fields.get(field)
        if self.index is not None and isinstance(value, list):
            value = value[self.index] if self.index < len(value) else None
        if value is None:
            return None
        what = f"{field}[{self.index}]" if self.index is not None else field
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise misfit(path, f"{what} of {self.layer.name} is {describe(value)}, not a matrix of numbers")
        self._check_shape(path, what, value)
        matrix = value.astype(np.float32)
        if not np.isfinite(matrix).all():
            raise misfit(path, f"{what} of {self.layer.name} holds numbers that are not finite: that run had diverged")
        return matrix

    def _check_shape(self, path: Path, what: str, value: Matrix) -> None:
        found = "x".join(map(str, value.shape))
        if self.index is None:
            wanted, fits = f"{prod(self.shape)} numbers", value.size == prod(self.shape)
        else:
            rows, columns = matrix_shape(self.layer.type, self.shape, self.parts)
            wanted, fits = f"{rows}x{columns}", value.shape == (rows, columns)
        if not fits:
            raise misfit(path, f"{what} of {self.layer.name} is {found}, and the layer needs {wanted}")

    def converted(self, matrix: Matrix) -> Matrix:
        if self.index is None:
            return biases_of(matrix, self.shape)
        return weights_of(self.layer.type, matrix, self.shape, self.parts)


_CONNECTIONS = re.compile(r"(?P<layer>.+)\.connections(?:\.(?P<index>\d+))?")
_CANONICAL = re.compile(r"(?P<layer>.+)\.(?:(?P<bias>bias)|weight|weights\.(?P<index>\d+))")


def _report_resting(names: Sequence[str], path: Path, notify: Notify) -> None:
    if names:
        more = f" and {len(names) - 1} others" if len(names) > 1 else ""
        message = f"{path} does not say how {names[0]}{more} last moved: they start at rest"
        notify(Diagnostic("CS722", message, severity=Severity.NOTE))


def misfit(path: Path, why: str) -> DiagnosticError:
    help = "the file was damaged, or saved by a version of the program that lays weights out otherwise"
    return DiagnosticError(Diagnostic("CS722", f"{path} does not fit its own layers: {why}", help=help))

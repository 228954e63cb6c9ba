"""`--init RUN`: a network that starts from the weights of another run, layer by layer, as in fine-tuning (section 6).

A layer is taken whole, with its biases and whatever else it keeps, where the other run has one of the same name whose
tensors have the same shapes; all others are drawn. What a function such as `initWFunc=` gives is left to it (see
`convspec.train.initial`). Momentum, schedule and mean are the run's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.program.parameter import Buffer, Parameter
from convspec.program.program import Program
from convspec.train.contract import CompiledSpec
from convspec.train.saved import read_weights

_TENSOR = re.compile(r"(?P<layer>.+?)\.(?P<piece>weights\.\d+|[^.]+)")
_MOST_NAMED = 8

Shapes = Mapping[str, tuple[int, ...]]
"""Of the tensors of a layer, by what follows its name: `weight`, `weights.0`, `bias`, `running_mean`."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """run, checkpoint: whose weights they are. taken: names of layers. drawn: those that are not, and why.

    tensors: by canonical name.
    """

    run: str
    checkpoint: str
    taken: tuple[str, ...]
    drawn: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    def put_into(self, net: nn.Module) -> None:
        """Over what the network drew; where it is a part of one, what is in that part."""
        state: dict[str, Tensor] = net.state_dict()
        own = {name: tensor.to(state[name].dtype) for name, tensor in self.tensors.items() if name in state}
        net.load_state_dict(state | own)

    def note(self) -> Diagnostic:
        """CS742: what was taken and what was not."""
        drawn = "; ".join(_some([f"{layer} ({why})" for layer, why in self.drawn.items()]))
        message = (
            f"{len(self.taken)} of {len(self.taken) + len(self.drawn)} layers start as they are in {self.run} "
            f"({self.checkpoint}): {', '.join(_some(self.taken))}{f'; drawn: {drawn}' if drawn else ''}"
        )
        return Diagnostic("CS742", message, severity=Severity.NOTE)

    def record(self) -> dict[str, Any]:
        """As it stands in settings.json."""
        return {
            "run": self.run,
            "checkpoint": self.checkpoint,
            "taken": list(self.taken),
            "drawn": dict(self.drawn),
        }


def inherit(compiled: CompiledSpec, notify: Notify) -> Inherited | None:
    """What a new run takes from the one that `[@train] init` names; None where it names none.

    Raises DiagnosticError CS719 and CS708 where there is no such run, or none that can be read, and CS716 where it has no
    layer that fits.
    """
    run = compiled.train.init
    if not run:
        return None
    checkpoint, weights = read_weights(Path(run), notify)
    given = {value.name for value in compiled.initial_values}
    taken, drawn = _compared(_layers(_shapes(compiled.program, given)), _layers(_shapes_of(weights, given)), run)
    if not taken:
        reasons = "; ".join(_some([f"{layer}: {why}" for layer, why in drawn.items()]))
        message = f"no layer of {compiled.name} has the name and the shape of one of {run}"
        help = "name a run of a network that has layers in common with this one"
        raise DiagnosticError(Diagnostic("CS716", message, notes=(reasons,) if reasons else (), help=help))
    tensors = {name: tensor for name, tensor in weights.items() if _parts(name)[0] in taken and name not in given}
    inherited = Inherited(run, checkpoint, taken, drawn, tensors)
    notify(inherited.note())
    return inherited


def _compared(
    here: Mapping[str, Shapes], there: Mapping[str, Shapes], run: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Layers that are the same in both, and why the others are not."""
    reasons = {layer: _difference(shapes, there.get(layer), run) for layer, shapes in here.items()}
    taken = tuple(layer for layer, why in reasons.items() if why is None)
    return taken, {layer: why for layer, why in reasons.items() if why is not None}


def _difference(here: Shapes, there: Shapes | None, run: str) -> str | None:
    if there is None:
        return f"not in {run}"
    for piece, shape in here.items():
        if piece in there and there[piece] != shape:
            return f"{piece} is {_size(shape)} here, {_size(there[piece])} there"
    inputs, others = (sum(piece.startswith("weight") for piece in shapes) for shapes in (here, there))
    if inputs != others:
        return f"inputs are {inputs} here, {others} there"
    odd = next((piece for piece in (*here, *there) if piece not in here or piece not in there), None)
    return None if odd is None else f"has {odd} {'here' if odd in here else 'there'} alone"


def _layers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, tuple[int, ...]]]:
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        layer, piece = _parts(name)
        found.setdefault(layer, {})[piece] = shape
    return found


def _shapes(program: Program, without: set[str]) -> dict[str, tuple[int, ...]]:
    tensors: Iterator[Parameter | Buffer] = iter((*program.parameters, *program.buffers))
    pieces = ((block.name, block.shape_in(tensor.shape)) for tensor in tensors for block in tensor.blocks)
    return {name: shape for name, shape in pieces if name not in without}


def _shapes_of(weights: Mapping[str, Tensor], without: set[str]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items() if name not in without}


def _parts(name: str) -> tuple[str, str]:
    """`fc6a`, `weights.0` for `fc6a.weights.0`."""
    match = _TENSOR.fullmatch(name)
    return (match["layer"], match["piece"]) if match else (name, "")


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _some(texts: Sequence[str]) -> list[str]:
    more = len(texts) - _MOST_NAMED
    return [*texts[:_MOST_NAMED], *([f"{more} more"] if more > 0 else [])]
